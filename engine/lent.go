package engine

import (
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/protocol"
)

// ErrMessageOver is returned by Reply and ReplyError for a message whose handler has returned: its memory holds another message
// by now. A handler that answers later, or on another goroutine, keeps m.Clone(). See Handler.
var ErrMessageOver = errors.New("rollcall: the message's handler has returned: keep m.Clone() to answer later")

// lentMessages are what a loop decodes messages into, in turn, and lends to handlers. One would do; with some a message that has
// been taken back is not taken for the one that is being delivered, unless as many have come since.
type lentMessages struct {
	all  [16]lentMessage
	lent *lentMessage // the one in use, while current is not nil; nil before the first
}

// lentMessage knows the one whose turn comes after it: to compute that takes longer.
type lentMessage struct {
	protocol.Message
	next *lentMessage
}

// init makes a ring of them, before the loop delivers its first message.
func (x *lentMessages) init() {
	for i := range x.all {
		x.all[i].next = &x.all[(i+1)%len(x.all)]
	}
	x.lent = &x.all[0]
}

// next takes the one in use back, and returns the next one to decode into.
func (x *lentMessages) next() *protocol.Message {
	x.lent = x.lent.next
	return &x.lent.Message
}

// delivers reports whether m is the message of c's that the loop is delivering: then the caller stands on the loop. Where a
// handler has given m to another goroutine, which is a mistake, it is asked beside the loop; it looks at nothing that moves.
//
//go:norace
func (l *loop) delivers(c *Conn, m *protocol.Message) bool {
	return l.current == c && m == &l.messages.lent.Message
}

// tookBack reports whether m was lent to a handler that has returned.
//
//go:norace
func (l *loop) tookBack(m *protocol.Message) bool {
	if l.current != nil && m == &l.messages.lent.Message {
		return false
	}
	for i := range l.messages.all {
		if m == &l.messages.all[i].Message {
			return true
		}
	}
	return false
}

// tooLate counts replies that came too late, and says when that was told last.
type tooLate struct {
	replies atomic.Uint64
	told    atomic.Int64
}

// tooLateInterval is how long it is not told again.
const tooLateInterval = time.Minute

func (c *Conn) repliesTooLate() error {
	t := &c.engine.tooLate
	n := t.replies.Add(1)
	now, last := clock.Nanoseconds(), t.told.Load()
	if (last == 0 || now-last > int64(tooLateInterval)) && t.told.CompareAndSwap(last, max(now, 1)) {
		c.engine.log.Warn("a reply was not sent: the message's handler had returned, and its memory holds another message. "+
			"A handler that answers later keeps m.Clone(), or runs with Workers", zapConn(c), zap.Uint64("so far", n))
	}
	return ErrMessageOver
}

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

// lentMessages is a ring of messages: the loop decodes into one after another and lends it to a handler. One message
// would be enough, but with several a message that was taken back is not mistaken for the one being delivered, unless a
// whole round of messages has come since.
type lentMessages struct {
	all  [16]lentMessage
	lent *lentMessage // the one in use, while current is not nil; nil before the first
}

// lentMessage has a pointer to the next one of the ring, which is faster than computing it.
type lentMessage struct {
	protocol.Message
	next *lentMessage
}

// init makes the ring, before the loop delivers its first message.
func (x *lentMessages) init() {
	for i := range x.all {
		x.all[i].next = &x.all[(i+1)%len(x.all)]
	}
	x.lent = &x.all[0]
}

// next takes back the message in use, and returns the next one to decode into.
func (x *lentMessages) next() *protocol.Message {
	x.lent = x.lent.next
	return &x.lent.Message
}

// delivers reports whether m is the message of c that the loop is delivering: then the caller runs on the loop. A
// handler that gives m to another goroutine, which is a mistake, may have delivers called off the loop; it only
// compares pointers.
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

// tooLate counts replies that came too late, and has the time of the last log line about them.
type tooLate struct {
	replies atomic.Uint64
	told    atomic.Int64
}

// tooLateInterval is the least time between two log lines about late replies.
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

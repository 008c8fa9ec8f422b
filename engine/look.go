package engine

import (
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// seamConn is a Conn with the methods that Rollcall's own packages call. None is in the message path.
type seamConn Conn

var _ seam.Conn = (*seamConn)(nil)

func init() {
	seam.ConnOf = func(c any) seam.Conn { return (*seamConn)(c.(*Conn)) }
	seam.AdmissionOf = func(c any) any { return c.(*Conn).engine.admission }
}

// MaxBody implements seam.Conn.
func (s *seamConn) MaxBody() int { return s.maxBody }

// Datagrams implements seam.Conn.
func (s *seamConn) Datagrams() (id uint64, secret [udpwire.SecretSize]byte, ok bool) {
	return (*Conn)(s).openPath()
}

// Look implements seam.Conn.
func (s *seamConn) Look(done func(busy bool)) { (*Conn)(s).lookThen(done) }

// lookThen is seam.Conn's Look.
func (c *Conn) lookThen(done func(busy bool)) {
	c.loop.afterInput(func() { c.call(func() { done(c.box != nil && c.box.busy()) }) })
}

// After implements seam.Conn.
func (s *seamConn) After(d time.Duration, t seam.Timed) (n uint32) { return s.loop.queueFor(d).Add(t) }

// StopAfter implements seam.Conn.
func (s *seamConn) StopAfter(d time.Duration, n uint32) bool { return s.loop.queueFor(d).Remove(n) }

// Unbind implements seam.Conn.
func (s *seamConn) Unbind(why *protocol.CloseError) (was seam.Unbound) {
	c := (*Conn)(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	was = seam.Unbound{First: !c.has(isUnbound), LetIn: c.has(isLetIn), Binding: c.binding}
	if was.First && !was.LetIn && why != nil {
		c.needLazy().unbound = why
	}
	c.phases |= isUnbound | isEndTold
	return was
}

// UnboundEarly implements seam.Conn.
func (s *seamConn) UnboundEarly() *protocol.CloseError {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lazy == nil {
		return nil
	}
	return s.lazy.unbound
}

// CountFailedLogon implements seam.Conn.
func (s *seamConn) CountFailedLogon() { s.engine.gate.failedLogon((*Conn)(s).origin()) }

// Waits implements seam.Conn.
func (s *seamConn) Waits() (in, out int) {
	o := (*Conn)(s).waits()
	return o.in, o.out
}

// tellHandled tells the binding that no message waits or is being handled.
func (c *Conn) tellHandled() {
	c.mu.Lock()
	b := c.binding
	c.mu.Unlock()
	if b, ok := b.(seam.HandledTeller); ok {
		c.guard(b.Handled)
	}
}

// busy reports whether a message waits for its handler, or is being handled.
func (b *mailbox) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items) > 0 || b.active
}

// noFirstMessage closes a connection whose first message has not come in time. It first looks at the bytes that wait in
// the socket.
func (c *Conn) noFirstMessage() {
	c.loop.afterInput(func() {
		if c.state.Load() == stateAccepted {
			c.closeBy(protocol.LogonTimeout, "no first message came in time")
		}
	})
}

// deadlines holds a loop's deadlines, in a queue for each length.
type deadlines struct {
	mu     sync.Mutex
	queues []*clock.Queue[seam.Timed]
}

// queueFor returns the loop's queue for a length of time.
func (l *loop) queueFor(d time.Duration) *clock.Queue[seam.Timed] {
	l.deadlines.mu.Lock()
	defer l.deadlines.mu.Unlock()
	for _, q := range l.deadlines.queues {
		if q.After() == d {
			return q
		}
	}
	q := new(clock.Queue[seam.Timed])
	q.Init(&l.clock, d, func(t seam.Timed) { go t.TimedOut() })
	l.deadlines.queues = append(l.deadlines.queues, q)
	return q
}

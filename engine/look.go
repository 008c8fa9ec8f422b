package engine

import (
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/protocol"
)

// Look calls done when all bytes that have arrived by now have been read and have counted as a sign of life; they may still wait in
// the socket because the event loop was busy or the process stood still. Call Look before a connection is ended for its silence.
// busy reports whether messages of the client wait for their handlers or are being handled; without Config.Workers it is false.
// done is called once, on the event loop, and must not block. While the loop is stuck in a handler done is not called. Look returns
// at once.
func (c *Conn) Look(done func(busy bool)) {
	c.AfterInput(func() { done(c.box != nil && c.box.busy()) })
}

// AfterFunc calls f on a goroutine of its own when d has passed. Time in which the process stood still, or the connection's event
// loop was stuck in a handler, does not count, because the client cannot be heard in it. stop prevents the call, and reports
// whether it was in time.
func (c *Conn) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	q := c.loop.queueFor(d)
	if q == nil {
		return c.loop.clock.AfterFunc(d, f).Stop
	}
	n := q.Add(f)
	return func() bool { return q.Remove(n) }
}

// HandledTeller is an optional interface of a Binding, which is then told when messages have been handled.
type HandledTeller interface {
	// Handled says, with Config.Workers, that no message of the client's waits or is being handled any more. It is called from
	// any goroutine, for each time that messages have come, takes no lock, and may come after End.
	Handled()
}

// tellHandled tells the binding that no message waits or is being handled.
func (c *Conn) tellHandled() {
	c.mu.Lock()
	b := c.binding
	c.mu.Unlock()
	if b, ok := b.(HandledTeller); ok {
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

// deadlines holds a loop's deadlines, in a queue for each length. An admission uses few lengths, and all connections
// with the same length share a timer.
type deadlines struct {
	mu     sync.Mutex
	queues []*clock.Queue[func()]
}

// maxDeadlines is how many lengths have a queue of their own.
const maxDeadlines = 4

// queueFor returns the loop's queue for a length of time, or nil where there are too many.
func (l *loop) queueFor(d time.Duration) *clock.Queue[func()] {
	l.deadlines.mu.Lock()
	defer l.deadlines.mu.Unlock()
	for _, q := range l.deadlines.queues {
		if q.After() == d {
			return q
		}
	}
	if len(l.deadlines.queues) == maxDeadlines {
		return nil
	}
	q := new(clock.Queue[func()])
	q.Init(&l.clock, d, func(f func()) { go f() })
	l.deadlines.queues = append(l.deadlines.queues, q)
	return q
}

package engine

import (
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/protocol"
)

// Look has done called when all that has come on the connection by now has been looked at: a byte that waits in the socket,
// because the event loop was busy or the process stood still, has then counted as a sign of life. Who means to end a connection
// for its silence calls it first. busy reports whether messages of the client's wait for their handlers or are being handled,
// which without Config.Workers they never do then. done is called once, and must not block: the event loop waits for it. While
// the loop is stuck in a handler it is not called. Look returns at once.
func (c *Conn) Look(done func(busy bool)) {
	c.AfterInput(func() { done(c.box != nil && c.box.busy()) })
}

// AfterFunc calls f on a goroutine of its own when d has passed, of which only time counts in which the connection's event
// loop looked at its connections: while the process stood still, or the loop was stuck in a handler, a client cannot be heard.
// stop prevents the call, and reports whether it was in time.
func (c *Conn) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	q := c.loop.queueFor(d)
	if q == nil {
		return c.loop.clock.AfterFunc(d, f).Stop
	}
	n := q.Add(f)
	return func() bool { return q.Remove(n) }
}

// HandledTeller is what a Binding may be besides: one that is told when messages have been handled.
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

// busy reports whether something waits for its handler, or is being handled.
func (b *mailbox) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items) > 0 || b.active
}

// noFirstMessage closes a connection whose first message has not come in time, once what waits in the socket was looked at.
func (c *Conn) noFirstMessage() {
	c.loop.afterInput(func() {
		if c.state.Load() == stateAccepted {
			c.Close(protocol.LogonTimeout, "no first message came in time")
		}
	})
}

// deadlines are a loop's, by their length. An admission asks for few: the connections that have the same share a timer.
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

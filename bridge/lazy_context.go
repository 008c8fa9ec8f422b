package bridge

import (
	"context"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// lazyContext is a context with a deadline. Its owner enforces the deadline, by end. A context of package context is made only when a
// caller waits for its end or asks for a value, because few logons need one. The zero value has a deadline in the past.
type lazyContext struct {
	deadline int64 // see clock.Nanoseconds

	mu     sync.Mutex
	cause  error           // why it has ended; nil before
	made   context.Context // nil until it is needed
	cancel context.CancelCauseFunc
}

// end ends the context. Only the first call counts. Where cause is nil, it is context.Canceled.
func (c *lazyContext) end(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return
	}
	c.cause = cause
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil { // not under the lock: it may run code that asks for Err
		cancel(cause)
	}
}

// context returns a context that ends with c.
func (c *lazyContext) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		c.made, c.cancel = context.WithCancelCause(context.Background())
		if c.cause != nil {
			c.cancel(c.cause)
		}
	}
	return c.made
}

// Deadline implements context.Context.
func (c *lazyContext) Deadline() (time.Time, bool) { return clock.Time(c.deadline), true }

// Done implements context.Context.
func (c *lazyContext) Done() <-chan struct{} { return c.context().Done() }

// Value implements context.Context. Package context asks it for what Cause and a child need.
func (c *lazyContext) Value(key any) any { return c.context().Value(key) }

// Err implements context.Context. It asks the context of package context, if one was made: that one ends together with its cause.
func (c *lazyContext) Err() error {
	c.mu.Lock()
	made, cause := c.made, c.cause
	c.mu.Unlock()
	switch {
	case made != nil:
		return made.Err()
	case cause != nil:
		return context.Canceled
	}
	return nil
}

package usermgr

import (
	"context"
	"sync"
)

// claimContext is the context of a Claim: it ends with the logon's context, and when the claim is given up. The context that does this is
// made when the Claim first uses it; a Claim that is granted at once does not use it.
type claimContext struct {
	context.Context // the logon's

	mu     sync.Mutex
	full   context.Context         // nil until it is asked for
	cancel context.CancelCauseFunc // full's
	why    error                   // the claim was given up for it; nil for none
}

// ask returns the context that both ends end.
func (c *claimContext) ask() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full == nil {
		c.full, c.cancel = context.WithCancelCause(c.Context)
		if c.why != nil {
			c.cancel(c.why)
		}
	}
	return c.full
}

func (c *claimContext) Done() <-chan struct{} { return c.ask().Done() }
func (c *claimContext) Err() error            { return c.ask().Err() }
func (c *claimContext) Value(key any) any     { return c.ask().Value(key) }

// giveUp ends the context. Only the first cause counts.
func (c *claimContext) giveUp(why error) {
	c.mu.Lock()
	if c.why == nil {
		c.why = why
	}
	why, cancel := c.why, c.cancel
	c.mu.Unlock()
	if cancel != nil { // not under the lock: it may run code that asks for Err
		cancel(why)
	}
}

// cause returns why the context has ended; nil while it has not.
func (c *claimContext) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.full != nil:
		return context.Cause(c.full)
	case c.Context.Err() != nil:
		return context.Cause(c.Context)
	}
	return c.why
}

// release frees what the context holds, when its Claim has returned.
func (c *claimContext) release() { c.giveUp(context.Canceled) }

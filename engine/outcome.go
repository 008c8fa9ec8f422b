package engine

import (
	"errors"
	"io"

	"github.com/rollcall-go/rollcall/protocol"
)

// whenClosed is Control.WhenClosed.
func (c *Conn) whenClosed(f func(protocol.CloseOutcome)) {
	c.mu.Lock()
	if c.outcome == protocol.OutcomePending {
		c.needLazy().whenClosed = append(c.needLazy().whenClosed, f)
		c.mu.Unlock()
		return
	}
	o := c.outcome
	c.mu.Unlock()
	f(o)
}

// setOutcome sets how the connection has ended. Only the first call counts. It runs on the loop.
func (c *Conn) setOutcome(o protocol.CloseOutcome) {
	c.mu.Lock()
	if c.outcome != protocol.OutcomePending {
		c.mu.Unlock()
		return
	}
	c.outcome = o
	c.engine.outcomes[o].Add(1)
	var waiting []func(protocol.CloseOutcome)
	if x := c.lazy; x != nil {
		waiting, x.whenClosed = x.whenClosed, nil
	}
	c.mu.Unlock()
	for _, f := range waiting {
		c.call(func() { f(o) })
	}
}

// outcomeOf returns how a connection ended whose socket has ended with err. The descriptor is still open. c.mu is held
// on entry.
func (c *Conn) outcomeOf(err error) protocol.CloseOutcome {
	noticed := c.lazy != nil && c.lazy.noticed
	switch {
	case c.is(isForced), err == nil && (!c.is(isShut) || c.sock().unacknowledged() > 0): // gnet closed it itself: its engine stops
		return protocol.OutcomeForced
	case !noticed:
		return protocol.OutcomeClosedByPeer
	case err == nil, errors.Is(err, io.EOF) && c.is(isShut) && c.sock().unacknowledged() == 0:
		return protocol.OutcomeTold
	}
	return protocol.OutcomeClosedByPeer
}

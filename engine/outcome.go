package engine

import (
	"errors"
	"fmt"
	"io"
)

// Outcome says how a connection ended.
type Outcome uint8

const (
	// StillOpen: it has not ended.
	StillOpen Outcome = iota
	// Told: it was closed from this side, and the peer has taken the notice.
	Told
	// ClosedByPeer: the peer ended it, or the network did; the peer may not have seen a notice.
	ClosedByPeer
	// Forced: it was closed from this side, and the peer did not take all that was to be sent within Timeouts.Close.
	Forced
)

// String returns the outcome in words.
func (o Outcome) String() string {
	switch o {
	case StillOpen:
		return "still open"
	case Told:
		return "told"
	case ClosedByPeer:
		return "closed by its peer"
	case Forced:
		return "closed by force"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// WhenClosed has f called once when the connection's socket is closed, on its event loop; or here and at once when it
// is already. f must not block.
func (c *Conn) WhenClosed(f func(Outcome)) {
	c.mu.Lock()
	if c.outcome == StillOpen {
		c.rare().whenClosed = append(c.rare().whenClosed, f)
		c.mu.Unlock()
		return
	}
	o := c.outcome
	c.mu.Unlock()
	f(o)
}

// setOutcome says how the connection has ended; the first word counts. It runs on the loop.
func (c *Conn) setOutcome(o Outcome) {
	c.mu.Lock()
	if c.outcome != StillOpen {
		c.mu.Unlock()
		return
	}
	c.outcome = o
	c.engine.outcomes[o].Add(1)
	var waiting []func(Outcome)
	if x := c.extra; x != nil {
		waiting, x.whenClosed = x.whenClosed, nil
	}
	c.mu.Unlock()
	for _, f := range waiting {
		c.call(func() { f(o) })
	}
}

// outcomeOf tells, when the socket is over with err, how it came to that. The descriptor is still open.
// c.mu is held on entry.
func (c *Conn) outcomeOf(err error) Outcome {
	noticed := c.extra != nil && c.extra.noticed
	switch {
	case c.is(isForced), err == nil && (!c.is(isShut) || c.sock().unacknowledged() > 0): // gnet's own doing: its engine stops
		return Forced
	case !noticed:
		return ClosedByPeer
	case err == nil, errors.Is(err, io.EOF) && c.is(isShut) && c.sock().unacknowledged() == 0:
		return Told
	}
	return ClosedByPeer
}

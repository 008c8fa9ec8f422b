package engine

import (
	"math/rand/v2"
	"time"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// SetLease implements seam.Lessee.
func (s *seamEngine) SetLease(l *seam.Lease) {
	e := (*Engine)(s)
	e.mustNotRun("SetLease")
	e.lease = l
}

// StopWindow implements seam.Lessee.
func (s *seamEngine) StopWindow() time.Duration { return s.cfg.Timeouts.StopWindow }

// Spread implements seam.Spreader.
func (s *seamEngine) Spread(why *protocol.CloseError) *protocol.CloseError {
	return (*Engine)(s).spread(why, rand.Float64())
}

// pastLease reports whether what has come on a connection that was let in is not to be delivered, because the lease of the cluster's node
// is over: the user may be on another node by now. It looks once for all messages of a read. The connection is closed, so that no message
// is lost without a word. A connection that has not been let in goes on: its logon is refused with a reason.
func (c *Conn) pastLease(lease *seam.Lease) bool {
	if !c.delivers() || !lease.Over() {
		return false
	}
	c.closePastLease()
	return true
}

// closePastLease closes a connection because the lease is over.
func (c *Conn) closePastLease() {
	c.Close(c.engine.spread(&protocol.CloseError{Code: protocol.NodeLost, Text: "the server has lost its cluster"}, rand.Float64()))
}

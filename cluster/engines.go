package cluster

import (
	"time"

	"github.com/rollcall-go/rollcall/internal/seam"
)

var _ seam.EngineUser = (*Node)(nil)

// UseEngine is called by bridge.Attach, for an engine with the node's users. Programs do not call it.
func (n *Node) UseEngine(e seam.Lessee) {
	e.SetLease(n.lease)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.engines = append(n.engines, e)
}

// stopWindow returns the longest StopWindow of the engines.
func (n *Node) stopWindow() (longest time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.engines {
		longest = max(longest, e.StopWindow())
	}
	return longest
}

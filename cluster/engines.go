package cluster

import "github.com/rollcall-go/rollcall/internal/seam"

var _ seam.EngineUser = (*Node)(nil)

// UseEngine is called by bridge.Attach, for an engine with the node's users. Programs do not call it.
func (n *Node) UseEngine(e seam.Lessee) {
	e.SetLease(n.lease)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.engines = append(n.engines, e)
}

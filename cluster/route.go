package cluster

// route tells the mesh where the nodes are, where it needs that. v is the answer to a renewal of an armed store: it has all nodes.
func (n *Node) route(v *View) {
	if n.routed == nil {
		return
	}
	nodes := make(map[Incarnation]string, len(v.Members))
	for _, m := range v.Members {
		if !m.Dead {
			nodes[m.Incarnation] = m.Member.Addr
		}
	}
	n.routed.Route(nodes)
}

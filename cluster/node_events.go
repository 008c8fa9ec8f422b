package cluster

import (
	"cmp"
	"context"
	"slices"
)

// Events are functions that a node calls. Each may be nil. The events of users and sessions are those of the user manager: usermgr.Events.
type Events struct {
	// Swept is called for each session of a dead node whose entry this node has removed from the store. Calls may run at once, on several
	// goroutines of the node: while one blocks the sweep waits, or the logon that has found the entry.
	Swept func(s Swept)
	// NodeJoined is called for each other node that this one finds in the table of nodes, and NodeGone when that node is dead: it has left
	// in order, or has died, which takes the others a lease to see. They get the node's row as it was seen last.
	//
	// They run on one goroutine of the node, one call at a time, and may block and call the node's methods. A node that comes back has
	// another Incarnation; one that was cut off is told gone before it is told to have joined again. A process that was killed and is
	// started again may join before its former life is gone. Only after a store has lost something, or with StoreLost Open, can a node that
	// was told gone join again under its number.
	//
	// The calls come up to a renewal late. A node that has come and gone between two looks at the table, or while a call blocked, is not
	// told. While this node is outside the cluster nothing is told, and afterwards what has changed. Nothing is told of this node itself:
	// see May and Stats. Run returns when the last call has returned; what has not been told by then never is.
	NodeJoined, NodeGone func(m MemberState)
}

// tellNodes tells which other nodes have joined and which are gone, until ctx ends. It compares the table with what it has told, so that
// however long a function blocks nothing piles up.
func (n *Node) tellNodes(ctx context.Context) {
	var told []MemberState // who have joined and are not gone
	for ctx.Err() == nil {
		n.mu.Lock()
		others, changed := n.otherNodes(told), n.changed
		n.mu.Unlock()
		gone, joined := without(told, others), without(others, told)
		told = others
		for _, m := range gone {
			if n.cfg.Events.NodeGone != nil {
				m.Dead = true
				n.cfg.Events.NodeGone(m)
			}
		}
		for _, m := range joined {
			if n.cfg.Events.NodeJoined != nil {
				n.cfg.Events.NodeJoined(m)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// otherNodes returns the other nodes that live, by their numbers. While the node is outside its view is old, or has a life of its own that
// does not act yet: then they are those who were told. n.mu is held on entry.
func (n *Node) otherNodes(told []MemberState) (others []MemberState) {
	if !n.hasSessions() {
		return told
	}
	for _, m := range n.view.Members {
		if !m.Dead && m.Incarnation != n.me {
			others = append(others, m)
		}
	}
	slices.SortFunc(others, func(a, b MemberState) int { return cmp.Compare(a.Incarnation, b.Incarnation) })
	return others
}

// without returns the nodes that are not among the others.
func without(nodes, others []MemberState) (rest []MemberState) {
	for _, m := range nodes {
		if !slices.ContainsFunc(others, func(o MemberState) bool { return o.Incarnation == m.Incarnation }) {
			rest = append(rest, m)
		}
	}
	return rest
}

package cluster

import (
	"context"
	"math"
	"time"
)

// StoreLost says what a node does when the store is lost for so long that its lease would end.
type StoreLost uint8

const (
	// Closed ends the node's sessions, with NodeLost, and lets no user in until the store is back. Of sessions that exclude each other
	// at most one acts, always.
	Closed StoreLost = iota
	// Open gives that up: while the store is lost, a user may have sessions on several nodes that exclude each other. The node keeps its
	// sessions and lets users in, although it cannot know where else they are. It cannot tell either whether all nodes have lost the
	// store or it alone: in that case the others let its users in when its lease is over.
	//
	// The node begins so Config.Renew/2 before the end of its lease. Up to then all is as with Closed: logons wait for the store. It comes
	// back by itself when it reaches the store: the store recovers, all nodes write their sessions again, and of sessions that exclude
	// each other the one with the greatest Generation stays, which is the latest; the others are told PushedOut. Logons on all nodes wait
	// meanwhile, as in every recovery of the store.
	//
	// A node that stood still until its lease was over, or that has just been started, needs the store with Open too.
	Open
)

// How a node acts without the store:
//
// The guard takes the node from acting to cutOff, Renew/2 before the end of its lease. The lease then has no end, so the engine delivers
// on. The node's life ends: nothing is written into the store, no message goes to other nodes. Claims that wait are refused, because it is
// not known what they have written. Later ones are granted at once, by letIn. Ends of sessions wait in Node.release.
//
// Run tries to join with JoinOptions.Open. That makes the store recover, so that it grants no claim until this node has written its
// sessions. With a renewal that is durable the node begins another life, with the sessions that it has: it is acting, and returning. When
// a renewal counts it has written its sessions, and has returned. Until then the end of its lease, or its burial, takes it back to cutOff.

// noEnd is the end of the lease of a node that acts without the store.
const noEnd = time.Duration(math.MaxInt64)

// guardAhead is how long before the end of its lease a node begins to act without the store.
func (n *Node) guardAhead() time.Duration {
	if n.cfg.StoreLost == Open {
		return n.cfg.Renew / 2
	}
	return 0
}

// loseStore has the node act without the store. It reports false where a renewal has counted meanwhile; buried says that this does not
// matter, because the store has said that the node's life is over.
func (n *Node) loseStore(buried bool) bool {
	n.mu.Lock()
	if !buried && n.lease.End()-n.now() > n.guardAhead() {
		n.mu.Unlock()
		return false
	}
	if n.stage == stopping { // its sessions end anyway
		n.lease.SetEnd(noEnd)
	}
	if n.stage != acting {
		n.mu.Unlock()
		return true
	}
	n.stage, n.epoch, n.readyIn = cutOff, "", ""
	n.lease.SetEnd(noEnd)
	cancels := n.openClaims()
	n.broadcast()
	n.mu.Unlock()
	n.tallies.losses.Add(1)
	n.wake() // the renewals end
	n.log.Error("the cluster's store is lost: the node goes on without it, and its users may have sessions on other nodes too")
	for _, cancel := range cancels {
		cancel(refusal("the cluster's store was lost", n.cfg.Renew/40))
	}
	return true
}

// letIn grants a claim without the store. Its generation is the version that the store would give, as far as the node knows: so of
// sessions that come in on several nodes, the later one has the greater generation. n.mu is held on entry.
func (n *Node) letIn(c *claim, online bool) {
	passed := n.now() - n.floorAt
	v := max(Version(n.floor.Load())+1, n.floorThen+Version(passed/time.Microsecond))
	n.raiseFloor(v)
	c.own.generation, c.open, c.anew = v, nil, true
	c.guessed = true
	if g := n.graces.users[c.user]; g != nil {
		g.back, online = true, true
	}
	c.own.first = !online && n.release.users[c.user] == nil // Offline is told of what has been released, if the user has gone
}

// noteFloor notes the store's version of the time t0. n.mu is held on entry.
func (n *Node) noteFloor(t0 time.Duration, floor Version) { n.floorAt, n.floorThen = t0, floor }

// isCutOff reports whether the node acts without the store.
func (n *Node) isCutOff() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stage == cutOff
}

// isReturning reports whether the node has come back to the store, and has not written its sessions yet.
func (n *Node) isReturning() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.returning
}

// comeBack begins a life of a node that has acted without the store, after a durable renewal that was asked for at t0. The node may have
// another number than before. n.mu is held on entry.
func (n *Node) comeBack(me Incarnation, t0 time.Duration) {
	n.stage, n.returning = acting, true
	n.lease.SetEnd(t0 + n.cfg.Lease - n.cfg.Margin)
	former := n.me
	if me == former {
		return
	}
	n.me = me
	for _, c := range n.claims {
		if c.own.node == former && c.open == nil { // others were given up
			c.own.node, c.anew = me, true
		}
	}
	for _, g := range n.graces.users {
		g.own.node, g.anew = me, true
	}
	n.release.moveTo(me)
	n.view.bury(former)
}

// endCutOff ends the sessions of a node that acts without the store, because Run ends.
func (n *Node) endCutOff(ctx context.Context) {
	n.mu.Lock()
	me, cut := n.me, n.stage == cutOff
	n.mu.Unlock()
	if !cut {
		return
	}
	if ctx.Err() == nil {
		n.fence("the node cannot join its cluster again")
	}
	n.endSessions(ctx, me)
	n.goOutside()
	n.leave(me)
}

// moveTo says that the entries are those of another life of the node. No worker runs.
func (r *releases) moveTo(me Incarnation) {
	move := func(e *released) {
		e.node = me
		if e.grace != nil {
			e.grace.node = me
		}
	}
	for _, u := range r.users {
		for _, e := range u.entries {
			move(e)
		}
	}
	for _, e := range r.recent {
		move(e.released)
	}
}

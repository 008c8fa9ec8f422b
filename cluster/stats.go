package cluster

import (
	"sync/atomic"
	"time"
)

// Stats is a snapshot of a node. Counters count from New on.
type Stats struct {
	Acts       bool          // what Node.May says
	Recovering bool          // the node acts, and the store recovers: logons wait
	StoreLost  bool          // the node acts without the store, or has come back and has not written its sessions yet: see StoreLost
	LeaseLeft  time.Duration // how long the node acts without another renewal; 0 or less when it does not act, or acts without the store
	Nodes      int           // nodes that live, this one included, as the last renewal that counted saw them
	Claims     int           // sessions of this node and logons under way
	Releases   int           // entries that wait to be removed from the store
	Queued     int           // bytes of messages that wait until the place of their user is known, or the user is logged on here

	Joins      uint64 // how often the node has joined the cluster
	Fences     uint64 // how often its lease ended, or it was buried: each time all its sessions ended
	Losses     uint64 // how often it has lost the store, and has gone on without it (Config.StoreLost)
	Renewals   uint64 // renewals that counted
	Failed     uint64 // renewals that did not count
	Recoveries uint64 // how often the store began to recover
	Burials    uint64 // nodes that this one has buried
	Evictions  uint64 // sessions elsewhere whose end a logon here has asked for
	Evicted    uint64 // sessions here whose end a logon elsewhere has asked for
	Silent     uint64 // logons that were refused because a node did not answer
	Missing    uint64 // nodes that were missing in an Answer, or in what one was asked for
	Received   uint64 // frames that came
	Unsent     uint64 // frames that the mesh did not take
}

// tallies are the counters of Stats.
type tallies struct {
	joins, fences, losses, renewals, failed, recoveries, burials, evictions, evicted, silent, missing, received, unsent atomic.Uint64
}

// Stats returns the node's figures. Any goroutine may call it.
func (n *Node) Stats() Stats {
	t := &n.tallies
	s := Stats{
		Joins: t.joins.Load(), Fences: t.fences.Load(), Losses: t.losses.Load(), Renewals: t.renewals.Load(), Failed: t.failed.Load(), Recoveries: t.recoveries.Load(),
		Burials: t.burials.Load(), Evictions: t.evictions.Load(), Evicted: t.evicted.Load(), Silent: t.silent.Load(),
		Missing: t.missing.Load(), Received: t.received.Load(), Unsent: t.unsent.Load(),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Acts, s.StoreLost = n.May(), n.stage == cutOff || n.returning
	if s.Acts {
		if n.stage != cutOff {
			s.LeaseLeft = n.lease.End() - n.now()
		}
		s.Recovering = n.stage == acting && n.epoch == ""
		for _, m := range n.view.Members {
			if !m.Dead {
				s.Nodes++
			}
		}
	}
	s.Claims, s.Releases, s.Queued = len(n.claims), len(n.release.waiting)+n.release.running, n.unsent+n.arrivals.bytes
	return s
}

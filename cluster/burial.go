package cluster

import (
	"context"
	"maps"
	"time"

	"go.uber.org/zap"
)

// sighting is what a node has seen of another's renewals.
type sighting struct {
	epoch    string
	renewals uint64
	since    time.Duration // when the number was first seen, by the node's clock
	renews   bool          // another number was seen before, in the same epoch
}

// look notes which nodes have renewed. n.mu is held on entry.
func (n *Node) look(v *View) {
	now := n.now()
	there := make(map[Incarnation]sighting, len(v.Members))
	for _, m := range v.Members {
		s, ok := n.seen[m.Incarnation]
		if known := ok && s.epoch == v.Epoch; !known || s.renewals != m.Renewals {
			s = sighting{v.Epoch, m.Renewals, now, known}
		}
		there[m.Incarnation] = s
	}
	n.seen = there
	maps.DeleteFunc(n.peers, func(inc Incarnation, _ *peer) bool {
		_, ok := there[inc]
		return !ok
	})
}

// bury buries the nodes that have not renewed for a whole lease by this node's clock. v is the answer to a renewal that was asked for at
// t0. The node takes another for dead only when a later durable renewal shows that it was buried.
func (n *Node) bury(ctx context.Context, me Incarnation, t0 time.Duration, v *View) {
	for _, m := range v.Members {
		n.mu.Lock()
		s := n.seen[m.Incarnation]
		n.mu.Unlock()
		if m.Dead || m.Incarnation == me || t0-s.since < n.cfg.Lease {
			continue
		}
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		err := n.dir.Bury(call, me, m.Incarnation, v.Epoch, m.Renewals)
		cancel()
		if err != nil {
			n.log.Warn("a node that is silent could not be buried yet", zap.Uint32("incarnation", uint32(m.Incarnation)), zap.Error(err))
			continue
		}
		n.tallies.burials.Add(1)
		n.log.Warn("a node of the cluster has died", zap.String("name", m.Member.Name), zap.Uint32("incarnation", uint32(m.Incarnation)))
		n.wake()
	}
}

// leaseLeft returns how long it takes at most until a node that is silent is buried. n.mu is held on entry.
func (n *Node) leaseLeft(inc Incarnation) time.Duration {
	left := n.cfg.Lease + n.cfg.Renew
	if s, ok := n.seen[inc]; ok {
		left -= n.now() - s.since
	}
	return max(left, n.cfg.Renew)
}

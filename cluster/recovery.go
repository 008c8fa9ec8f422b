package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// writers is how many sessions are written again at a time.
const writers = 64

// rejoin puts the node's row into the table of a store that has lost it.
func (n *Node) rejoin(ctx context.Context, me Incarnation) error {
	if !n.May() {
		return ErrFenced
	}
	return n.dir.Rejoin(ctx, me, n.member(), n.known(me))
}

// tellOfOthers tells a store that recovers of nodes that are not in its table. It may have the row of this node, which rejoin has written, and not
// what rejoin has said besides, if it took over from a store that was recovering too.
func (n *Node) tellOfOthers(ctx context.Context, me Incarnation, v *View) error {
	for _, other := range n.known(me).Known {
		if !slices.ContainsFunc(v.Members, func(m MemberState) bool { return m.Incarnation == other }) {
			call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
			defer cancel()
			return n.rejoin(call, me)
		}
	}
	return nil
}

// known returns what the node still knows of the store, for one that may have lost it.
func (n *Node) known(me Incarnation) (o RejoinOptions) {
	o.Floor = Version(n.floor.Load())
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.view.Members {
		switch {
		case m.Dead:
			o.Dead = append(o.Dead, m.Incarnation)
		case m.Incarnation != me:
			o.Known = append(o.Known, m.Incarnation)
		}
	}
	return o
}

// recover writes the node's sessions into a store that may have lost them, and says that the node is ready until the store has
// recovered. since is when the node first saw this epoch. recover ends when the store has another epoch again, or ctx ends: it is
// called again then.
func (n *Node) recover(ctx context.Context, me Incarnation, epoch string, since time.Duration) {
	defer n.wake()
	n.mu.Lock()
	var all []*claim
	for _, c := range n.claims {
		if c.own.node == me && c.own.generation != 0 && (c.open == nil || !c.open.givenUp) { // a claim whose answer comes later is made again: see swapped
			all = append(all, c)
		}
	}
	n.mu.Unlock()

	if !n.writeAgain(ctx, epoch, all) || !n.writeGraces(ctx, epoch) {
		return
	}
	n.mu.Lock()
	n.release.again(epoch)
	stale := since-n.floorAt >= n.cfg.Lease // other nodes may have begun to act meanwhile
	n.mu.Unlock()
	for ctx.Err() == nil && !n.lifeIsOver() {
		waited := n.now() - since
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		armed, err := n.dir.Ready(call, me, ReadyOptions{
			Epoch: epoch, Floor: Version(n.floor.Load()), Settled: waited >= 2*n.cfg.Renew, Overdue: waited >= n.cfg.Lease, Stale: stale,
		})
		cancel()
		if err == nil {
			n.mu.Lock()
			n.readyIn = epoch
			n.mu.Unlock()
		}
		switch {
		case armed:
			n.log.Info("the cluster's store has recovered", zap.Int("sessions", len(all)))
			return
		case errors.Is(err, ErrFenced), errors.Is(err, ErrUnknown), errors.Is(err, ErrRecovering):
			return // the next renewal says what to do
		}
		sleep(ctx, min(max(n.cfg.Renew/20, 10*time.Millisecond), 100*time.Millisecond))
	}
}

// writeAgain writes the sessions' entries. It reports false when writing has no use any more.
func (n *Node) writeAgain(ctx context.Context, epoch string, all []*claim) bool {
	work := make(chan *claim)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	for range min(writers, len(all)) {
		workers.Go(func() {
			for c := range work {
				if !n.writeEntry(ctx, epoch, c) {
					cancel()
				}
				n.releaseAgain(c, epoch)
			}
		})
	}
	for _, c := range all {
		select {
		case work <- c:
		case <-ctx.Done():
		}
	}
	close(work)
	workers.Wait()
	return ctx.Err() == nil
}

// releaseAgain removes the entry of a session that has ended while it was written again: its release may have come before that.
func (n *Node) releaseAgain(c *claim, epoch string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.claims[c.own.session] != c && c.own.node == n.me {
		n.release.add(c.user, &released{session: c.own.session, node: c.own.node, again: true, lost: lost{otherIn: epoch}})
	}
}

// writeEntry writes a session's entry. Of sessions that exclude each other the youngest stays, and the others end. A session that ends
// meanwhile is released later, when the store has recovered. writeEntry reports false when writing has no use any more.
func (n *Node) writeEntry(ctx context.Context, epoch string, c *claim) bool {
	var prev Version
	var rest []entry
	var marks []mark
	known := false // the user has an entry in the store
	n.mu.Lock()
	c.rewritten = true
	n.mu.Unlock()
	for pause := 5 * time.Millisecond; ctx.Err() == nil && !n.lifeIsOver(); {
		next, pairs := n.withEntry(c, rest)
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		v, err := n.dir.Swap(call, c.user, prev, encodeRecord(next, marks), SwapOptions{Epoch: epoch, Recovering: true})
		cancel()
		var conflict *Conflict
		switch {
		case err == nil:
			n.raiseFloor(v)
			n.tellAnew(c.user, v, &c.anew, known)
			n.endRivals(c, pairs)
			return true
		case errors.As(err, &conflict):
			var entries []entry
			if entries, marks, err = decodeAll(conflict.Body, conflict.Version); err != nil {
				n.malformed(c.user)
				entries, marks = nil, nil
			}
			if n.revive(ctx, epoch, entries) != nil {
				sleep(ctx, pause)
				pause = min(2*pause, n.cfg.Renew/4)
				continue
			}
			n.mu.Lock()
			own := c.own
			at := find(entries, own.session)
			if at < 0 || entries[at].node != own.node { // else it was written, and the answer was lost
				known = slices.ContainsFunc(entries, func(e entry) bool {
					return e.session == own.session || !n.isGhost(&e)
				})
			}
			if known && c.anew && at < 0 {
				c.own.first = false // as others are there, Online is not told by it
			}
			n.mu.Unlock()
			prev = conflict.Version
			_, rest = splitGraces(entries) // the user is no longer in a grace
			if i := find(rest, own.session); i >= 0 {
				if rest[i].node == own.node {
					n.tellAnew(c.user, prev, &c.anew, known)
					n.endRivals(c, n.rivalsFound(c, rest))
					return true
				}
				rest = slices.Delete(rest, i, i+1) // it is from before the node's number changed
			}
		case errors.Is(err, ErrRecovering): // the epoch is another
			return false
		default:
			sleep(ctx, pause)
			pause = min(2*pause, n.cfg.Renew/4)
		}
	}
	return false
}

// revive asks the store which nodes live, where a record has entries of nodes that this one takes for dead. A store that has lost its table, or
// has lost their burial, lets nodes come back under their numbers. The sessions of such a node exclude others, and are not to be left out. The error says
// that the record is to be read again.
func (n *Node) revive(ctx context.Context, epoch string, entries []entry) error {
	n.mu.Lock()
	dead := slices.ContainsFunc(entries, func(e entry) bool {
		return e.node != n.me && n.claims[e.session] == nil && n.isDead(e.node) // a session here may have an entry of a former life
	})
	n.mu.Unlock()
	if !dead {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
	defer cancel()
	v, err := n.dir.Table(call)
	if err != nil {
		return err
	}
	if v.Epoch != epoch {
		return ErrRecovering
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range v.Members {
		if !m.Dead && n.isDead(m.Incarnation) {
			n.view.revive(m)
		}
	}
	return nil
}

// tellAnew tells Online of a user whose entry was written anew, unless the user is known to have had another in the store. It is told at most
// once for each entry.
func (n *Node) tellAnew(user string, version Version, anew *bool, known bool) {
	n.mu.Lock()
	tell := *anew && !known
	*anew = false
	n.mu.Unlock()
	if tell {
		n.local.Online(user, uint64(version))
	}
}

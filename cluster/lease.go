package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// serve keeps the lease until the node is fenced, or until ctx has ended and all sessions are over. It returns when no session of the
// membership takes messages any more.
func (n *Node) serve(ctx context.Context, m *membership) {
	n.mu.Lock()
	life, over := n.life, n.endLife
	n.learnRefusals(life)
	n.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { n.guard(life) })
	wg.Go(func() { n.keepLease(life, m.me) })
	wg.Go(func() { n.releaseAll(life) })
	wg.Go(func() { n.auditAll(life, m.me) })
	wg.Go(func() { n.markAll(life, m.me) })
	wg.Go(func() { n.writeLateChanges(life, m.me) })
	wg.Go(func() { n.removeOldBars(life) })
	if store, ok := n.dir.(DetailStore); ok && n.cfg.Details > 0 {
		wg.Go(func() { n.describeAll(life, store) })
	}

	n.await(ctx, func() bool { return n.stage == fenced || n.stage == cutOff })
	cut := ctx.Err() == nil && n.isCutOff()
	if !cut {
		n.endSessions(ctx, m.me)
	}
	over()
	n.mu.Lock()
	n.life = nil
	n.mu.Unlock()
	n.work.Wait()
	wg.Wait()
	n.mu.Lock()
	n.waits = waits{last: n.waits.last, keep: n.waits.keep} // it is not known whether they were delivered
	n.locations.clear()
	n.news = newNews(&n.cfg)
	n.mu.Unlock()
	if cut {
		return
	}
	n.goOutside()
	if ctx.Err() != nil {
		n.leave(m.me)
	}
}

// endSessions ends all sessions of an incarnation, and returns when none of them takes messages. If ctx has ended it stops the node, and
// waits for the sessions' ends too.
func (n *Node) endSessions(ctx context.Context, me Incarnation) {
	why := protocol.NodeLost
	if ctx.Err() != nil {
		n.stop()
		why = protocol.ServerStopping
	}
	n.awaitQuiet(me, why)
	if ctx.Err() == nil {
		return
	}
	n.endGraces()
	// The others let the users in when the node has left: not while Disconnected handlers run.
	call, cancel := context.WithTimeout(context.Background(), n.cfg.Renew)
	defer cancel()
	n.await(call, func() bool {
		return len(n.claims) == 0 && len(n.graces.users) == 0 && n.release.empty() || n.stage == fenced
	})
}

// goOutside is called when the node's life is over, and its sessions have ended.
func (n *Node) goOutside() {
	n.lease.SetEnd(0)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stage, n.epoch, n.returning = outside, "", false
	n.peers, n.rivals = make(map[Incarnation]*peer), nil
	for user, u := range n.release.users {
		n.leaveBars(user, barsOf(u.entries))
	}
	n.release.clear()
	n.graces = graces{}
	n.broadcast()
}

// await waits until the condition holds, which is looked at with n.mu held when something has changed, or until ctx ends.
func (n *Node) await(ctx context.Context, condition func() bool) {
	for {
		n.mu.Lock()
		holds, changed := condition(), n.changed
		n.mu.Unlock()
		if holds {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// keepLease renews the lease, until ctx ends. It does nothing that takes long besides.
func (n *Node) keepLease(ctx context.Context, me Incarnation) {
	var recovering sync.WaitGroup
	defer recovering.Wait()
	var recovery string // the epoch for which sessions are being written again
	for wait := n.cfg.Renew; ; {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-n.renewNow:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		if n.lifeIsOver() {
			return
		}
		n.askRivals()
		t0 := n.now()
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		v, err := n.dir.Renew(call, me, n.member(), Version(n.floor.Load()))
		if errors.Is(err, ErrUnknown) && !v.Armed {
			err = n.rejoin(call, me)
			if err == nil {
				t0 = n.now()
				v, err = n.dir.Renew(call, me, n.member(), Version(n.floor.Load()))
			}
		}
		cancel()
		wait = n.cfg.Renew / 4
		switch {
		case errors.Is(err, ErrFenced), errors.Is(err, ErrUnknown) && v.Armed:
			if !n.isReturning() {
				n.fence("the cluster's store says that the node's life is over")
			} else {
				n.loseStore(true)
			}
			return
		case err != nil:
			if ctx.Err() == nil {
				n.tallies.failed.Add(1)
				n.log.Warn("a renewal of the node's lease does not count", zap.Error(err))
			}
			if errors.Is(err, ErrNotDurable) && !v.Armed {
				n.loseEpoch() // claims wait, and do not ask the store again and again
			}
			continue
		case v.Armed:
			wait = n.cfg.Renew
			recovery = ""
			n.counted(t0, &v)
			n.bury(ctx, me, t0, &v)
		default:
			wait = n.cfg.Renew
			n.extendIfReady(t0, v.Epoch)
			if recovery != v.Epoch {
				if err := n.tellOfOthers(ctx, me, &v); err != nil {
					n.log.Warn("the cluster's store was not told which nodes there are", zap.Error(err))
					wait = n.cfg.Renew / 4
					continue
				}
				recovery = v.Epoch
				epoch, since := v.Epoch, n.now()
				n.loseEpoch()
				n.tallies.recoveries.Add(1)
				recovering.Go(func() { n.recover(ctx, me, epoch, since) })
			}
		}
	}
}

// counted notes a durable renewal at an armed store, which was asked for at t0.
func (n *Node) counted(t0 time.Duration, v *View) {
	defer n.tellOthers()
	n.tallies.renewals.Add(1)
	n.raiseFloor(v.Floor)
	n.extend(t0)
	n.route(v)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stage == fenced || n.stage == cutOff {
		return
	}
	n.returning = false
	n.noteFloor(t0, v.Floor)
	if n.recoveredIn != v.Epoch {
		n.recoveredIn, n.recovered = v.Epoch, v.Floor
	}
	if v.highest() > n.view.highest() {
		n.wake() // tells the newcomer that it is known
	}
	before := n.view.Members
	n.epoch, n.view = v.Epoch, *v
	if slices.ContainsFunc(before, func(m MemberState) bool { return !m.Dead && n.isDead(m.Incarnation) }) {
		n.locations.clear() // they may name the dead
	}
	n.waits.expire(n.now())
	n.look(v)
	n.broadcast()
}

// extend moves the end of the lease, after a durable renewal that was asked for at t0.
func (n *Node) extend(t0 time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.extendTo(t0)
}

// extendIfReady is extend for a store that recovers. It may recover without a node that is not ready, a lease after it began: so that
// such a node has stopped acting by then, its renewals do not count. A node that is returning does not stop acting anyway.
func (n *Node) extendIfReady(t0 time.Duration, epoch string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.readyIn == epoch || n.returning {
		n.extendTo(t0)
	}
}

// extendTo has n.mu held on entry.
func (n *Node) extendTo(t0 time.Duration) {
	if until := t0 + n.cfg.Lease - n.cfg.Margin; n.stage != fenced && until > n.lease.End() { // it has no end where the node is cutOff
		n.lease.SetEnd(until)
	}
}

// loseEpoch has all claims wait until the store has recovered. With Open those that have begun are given up: nodes may come back with
// sessions that are younger.
func (n *Node) loseEpoch() {
	n.mu.Lock()
	had := n.epoch != ""
	n.epoch = ""
	var cancels []context.CancelCauseFunc
	if n.cfg.StoreLost == Open {
		cancels = n.openClaims()
	}
	n.broadcast()
	n.mu.Unlock()
	for _, cancel := range cancels {
		cancel(refusal("the cluster's store recovers", n.cfg.Renew/40))
	}
	if had {
		n.log.Warn("the cluster's store recovers: logons wait until all nodes have written their sessions again")
	}
}

// guard fences the node when its lease is over, until ctx ends. With Open it has the node act without the store before that; it is too late
// then if the process has stood still.
func (n *Node) guard(ctx context.Context) {
	ahead := n.guardAhead()
	for ctx.Err() == nil {
		left := n.lease.End() - n.now()
		switch {
		case left <= 0:
			n.fence("the node could not renew its lease in time")
			return
		case left <= ahead && n.loseStore(false):
			return
		}
		sleep(ctx, max(left-ahead, 0))
	}
}

// fence ends the node's acting at once, and all its sessions with NodeLost.
func (n *Node) fence(why string) {
	n.mu.Lock()
	if n.stage == fenced || n.stage == outside || n.stage == cutOff && n.life != nil { // a late answer to a life that is over
		n.mu.Unlock()
		return
	}
	n.doubtAll()
	n.stage, n.epoch = fenced, ""
	n.lease.SetEnd(0)
	n.mu.Unlock()
	n.tallies.fences.Add(1)
	n.wake() // the renewals end
	n.log.Error(why + ": its sessions end, and it joins the cluster anew")
	n.endAll(&protocol.CloseError{Code: protocol.NodeLost, Text: "the server has lost its cluster"}, 0)
}

// stop ends all sessions, over the engines' StopWindow, because Run's context has ended.
func (n *Node) stop() {
	n.mu.Lock()
	if n.stage == fenced {
		n.mu.Unlock()
		return
	}
	n.stage = stopping
	n.mu.Unlock()
	n.endAll(&protocol.CloseError{Code: protocol.ServerStopping}, n.stopWindow())
}

// endAll gives up the claims that wait, and ends all sessions, evenly over a time. The sessions that are left when the node is fenced end
// at once.
func (n *Node) endAll(why *protocol.CloseError, over time.Duration) {
	n.mu.Lock()
	all := slices.Collect(maps.Keys(n.claims))
	cancels := n.openClaims()
	n.broadcast()
	n.mu.Unlock()
	for _, cancel := range cancels {
		cancel(why)
	}
	began := n.now()
	for i, id := range all {
		share := float64(i) / float64(max(len(all)-1, 1))
		if ahead := time.Duration(share*float64(over)) - (n.now() - began); ahead > time.Millisecond {
			wait, cancel := context.WithTimeout(context.Background(), ahead)
			n.await(wait, func() bool { return n.stage == fenced || n.claims[id] == nil })
			cancel()
		}
		n.users.Load().Evict(id, usermgr.Address{}, why.Code)
	}
}

// openClaims returns functions that give up the claims that wait. They must be called. n.mu is held on entry.
func (n *Node) openClaims() (cancels []context.CancelCauseFunc) {
	for _, c := range n.claims {
		if c.open != nil {
			c.open.givenUp = true
			cancels = append(cancels, c.open.cancel)
		}
	}
	return cancels
}

// awaitQuiet waits until no session of an incarnation takes messages. It waits for message handlers that run, but for no event handler, so
// that one that hangs does not keep the node out of the cluster. A session may be quiet before its end: while an event handler hangs, it
// takes no message any more.
func (n *Node) awaitQuiet(me Incarnation, why protocol.CloseCode) {
	m := n.users.Load()
	quieted := make(map[uuid.UUID]*atomic.Bool)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		n.mu.Lock()
		var left []uuid.UUID
		for id, c := range n.claims {
			if c.own.node == me {
				left = append(left, id)
			}
		}
		n.mu.Unlock()
		quiet := true
		for _, id := range left {
			q := quieted[id]
			if q == nil {
				q = new(atomic.Bool)
				quieted[id] = q
				seam.Quiesce(m, id, func() { q.Store(true) })
			}
			if !q.Load() && m.Evict(id, usermgr.Address{}, why) { // the manager has it: a message handler runs
				quiet = false
			}
		}
		if quiet {
			return
		}
		time.Sleep(pause)
	}
}

// allReleased reports whether an incarnation has no session left whose handlers run.
func (n *Node) allReleased(me Incarnation) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.claims {
		if c.own.node == me {
			return false
		}
	}
	return true
}

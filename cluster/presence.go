package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A user is online in the cluster while the user's record has an entry of a node that lives: a session, or a grace. Online is told by the
// node whose swap has made the record appear, and Offline by the one whose swap, or removal, has made it disappear.

var _ seam.Presences = (*Node)(nil)

// grace is a user of this node who has no session, and still counts as online.
type grace struct {
	user    string
	own     entry
	waiters []Incarnation // nodes where the user has logged on meanwhile
	back    bool          // the user is back on this node, unless the claim turns out not to be used
	anew    bool          // see claim
	in      string        // the epoch of the store that has had the entry last: a later one may have lost it
}

// graces are the users of this node in a grace. The node's lock protects it.
type graces struct {
	users    map[string]*grace
	sessions map[uuid.UUID]*grace
}

func (g *graces) add(user string, own entry) {
	if g.users == nil {
		g.users, g.sessions = make(map[string]*grace), make(map[uuid.UUID]*grace)
	}
	g.remove(user)
	x := &grace{user: user, own: own}
	g.users[user], g.sessions[own.session] = x, x
}

func (g *graces) remove(user string) {
	if x := g.users[user]; x != nil {
		delete(g.users, user)
		delete(g.sessions, x.own.session)
	}
}

// Release implements usermgr.Claims, for a session whose user has others on this node.
func (n *Node) Release(_ string, session uuid.UUID, _ uint64, _ usermgr.SessionInfo) {
	n.mu.Lock()
	c := n.claims[session]
	n.mu.Unlock()
	if c != nil {
		n.end(c, &seam.Left{})
	}
}

// Left implements seam.Presences.
func (n *Node) Left(_ string, session uuid.UUID, l seam.Left) {
	n.mu.Lock()
	c := n.claims[session]
	n.mu.Unlock()
	if c != nil {
		n.end(c, &l)
	}
}

// end forgets a claim that has failed, or whose session's Disconnected handlers have returned: nodes that wait are told, and its entry is
// removed from the store. l is nil for a claim that has failed.
func (n *Node) end(c *claim, l *seam.Left) {
	n.mu.Lock()
	delete(n.claims, c.own.session)
	unused := l == nil || l.Unused
	r := released{session: c.own.session, node: c.own.node, generation: c.own.generation, guessed: c.guessed, untold: unused && c.own.first}
	r.hid = r.untold && c.rewritten
	var more claimMore
	if c.more != nil {
		more = *c.more
	}
	if unused {
		r.marked = more.marked
	}
	switch {
	case c.open != nil:
		r.lost, r.carries = c.open.lost, c.open.carries
		if c.open.takes() {
			r.hid, r.dead = true, c.open.dead
		}
	case unused:
		r.lost = more.lost
	}
	if l != nil && l.Carry != nil {
		r.carries = append(r.carries, l.Carry)
	}
	first := r.carries
	if len(more.waiters) > 0 { // the first of them takes them along
		r.carries = nil
	}
	endGrace := false
	if r.node == n.me && n.hasSessions() {
		endGrace = n.endOwn(c, &r, &more, unused, l)
	} else {
		n.leaveBars(c.user, more.bars)
	}
	if more.over != nil {
		close(more.over)
	}
	if len(n.claims) == 0 {
		n.broadcast()
	}
	n.mu.Unlock()
	if more.heir != (uuid.UUID{}) {
		seam.Inherit(n.users.Load(), r.session, more.heir)
	}
	for i, to := range more.waiters {
		if i == 0 && len(first) > 0 {
			for _, carry := range first {
				n.send(&frame{kind: frameGone, from: r.node, to: to, session: r.session, carry: carry})
			}
			continue
		}
		n.send(&frame{kind: frameGone, from: r.node, to: to, session: r.session})
	}
	if endGrace {
		n.local.EndGrace(c.user)
	}
	if unused {
		n.logonFailed(c)
	}
}

// endOwn has the entry of a claim removed, or replaced by that of a grace. It reports whether the grace is to end at once. n.mu is held on
// entry.
func (n *Node) endOwn(c *claim, r *released, more *claimMore, unused bool, l *seam.Left) (endGrace bool) {
	switch g := n.graces.users[c.user]; {
	case r.untold && r.generation != 0 && g != nil: // the store had no entry of the grace: the user has gone offline elsewhere
		n.graces.remove(c.user)
		endGrace = true
	case unused && g != nil: // the grace goes on
		g.back = false
		r.grace = &g.own
	case unused:
	case l.Grace:
		own := c.own
		own.grace, own.ending = true, false
		n.graces.add(c.user, own)
		g := n.graces.users[c.user]
		g.in, g.anew, c.anew = n.view.Epoch, c.anew, false
		r.grace = &own
		endGrace = n.stage == stopping || len(more.waiters) > 0
		n.graces.users[c.user].waiters = more.waiters
	default:
		n.graces.remove(c.user)
	}
	if r.generation != 0 || r.lost != (lost{}) { // the entry may be in the store
		r.rest, r.marks, r.bars = more.rest, more.marks, more.bars
		n.release.add(c.user, r)
	}
	return endGrace
}

// GraceOver implements seam.Presences.
func (n *Node) GraceOver(user string, carry seam.Carry) {
	n.mu.Lock()
	r := &released{node: n.me, carries: []seam.Carry{carry}}
	var to Incarnation
	var session uuid.UUID
	if g := n.graces.users[user]; g != nil && g.own.node == n.me {
		n.graces.remove(user)
		r.session, session = g.own.session, g.own.session
		r.lost.otherIn = g.in
		if len(g.waiters) > 0 {
			to, r.carries = g.waiters[0], nil
		}
	} else {
		r.again = true // it only brings the carry to where the user is
	}
	if n.hasSessions() {
		n.release.add(user, r)
	}
	me := n.me
	n.mu.Unlock()
	if to != 0 {
		n.send(&frame{kind: frameGone, from: me, to: to, session: session, carry: carry})
	}
}

// endGraces ends all graces of this node, because it stops.
func (n *Node) endGraces() {
	n.mu.Lock()
	var users []string
	for user := range n.graces.users {
		users = append(users, user)
	}
	n.mu.Unlock()
	for _, user := range users {
		n.local.EndGrace(user)
	}
}

// askGrace asks a node for what moves with a user whose grace there is over. It waits no longer than for a few answers.
func (n *Node) askGrace(ctx context.Context, c *claim, e *entry) {
	ctx, cancel := context.WithTimeout(ctx, 3*evictRetry)
	defer cancel()
	f := frame{kind: frameEvict, from: c.own.node, to: e.node, session: e.session, by: c.open.logon.Address}
	answer, forget := n.ask(e.session)
	defer forget()
	for ctx.Err() == nil {
		n.send(&f)
		if gone, _ := n.awaitGone(ctx, c, answer, e.node, evictRetry); gone {
			return
		}
	}
}

// endWithGrace is called when the entry of a grace was written, in this epoch. If the grace has ended meanwhile it removes the entry: an earlier removal may
// not have found it.
func (n *Node) endWithGrace(user string, own *entry, epoch string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if g := n.graces.sessions[own.session]; g != nil {
		g.in = epoch
		return
	}
	n.release.add(user, &released{session: own.session, node: own.node, lost: lost{otherIn: epoch}})
}

// loseGrace ends the grace after a session of this node, because its entry is not in the store and the user is online there. A grace after a
// later session goes on: its entry comes.
func (n *Node) loseGrace(user string, session uuid.UUID) {
	n.mu.Lock()
	g := n.graces.users[user]
	lost := g != nil && !g.back && g.own.session == session
	if lost {
		n.graces.remove(user)
	}
	n.mu.Unlock()
	if lost {
		n.local.EndGrace(user)
	}
}

// bring brings what moves with a user to a node where the user has a session: the latest of these.
func (n *Node) bring(user string, entries []entry, carries []seam.Carry) {
	if len(carries) == 0 {
		return
	}
	n.mu.Lock()
	var to Incarnation
	for i := range entries {
		if e := &entries[i]; !e.grace && !n.isGhost(e) {
			to = e.node
		}
	}
	me := n.me
	n.mu.Unlock()
	for _, c := range carries {
		switch to {
		case 0:
		case me:
			n.local.Arrive(user, c)
		default:
			n.send(&frame{kind: frameCarry, from: me, to: to, owner: user, carry: c})
		}
	}
}

// writeGraces writes the entries of graces again, into a store that may have lost them. A user who is online elsewhere by now is in a
// grace no more. For a user who is back the store may have the session before the grace again, which is removed. Where a removal is
// under way that may write the grace, that removal does: the user may have gone offline meanwhile. But a grace that began without the store is written
// here, with Online. It reports false when writing has no use any more.
func (n *Node) writeGraces(ctx context.Context, epoch string) bool {
	n.mu.Lock()
	var all []*grace
	for _, g := range n.graces.users {
		switch {
		case g.back:
			n.release.add(g.user, &released{session: g.own.session, node: g.own.node, again: true, lost: lost{otherIn: epoch}})
		case g.own.node == n.me && (g.anew || !n.release.brings(g)):
			all = append(all, g)
		}
	}
	n.mu.Unlock()
	for _, g := range all {
		if !n.writeGrace(ctx, epoch, g) {
			return false
		}
	}
	return true
}

func (n *Node) writeGrace(ctx context.Context, epoch string, g *grace) bool {
	var prev Version
	var marks []mark
	known := false
	for pause := 5 * time.Millisecond; ctx.Err() == nil && !n.lifeIsOver(); {
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		v, err := n.dir.Swap(call, g.user, prev, encodeRecord([]entry{g.own}, marks), SwapOptions{Epoch: epoch, Recovering: true})
		cancel()
		conflict, other := asConflict(err), Incarnation(0)
		switch {
		case err == nil:
			n.raiseFloor(v)
			n.tellAnew(g.user, v, &g.anew, known)
		case conflict != nil:
			var entries []entry
			entries, marks, _ = decodeAll(conflict.Body, conflict.Version)
			if n.revive(ctx, epoch, entries) != nil {
				sleep(ctx, pause)
				pause = min(2*pause, n.cfg.Renew/4)
				continue
			}
			n.mu.Lock()
			for i := range entries {
				e := &entries[i]
				known = known || e.session != g.own.session || e.node != g.own.node
				if e.session != g.own.session && !n.isGhost(e) {
					other = e.node
				}
			}
			n.mu.Unlock()
			if i := find(entries, g.own.session); other == 0 && (i < 0 || !entries[i].grace || entries[i].node != g.own.node) {
				prev = conflict.Version
				continue
			}
			if other == 0 { // it was written, and the answer was lost
				n.tellAnew(g.user, conflict.Version, &g.anew, known)
			}
		case errors.Is(err, ErrRecovering):
			return false
		default:
			sleep(ctx, pause)
			pause = min(2*pause, n.cfg.Renew/4)
			continue
		}
		if other != 0 {
			n.loseGrace(g.user, g.own.session)
			n.unsure(doubt{user: g.user, life: other, owes: true}) // the other entry may be old, and the store may lose it
		} else {
			n.endWithGrace(g.user, &g.own, epoch)
		}
		return true
	}
	return false
}

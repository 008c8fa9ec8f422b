package cluster

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// rivals are two sessions of a user that may not live side by side, as a node finds them when it writes its sessions again.
type rivals struct {
	older, younger entry
	same           bool // the younger continues the older
}

// withEntry returns a record with the entry of a claim besides others, the oldest first, and which of them end because of younger ones.
// The claim's session has pushed out those that end because of it.
func (n *Node) withEntry(c *claim, rest []entry) (next []entry, pairs []rivals) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next = append(slices.Clone(rest), c.own)
	slices.SortStableFunc(next, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.generation, b.generation), bytes.Compare(a.session[:], b.session[:]))
	})
	pairs = n.rivalsAmong(c.user, next, c.own.session)
	for _, p := range pairs {
		if p.younger.session == c.own.session {
			c.own.past = c.own.addPast(pastSession{pastIDOf(c.user, p.older.session), p.same})
		}
		next[find(next, p.older.session)].ending = true
	}
	next[find(next, c.own.session)].past = c.own.past
	return next, pairs
}

// rivalsAmong returns which sessions of a user end because of younger ones: those that would have ended if all had logged on at one place, in
// the order of entries. Sessions that have ended do not count, except own: others may be marked because of it. n.mu is held on entry.
func (n *Node) rivalsAmong(user string, entries []entry, own uuid.UUID) (pairs []rivals) {
	var stay []entry
	for i := range entries {
		e := &entries[i]
		if n.isGhost(e) && e.session != own {
			continue
		}
		places := make([]seam.Place, len(stay))
		for j := range stay {
			places[j] = seam.Place{Device: stay[j].device, Same: e.continues(user, &stay[j])}
		}
		var left []uuid.UUID
		for _, j := range n.policy.Excluded(e.device, places) {
			pairs = append(pairs, rivals{stay[j], *e, places[j].Same})
			left = append(left, stay[j].session)
		}
		stay = slices.DeleteFunc(stay, func(o entry) bool { return slices.Contains(left, o.session) })
		stay = append(stay, *e)
	}
	return pairs
}

// continues reports whether the entry's session continues another of the user.
func (e *entry) continues(user string, o *entry) bool {
	return e.hasToken() && e.token == o.token || e.past.has(pastIDOf(user, o.session), true)
}

// addPast returns the entry's past with one more session at its beginning.
func (e *entry) addPast(s pastSession) past {
	most := maxPast
	if e.hasToken() {
		most--
	}
	p := past{s}.add(e.past...)
	return p[:min(len(p), most)]
}

// rivalsFound returns which sessions are to end, where the entry of a claim is in the record already. With Open the answer to the write that has brought
// it may be lost, so these are all in the record that exclude each other: claims under way were given up. Otherwise only a claim under way has marked
// sessions, and it ends them itself.
func (n *Node) rivalsFound(c *claim, entries []entry) []rivals {
	if n.cfg.StoreLost != Open {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rivalsAmong(c.user, entries, c.own.session)
}

// endRivals ends the sessions that a claim's session may not live beside, and that one itself where it is not the youngest.
func (n *Node) endRivals(c *claim, pairs []rivals) {
	for _, p := range pairs {
		var heir uuid.UUID
		if p.same {
			heir = p.younger.session
		}
		n.mu.Lock()
		f := frame{kind: frameEvict, from: n.me, to: p.older.node, session: p.older.session, heir: heir}
		here := f.from == f.to
		if old := n.claims[f.session]; here && old != nil && p.same {
			old.needMore().heir = heir
		}
		if !here {
			if n.rivals == nil {
				n.rivals = make(map[uuid.UUID]frame)
			}
			n.rivals[f.session] = f
		}
		n.mu.Unlock()
		if here {
			n.users.Load().Evict(f.session, usermgr.Address{}, protocol.PushedOut)
		} else {
			n.sendBoth(&f)
		}
	}
}

// askRivals asks again for the end of sessions elsewhere that may not live beside those of this node. They are asked for until their nodes
// say that they have ended.
func (n *Node) askRivals() {
	n.mu.Lock()
	frames := make([]frame, 0, len(n.rivals))
	for session, f := range n.rivals {
		if n.isDead(f.to) {
			delete(n.rivals, session)
			continue
		}
		f.from = n.me
		frames = append(frames, f)
	}
	n.mu.Unlock()
	for i := range frames {
		n.sendBoth(&frames[i])
	}
}

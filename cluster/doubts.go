package cluster

import (
	"context"
	"slices"

	"github.com/rollcall-go/rollcall/internal/seam"
)

// doubt is a user of a former life of the node, of whom something may have to be told when the node is back: because that life may have
// removed the user's record, or because the store has lost the life's entries, so that no other node sweeps them.
// It is also a user whose grace has ended because of an entry of another node, which the store may lose; and one of whom an audit may have removed the entries of
// dead nodes.
type doubt struct {
	user    string
	life    Incarnation // 0 for the audit
	in      string      // the epoch of the store that has the entries; "" for a record that may have been removed
	owes    bool        // Offline is owed if the user has no record
	hidden  bool        // Online is owed if the user has a record: see settle
	version Version
	carries []seam.Carry
}

// doubtAll notes all users of whom the node has an entry in the store, when its life ends. n.mu is held on entry.
func (n *Node) doubtAll() {
	add := func(user string, untold, hid bool, l lost) {
		n.doubts = append(n.doubts, doubt{user: user, life: n.me, in: n.view.Epoch, owes: !untold || hid || l.before(n.view.Epoch), hidden: untold || hid})
	}
	for _, c := range n.claims {
		switch {
		case c.own.node != n.me:
		case c.open == nil:
			add(c.user, false, false, lost{})
		default:
			add(c.user, c.own.first, c.open.takes() || c.rewritten, c.open.lost)
		}
	}
	for user, g := range n.graces.users {
		if !g.back {
			add(user, false, false, lost{})
		}
	}
	for user, u := range n.release.users {
		for _, e := range slices.Concat(u.entries, u.running) {
			if e.grace == nil { // one that has left before may be back in the store, and hide that others leave
				add(user, e.untold, e.hid, e.lost)
			}
		}
	}
	for _, e := range n.release.recent { // as such a one, in a store that takes over without the node's knowledge
		add(e.user, false, false, lost{})
	}
}

// unsure notes a user whose record may have been removed.
func (n *Node) unsure(d doubt) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.doubts = slices.DeleteFunc(n.doubts, func(o doubt) bool { return o.user == d.user && o.life == d.life })
	n.doubts = append(n.doubts, d)
}

// addDoubt notes a user of whom something else may be owed besides.
func (n *Node) addDoubt(d doubt) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.doubts = append(n.doubts, d)
}

// settleDoubts tells what is owed, until ctx ends.
func (n *Node) settleDoubts(ctx context.Context) {
	for ctx.Err() == nil {
		var due []doubt
		n.await(ctx, func() bool {
			due = n.dueDoubts()
			return len(due) > 0
		})
		for i := 0; i < len(due); {
			if n.settle(ctx, &due[i]) {
				i++
				continue
			}
			sleep(ctx, n.cfg.Renew/4)
			if ctx.Err() != nil || n.lifeIsOver() {
				n.mu.Lock()
				n.doubts = append(n.doubts, due[i:]...)
				n.mu.Unlock()
				return
			}
		}
	}
}

// dueDoubts returns the doubts that can be settled. It forgets those whose entries other nodes have swept. n.mu is held on entry.
func (n *Node) dueDoubts() (due []doubt) {
	if n.epoch == "" || n.stage == fenced {
		return nil
	}
	n.doubts = slices.DeleteFunc(n.doubts, func(d doubt) bool {
		if d.in != n.epoch {
			due = append(due, d)
			return true
		}
		return n.isSwept(d.life)
	})
	return due
}

// isSwept reports whether no record has an entry of a life that is over. n.mu is held on entry.
func (n *Node) isSwept(inc Incarnation) bool {
	for _, m := range n.view.Members {
		if m.Incarnation == inc {
			return m.Swept
		}
	}
	return true
}

// settle tells Offline of a user who has no record, if that is owed. A user with a record is online. If the former life owed Offline,
// Online was told: of the record that was not removed, or by the claim that has made it anew. If its claim was the user's
// first and did not come in, another claim may have found its entry, and so have told no Online: settle tells it. While the record has an entry
// of that life the doubt stays: the node that sweeps the entry tells, unless the store loses it before. settle reports false where the store
// does not say.
func (n *Node) settle(ctx context.Context, d *doubt) bool {
	n.mu.Lock()
	epoch := n.epoch
	n.mu.Unlock()
	version := max(d.version, Version(n.floor.Load())) // what was told of records that are not there any more has no higher one
	call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
	defer cancel()
	err := n.dir.Remove(call, d.user, 0, SwapOptions{Epoch: epoch}) // it fails where there is a record
	conflict := asConflict(err)
	switch {
	case err == nil || hasOnlyMarks(conflict):
		if d.owes {
			n.local.Offline(d.user, uint64(version), d.carries)
		}
	case conflict != nil:
		entries, marks, _ := decodeAll(conflict.Body, conflict.Version) // an audit mends what is malformed
		if slices.ContainsFunc(entries, func(e entry) bool { return e.node == d.life }) {
			d.in = epoch
			n.mu.Lock()
			n.doubts = append(n.doubts, *d)
			n.mu.Unlock()
		} else if d.hidden {
			if takeFirst(entries) && n.write(call, d.user, conflict.Version, entries, marks, SwapOptions{Epoch: epoch}) != nil {
				return false
			}
			n.local.Online(d.user, uint64(conflict.Version))
		}
	default:
		return false
	}
	return true
}

package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Swept is a session of a node that has died, whose entry another node has removed from the store. The other events in a session's life
// are those of its node's user manager: see usermgr.Events. If it was the user's last one, the user manager of the node that has removed it
// tells Offline.
type Swept struct {
	UserID string
	Place  Place // where the session was
}

const (
	// auditEvery is how long after an audit the next one begins.
	auditEvery = time.Hour
	// auditPause is between two steps of an audit, so that it takes little of the store's time.
	auditPause = 10 * time.Millisecond
	// auditStep is about how many records an audit asks for at a time.
	auditStep = 1000
	// auditTries is how often an audit tries to clear a record that others write meanwhile. The next audit tries again.
	auditTries = 4
	// mostMends is how many malformed records an audit mends at most: each costs a question to all nodes.
	mostMends = 100
)

// audits is the state of a node's audits. An audit goes through all records. It removes entries and marks of dead nodes, and
// those of this node that it does not have; and it writes sessions and marks of this node again that are not there. The node's lock protects it.
type audits struct {
	last  time.Duration // when the last whole audit began
	epoch string        // of the store at that time
	count uint32        // how many have begun
	// began is when the node saw first that there is something to audit; 0 while there is nothing.
	began time.Duration
	dead  []Incarnation // whose entries may be in the store

	malformed, mended int // records, in the present audit
	mends             auditMends
}

// auditMends counts what the releases, the claims and the recoveries had left for the audits.
type auditMends struct {
	strangers int // entries of this node that were removed although it did not have them
	missing   int // sessions of this node that had no entry
}

// removed counts those among removed entries that an audit has found, and nothing else has removed.
func (m *auditMends) removed(all []*released) {
	for _, e := range all {
		if e.audited && e.found {
			m.strangers++
		}
	}
}

// auditAll audits until ctx ends: once after each recovery of the store, when a node has died, and every hour.
func (n *Node) auditAll(ctx context.Context, me Incarnation) {
	n.mu.Lock()
	n.audits.last, n.audits.epoch = n.now(), n.view.Epoch // the node has nothing yet
	n.mu.Unlock()
	for ctx.Err() == nil {
		n.await(ctx, n.auditIsDue)
		if ctx.Err() == nil && !n.audit(ctx, me) {
			sleep(ctx, n.cfg.Renew)
		}
	}
}

// auditIsDue reports whether this node is to audit now. Each node audits after a recovery, one after the other. Of those that see a dead
// node the one with the lowest number sweeps at once; each later one does when a further lease has passed, and the dead node is still
// not swept. So a node that sweeps and dies, or hangs, holds nothing up. n.mu is held on entry.
func (n *Node) auditIsDue() bool {
	a := &n.audits
	if n.stage != acting || n.epoch == "" {
		return false
	}
	before := time.Duration(0) // how many nodes come first
	a.dead = a.dead[:0]
	for _, m := range n.view.Members {
		switch {
		case m.Dead && !m.Swept:
			a.dead = append(a.dead, m.Incarnation)
		case !m.Dead && m.Incarnation < n.me:
			before++
		}
	}
	now := n.now()
	recovered := a.epoch != n.epoch
	if !recovered && len(a.dead) == 0 {
		a.began = 0
		return now-a.last >= auditEvery
	}
	if a.began == 0 {
		a.began = now
	}
	if recovered {
		return now-a.began >= before*n.cfg.Renew/4
	}
	return now-a.began >= before*n.cfg.Lease
}

// audit goes through all records once. It reports false where it could not do all.
func (n *Node) audit(ctx context.Context, me Incarnation) bool {
	n.mu.Lock()
	a := &n.audits
	began, epoch, dead := n.now(), n.epoch, slices.Clone(a.dead)
	a.count++
	a.malformed, a.mended = 0, 0
	number := a.count
	var own []*claim // written before the audit, so that it finds them
	for _, c := range n.claims {
		if c.own.node == me && c.own.generation != 0 {
			own = append(own, c)
		}
	}
	n.mu.Unlock()

	whole := true
	for from, first := "", true; first || from != ""; first = false {
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		l, err := n.dir.Walk(call, from, auditStep)
		cancel()
		if err != nil {
			return false
		}
		for i := range l.Records {
			whole = n.auditRecord(ctx, epoch, &l.Records[i], number) && whole
		}
		from = l.Next
		sleep(ctx, auditPause)
	}
	whole = n.writeMissing(ctx, epoch, number, own) && whole
	n.markMissing(number)
	n.tellMalformed()
	n.mu.Lock()
	whole = whole && n.epoch == epoch && ctx.Err() == nil
	n.mu.Unlock()
	if whole && len(dead) > 0 {
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		whole = n.dir.Swept(call, me, epoch, dead) == nil
		cancel()
	}
	if whole {
		n.mu.Lock()
		a.last, a.epoch, a.began = began, epoch, 0
		n.view.Members = slices.Clone(n.view.Members) // others read it without the lock
		for i := range n.view.Members {               // the next renewal brings it too
			if m := &n.view.Members[i]; slices.Contains(dead, m.Incarnation) {
				m.Swept = true
			}
		}
		n.mu.Unlock()
	}
	return whole
}

// auditRecord looks at a user's record. It reports false where the record may still have entries of dead nodes.
func (n *Node) auditRecord(ctx context.Context, epoch string, r *Record, number uint32) bool {
	var unsure []entry // they may have been removed from this version: the answer was lost
	var of Version
	hidden := false // by them
	for range auditTries {
		entries, had, err := decodeAll(r.Body, r.Version)
		if err != nil {
			if !n.auditMalformed(ctx, epoch, r, number) {
				return true
			}
			continue
		}
		rest, dead := n.auditEntries(r.User, entries, number)
		marks := n.auditMarks(r.User, rest, had, number)
		if len(dead) == 0 && len(marks) == len(had) {
			n.tellSwept(r.User, of, unsure, rest)
			return true
		}
		floor := Version(n.floor.Load()) // what was told of sessions that the store has lost has no higher version
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		err = n.write(call, r.User, r.Version, rest, marks, SwapOptions{Epoch: epoch})
		cancel()
		var conflict *Conflict
		switch {
		case err == nil:
			n.tellSwept(r.User, max(r.Version, floor), withEntries(unsure, dead), rest)
			return true
		case errors.As(err, &conflict):
			r.Version, r.Body = conflict.Version, conflict.Body
		default:
			unsure, of = withEntries(unsure, dead), max(r.Version, floor)
			n.mu.Lock()
			hidden = hidden || n.hidesOnline(dead, rest)
			n.mu.Unlock()
			sleep(ctx, n.cfg.Renew/40)
		}
	}
	if len(unsure) > 0 { // the next audit does not find them
		n.addDoubt(doubt{user: r.User, owes: true, hidden: hidden, version: of})
	}
	return false
}

// withEntries returns entries with more of them, each once.
func withEntries(entries, more []entry) []entry {
	for i := range more {
		if find(entries, more[i].session) < 0 {
			entries = append(entries, more[i])
		}
	}
	return entries
}

// auditMalformed mends a malformed record, and looks at it again. It reports false where it could not: then the record stays as it is, and
// what this node has in it counts as found.
func (n *Node) auditMalformed(ctx context.Context, epoch string, r *Record, number uint32) (again bool) {
	n.mu.Lock()
	n.audits.malformed++
	try := n.audits.malformed <= mostMends
	n.mu.Unlock()
	if try && n.mend(ctx, r.User, r.Version, epoch, true) == nil {
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		records, err := n.dir.Look(call, r.User)
		cancel()
		if err == nil {
			*r, again = records[0], true
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if again {
		n.audits.mended++
		return true
	}
	for _, c := range n.claims {
		if c.user == r.User {
			c.seen = number
		}
	}
	return false
}

// tellMalformed logs how many malformed records the audit has found.
func (n *Node) tellMalformed() {
	n.mu.Lock()
	malformed, mended := n.audits.malformed, n.audits.mended
	n.mu.Unlock()
	if malformed > 0 {
		n.log.Error("records in the cluster's store were malformed", zap.Int("records", malformed), zap.Int("written anew", mended))
	}
}

// auditEntries returns what is to be left of a record, and the entries of dead nodes. It notes which sessions of this node it has found,
// and has entries removed that this node does not have.
func (n *Node) auditEntries(user string, entries []entry, number uint32) (rest, dead []entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range entries {
		e := &entries[i]
		if e.node != n.me {
			continue
		}
		if c := n.claims[e.session]; c != nil {
			c.seen = number
			continue
		}
		if g := n.graces.sessions[e.session]; g == nil || g.back {
			n.release.add(user, &released{session: e.session, node: e.node, again: true, audited: true, lost: lost{otherIn: n.epoch}})
		}
	}
	if rest, dead = n.withoutDead(entries); n.hidesOnline(dead, rest) {
		takeFirst(rest)
	}
	return rest, dead
}

// withoutDead returns the entries of nodes that are not dead, and those of dead nodes. A dead node finishes no eviction, so that the
// sessions before its entry live on: where another entry excludes them too, its claim does not go by the mark. n.mu is held on entry.
func (n *Node) withoutDead(entries []entry) (rest, dead []entry) {
	for i := range entries {
		if n.isDead(entries[i].node) {
			dead = append(dead, entries[i])
			for j := range rest {
				rest[j].ending = false
			}
			continue
		}
		rest = append(rest, entries[i])
	}
	return rest, dead
}

// tellSwept tells which entries were removed from a record, and that the user is offline by that. If the user is not, one of the dead nodes
// may not have told that the user is online; or it has told Offline, and a later claim has found its entry in a store that had taken over.
func (n *Node) tellSwept(user string, version Version, dead, rest []entry) {
	n.reportSwept(user, dead)
	n.mu.Lock()
	hidden := n.hidesOnline(dead, rest)
	n.mu.Unlock()
	switch {
	case len(dead) == 0:
	case len(rest) == 0:
		n.local.Offline(user, uint64(version), nil)
	case hidden:
		n.local.Online(user, uint64(version))
	}
}

// reportSwept calls Events.Swept.
func (n *Node) reportSwept(user string, dead []entry) {
	if n.cfg.Events.Swept == nil {
		return
	}
	for i := range dead {
		e := &dead[i]
		n.cfg.Events.Swept(Swept{UserID: user, Place: Place{
			Node: n.nameOf(e.node), Incarnation: e.node, Device: e.device, Generation: uint64(e.generation), Ending: e.ending, Grace: e.grace,
		}})
	}
}

// hidesOnline reports whether the nodes of the other entries of a record may have told no Online because of those of dead nodes. n.mu is held on entry.
func (n *Node) hidesOnline(dead, rest []entry) bool {
	told := slices.ContainsFunc(rest, func(e entry) bool { return e.first && !e.taken }) // or its node tells it still
	return len(rest) > 0 && slices.ContainsFunc(dead, func(e entry) bool { return e.first || e.generation <= n.recovered && !told })
}

// writeMissing writes the sessions again that the audit has not found. It reports false where it could not.
func (n *Node) writeMissing(ctx context.Context, epoch string, number uint32, own []*claim) bool {
	n.mu.Lock()
	missing := slices.DeleteFunc(own, func(c *claim) bool { return c.seen == number || n.claims[c.own.session] != c })
	n.audits.mends.missing += len(missing)
	n.mu.Unlock()
	if len(missing) > 0 {
		n.log.Warn("sessions were not in the cluster's store: they are written again", zap.Int("sessions", len(missing)))
	}
	return n.writeAgain(ctx, epoch, missing)
}

// nameOf returns a node's name; empty where it is not known.
func (n *Node) nameOf(inc Incarnation) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.view.Members {
		if m.Incarnation == inc {
			return m.Member.Name
		}
	}
	return ""
}

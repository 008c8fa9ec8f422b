package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
)

// released is an entry that must leave the store.
type released struct {
	session    uuid.UUID
	node       Incarnation
	generation Version      // the version that the claim has written; 0 where that is not known
	guessed    bool         // see claimMore
	rest       []entry      // the other entries of that version
	marks      []mark       // of that version
	bars       []mark       // what refuses the session's client from then on
	marked     []uuid.UUID  // entries that a failed claim has marked as ending
	again      bool         // it has left before, or is not known; what is told of that is told again where it is back in the store
	audited    bool         // an audit has found it
	found      bool         // the record had it
	untold     bool         // its claim was the user's first, and its session was never Connected: so its node has told no Online
	lost       lost         // where its claim has failed; with again otherIn is where it may be back
	grace      *entry       // takes its place if the user has no other entry; nil for none
	carries    []seam.Carry // what moves with the user
}

// releases are the entries that must leave the store. The node's lock protects it.
type releases struct {
	users   map[string]*userReleases
	waiting []*userReleases
	running int           // how many workers remove entries now
	wake    chan struct{} // tells releaseAll that an entry waits
	// recent are those of the last keepReleases: a store that takes over from another may still have their entries.
	recent []recentRelease
}

// userReleases are the entries of one user that must leave the store: one call after another, so that what they tell is in order.
type userReleases struct {
	user    string
	entries []*released   // they wait
	running []*released   // a worker removes them
	idle    chan struct{} // closed when there are no more; nil while none waits for that
}

type recentRelease struct {
	user string
	at   time.Duration // when it has left the store
	*released
}

const (
	// keepReleases is how long a removal is kept in mind after the store has confirmed it: a store that takes over may lack it.
	keepReleases = 30 * time.Second
	// releasers is how many users' entries are removed at a time.
	releasers = 32
)

func (r *releases) add(user string, e *released) {
	u := r.users[user]
	if u != nil { // it waits, or a worker has it, which looks again
		u.entries = append(u.entries, e)
		return
	}
	u = &userReleases{user: user, entries: []*released{e}}
	if r.users == nil {
		r.users = make(map[string]*userReleases)
	}
	r.users[user] = u
	r.enqueue(u)
}

func (r *releases) enqueue(u *userReleases) {
	r.waiting = append(r.waiting, u)
	if r.wake != nil {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// took is called when a user's entries that waited have left the store.
func (r *releases) took(u *userReleases) {
	u.running = nil
	if len(u.entries) > 0 {
		r.enqueue(u)
		return
	}
	delete(r.users, u.user)
	if u.idle != nil {
		close(u.idle)
	}
}

// owes reports whether a session has ended whose entry has not left yet, so that nothing was told of that.
func (r *releases) owes(user string, session uuid.UUID) bool {
	u := r.users[user]
	return u != nil && slices.ContainsFunc(slices.Concat(u.entries, u.running), func(e *released) bool {
		return e.session == session && !e.again && !(e.untold && e.generation == 0)
	})
}

// brings reports whether a removal is under way that may write the grace.
func (r *releases) brings(g *grace) bool {
	u := r.users[g.user]
	return u != nil && slices.ContainsFunc(slices.Concat(u.entries, u.running), func(e *released) bool {
		return e.grace != nil && e.grace.session == g.own.session
	})
}

func (r *releases) empty() bool { return len(r.users) == 0 && r.running == 0 }

func (r *releases) clear() {
	for _, u := range r.users {
		if u.idle != nil {
			close(u.idle)
		}
	}
	r.users, r.waiting, r.recent = nil, nil, nil
}

// done notes that a user's entries are out of the store, or that a grace has taken their place.
func (r *releases) done(user string, all []*released, graced bool, now time.Duration) {
	keep := 0
	for keep < len(r.recent) && now-r.recent[keep].at > keepReleases {
		keep++
	}
	r.recent = r.recent[keep:]
	for _, e := range all {
		if !(graced && e.grace != nil) && e.session != (uuid.UUID{}) {
			r.recent = append(r.recent, recentRelease{user, now, &released{session: e.session, node: e.node, bars: e.bars, marked: e.marked, again: true}})
		}
	}
}

// again has the entries of recent removed again, from a store that may have them still in this epoch.
func (r *releases) again(epoch string) {
	for _, e := range r.recent {
		e.lost.otherIn = epoch
		r.add(e.user, e.released)
	}
	r.recent = nil
}

// awaitReleases waits until none of the user's entries of this node is being removed, so that the events of one user are in order.
func (n *Node) awaitReleases(ctx context.Context, user string) {
	for {
		n.mu.Lock()
		u, changed := n.release.users[user], n.changed
		if u == nil || n.stage != acting {
			n.mu.Unlock()
			return
		}
		if u.idle == nil {
			u.idle = make(chan struct{})
		}
		idle := u.idle
		n.mu.Unlock()
		select {
		case <-idle:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// releaseAll removes entries until ctx ends.
func (n *Node) releaseAll(ctx context.Context) {
	wake := make(chan struct{}, 1)
	n.mu.Lock()
	n.release.wake = wake
	n.mu.Unlock()
	wake <- struct{}{}
	var workers sync.WaitGroup
	defer workers.Wait()
	workers.Go(func() { n.settleDoubts(ctx) })
	for {
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
		n.mu.Lock()
		start := min(len(n.release.waiting), releasers-n.release.running)
		n.release.running += start
		n.mu.Unlock()
		for range start {
			workers.Go(func() { n.releaseSome(ctx) })
		}
	}
}

// releaseSome removes entries until none waits. It tries each until it is removed, or until the node's life is over: a dead node's
// entries exclude no logon, and those of a node that goes on without the store wait for its return.
func (n *Node) releaseSome(ctx context.Context) {
	for {
		n.mu.Lock()
		if len(n.release.waiting) == 0 || ctx.Err() != nil {
			n.release.running--
			if n.stage == stopping {
				n.broadcast()
			}
			n.mu.Unlock()
			return
		}
		u := n.release.waiting[0]
		n.release.waiting = n.release.waiting[1:]
		all := u.entries
		u.entries, u.running = nil, all
		n.mu.Unlock()
		r := removal{node: n, user: u.user, all: all}
		over := r.run(ctx)
		n.mu.Lock()
		wait := !over && n.stage == cutOff
		if wait {
			u.entries = append(all, u.entries...)
		}
		n.mu.Unlock()
		if !wait && (over || r.unsure) {
			r.tell()
		}
		n.mu.Lock()
		switch {
		case over:
			n.release.done(u.user, all, r.graced, n.now())
			n.audits.mends.removed(all)
		case !wait:
			n.leaveBars(u.user, barsOf(all))
		}
		n.release.took(u)
		n.mu.Unlock()
	}
}

// removal removes entries of a user.
type removal struct {
	node *Node
	user string
	all  []*released

	// The outcome.
	gone    bool    // the record has left the store
	unsure  bool    // the record may have left: the node's life ended before an answer came
	graced  bool    // a grace entry has taken their place
	epoch   string  // of the store, in which the entries were looked for last
	floor   Version // what was known to be the highest version before that
	version Version // of the record that has left or was replaced, or that has none of them
	rest    []entry // what is left, without the grace entry
	marks   []mark  // the record's, which stay
}

// run removes the entries, and takes back the marks of failed claims. It reports false when the node's life is over.
func (r *removal) run(ctx context.Context) bool {
	n := r.node
	var prev Version
	if len(r.all) == 1 && !r.all[0].guessed {
		prev, r.rest, r.marks = r.all[0].generation, r.all[0].rest, r.all[0].marks
		r.unmark(r.rest)
	}
	var unsure Version // the record may have left: the answer was lost
	for pause := time.Duration(0); ; {
		epoch, err := n.releaseEpoch(ctx, r.me())
		if err != nil {
			r.version, r.unsure = unsure, unsure != 0
			return false
		}
		r.epoch, r.floor = epoch, Version(n.floor.Load())
		var records []Record
		var was Version // of a record without entries
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		if prev == 0 {
			if records, err = n.dir.Look(call, r.user); err == nil {
				prev, err = r.look(records[0].Version, records[0].Body)
			}
			if err == nil && prev == 0 && records[0].Version != 0 && !r.onlyMarks() && !r.lacksBars() {
				cancel()
				r.nothing(records[0].Version, unsure)
				return true
			}
			if err == nil {
				was = records[0].Version
			}
		}
		next := r.rest
		if grace := r.grace(); grace != nil && len(next) == 0 && prev != 0 {
			next = []entry{*grace}
		}
		if err == nil {
			err = n.write(call, r.user, max(prev, was), next, withBars(r.marks, r.bars()), SwapOptions{Epoch: epoch})
		}
		cancel()
		var conflict *Conflict
		switch {
		case err == nil && prev == 0: // the entries are not there, and not because the store recovers
			if len(r.rest) == 0 {
				was = 0
			}
			r.nothing(was, unsure)
			return true
		case err == nil:
			r.version, r.gone, r.graced = prev, len(next) == 0, len(r.rest) == 0 && len(next) > 0
			return true
		case errors.As(err, &conflict):
			if prev, err = r.look(conflict.Version, conflict.Body); err != nil {
				if n.mend(ctx, r.user, conflict.Version, epoch, false) != nil {
					return true // an audit mends it
				}
				continue
			}
			if prev == 0 && r.lacksBars() {
				continue
			}
			if prev == 0 {
				if r.onlyMarks() {
					conflict.Version = 0
				}
				r.nothing(conflict.Version, unsure)
				return true
			}
			unsure = 0
		case errors.Is(err, errBadRecord):
			if n.mend(ctx, r.user, records[0].Version, epoch, false) != nil {
				return true
			}
		default:
			if errors.Is(err, ErrRecovering) {
				prev = 0
			} else if prev != 0 && len(next) == 0 {
				unsure = prev
			}
			pause = n.backOff(ctx, err, pause)
		}
	}
}

// backOff waits before the store is called again after an error. For a store that recovers it waits until that is over; otherwise it waits twice as long
// as the last time. It returns that time.
func (n *Node) backOff(ctx context.Context, err error, last time.Duration) (pause time.Duration) {
	if errors.Is(err, ErrRecovering) {
		n.wake()
		n.awaitChange(ctx, n.cfg.Renew/4)
		return last
	}
	pause = min(max(2*last, 10*time.Millisecond), n.cfg.Renew)
	sleep(ctx, pause)
	return pause
}

// me returns the life of the node that has the entries.
func (r *removal) me() Incarnation { return r.all[0].node }

// grace returns the entry that takes the place of the others; nil for none.
func (r *removal) grace() *entry { return r.all[len(r.all)-1].grace }

// nothing notes that there is nothing to remove. A record that is not there may have left by a call whose answer was lost, or with
// what the store has lost. What was told of the latter has no higher version than the floor.
func (r *removal) nothing(version, unsure Version) {
	if r.version = version; version != 0 || r.graced {
		return
	}
	r.version, r.gone = unsure, unsure != 0
	for _, e := range r.all {
		if unsure == 0 && (e.generation != 0 || since(e.lost.otherIn, r.epoch)) {
			r.version, r.gone = r.floor, true
		}
	}
}

// onlyMarks reports whether the record, as it was looked at, has marks alone: then the user is as offline as without a record.
func (r *removal) onlyMarks() bool { return len(r.rest) == 0 && len(r.marks) > 0 && !r.graced }

// look notes what is to be left of a record. Version 0 means that there is nothing to remove.
func (r *removal) look(version Version, body []byte) (prev Version, err error) {
	if r.rest, r.marks, err = decodeAll(body, version); err != nil {
		return 0, err
	}
	found := false
	for _, e := range r.all {
		i := find(r.rest, e.session)
		if i < 0 {
			continue
		}
		if e.grace != nil && r.rest[i].grace && e == r.all[len(r.all)-1] && len(r.rest) == 1 { // it was written, and the answer was lost
			r.graced, r.rest = true, nil
			return 0, nil
		}
		r.rest = slices.Delete(r.rest, i, i+1)
		e.found, found = true, true
	}
	if !r.unmark(r.rest) && !found {
		return 0, nil
	}
	return version, nil
}

// unmark takes back the marks of failed claims, and reports whether there were any.
func (r *removal) unmark(entries []entry) (unmarked bool) {
	for i := range entries {
		for _, e := range r.all {
			if entries[i].ending && slices.Contains(e.marked, entries[i].session) {
				entries[i].ending = false
				unmarked = true
			}
		}
	}
	return unmarked
}

// write writes a record's entries and marks, but no bars that are over; without any it removes the record.
func (n *Node) write(ctx context.Context, user string, prev Version, entries []entry, marks []mark, o SwapOptions) error {
	marks = withoutOldBars(marks)
	if len(entries) == 0 && len(marks) == 0 {
		return n.dir.Remove(ctx, user, prev, o)
	}
	v, err := n.dir.Swap(ctx, user, prev, encodeRecord(entries, marks), o)
	n.raiseFloor(v)
	if err == nil && len(entries) == 0 {
		n.noteBars(user, marks)
	}
	return err
}

// releaseEpoch returns the store's epoch when it has one that counts. The error says that the node's life is over.
func (n *Node) releaseEpoch(ctx context.Context, me Incarnation) (epoch string, err error) {
	for {
		n.mu.Lock()
		epoch, changed, lost := n.epoch, n.changed, n.stage == fenced || n.me != me
		n.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case lost:
			return "", ErrFenced
		case epoch != "":
			return epoch, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

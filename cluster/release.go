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
	guessed    bool         // see claim
	rest       []entry      // the other entries of that version
	marks      []mark       // of that version
	bars       []mark       // what refuses the session's client from then on
	marked     []uuid.UUID  // entries that a failed claim has marked as ending
	again      bool         // it has left before, or is not known; what is told of that is told again where it is back in the store
	audited    bool         // an audit has found it
	found      bool         // the record had it
	untold     bool         // its claim was the user's first, and its session was never Connected: so its node has told no Online
	hid        bool         // both Offline and Online may be owed of it, or of what it has taken out of the store
	dead       []entry      // what that is, of dead nodes
	met        bool         // the record says so; only the worker uses it
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
		if !wait && (over || r.unsure || r.parted) {
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

package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// released is an entry that must leave the store.
type released struct {
	user       string
	session    uuid.UUID
	node       Incarnation
	generation Version       // the version that the claim has written; 0 where that is not known
	rest       []entry       // the other entries of that version
	marked     []uuid.UUID   // entries that a failed claim has marked as ending
	at         time.Duration // when it has left the store
}

// releases are the entries that must leave the store. The node's lock protects it.
type releases struct {
	waiting []*released
	running int           // how many workers remove entries now
	wake    chan struct{} // tells releaseAll that an entry waits
	// recent are those of the last keepReleases: a store that takes over from another may still have their entries.
	recent []*released
}

const (
	// keepReleases is how long a removal is kept in mind after the store has confirmed it: a store that takes over may lack it.
	keepReleases = 30 * time.Second
	// releasers is how many entries are removed at a time.
	releasers = 32
)

func (r *releases) add(e *released) {
	r.waiting = append(r.waiting, e)
	if r.wake != nil {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

func (r *releases) empty() bool { return len(r.waiting) == 0 && r.running == 0 }

func (r *releases) clear() { r.waiting, r.recent = nil, nil }

// done notes that an entry is out of the store.
func (r *releases) done(e *released, now time.Duration) {
	keep := 0
	for keep < len(r.recent) && now-r.recent[keep].at > keepReleases {
		keep++
	}
	e.at = now
	r.recent = append(r.recent[keep:], e)
}

// again has the entries of recent removed again, from a store that may have them still.
func (r *releases) again() {
	for _, e := range r.recent {
		e.generation, e.rest, e.marked = 0, nil, nil
		r.add(e)
	}
	r.recent = nil
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
// entries exclude no logon.
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
		e := n.release.waiting[0]
		n.release.waiting = n.release.waiting[1:]
		n.mu.Unlock()
		if n.remove(ctx, e) {
			n.mu.Lock()
			n.release.done(e, n.now())
			n.mu.Unlock()
		}
	}
}

// remove removes one entry, and takes back the marks of a failed claim. It reports false when the node's life is over.
func (n *Node) remove(ctx context.Context, e *released) bool {
	prev, rest := e.generation, e.rest
	e.unmark(rest)
	for pause := time.Duration(0); ; {
		epoch, err := n.releaseEpoch(ctx, e.node)
		if err != nil {
			return false
		}
		call, cancel := context.WithTimeout(ctx, n.cfg.Renew)
		if prev == 0 {
			prev, rest, err = n.lookFor(call, e)
			if err == nil && prev == 0 {
				cancel()
				return true
			}
		}
		if err == nil {
			err = n.write(call, e.user, prev, rest, SwapOptions{Epoch: epoch})
		}
		cancel()
		var conflict *Conflict
		switch {
		case err == nil:
			return true
		case errors.As(err, &conflict):
			prev, rest, err = e.leaves(conflict.Version, conflict.Body)
			if err != nil {
				n.log.Error("a user's record in the cluster's store is malformed")
			}
			if prev == 0 {
				return true
			}
		case errors.Is(err, ErrRecovering):
			prev = 0
			n.wake()
			n.awaitChange(ctx, n.cfg.Renew/4)
		case errors.Is(err, errBadRecord):
			n.log.Error("a user's record in the cluster's store is malformed")
			return true
		default:
			pause = min(max(2*pause, 10*time.Millisecond), n.cfg.Renew)
			sleep(ctx, pause)
		}
	}
}

// lookFor looks the record up, and returns what is to be left of it. Version 0 means that there is nothing to remove.
func (n *Node) lookFor(ctx context.Context, e *released) (prev Version, rest []entry, err error) {
	records, err := n.dir.Look(ctx, e.user)
	if err != nil {
		return 0, nil, err
	}
	return e.leaves(records[0].Version, records[0].Body)
}

// write writes a record's entries; none removes it.
func (n *Node) write(ctx context.Context, user string, prev Version, entries []entry, o SwapOptions) error {
	if len(entries) == 0 {
		return n.dir.Remove(ctx, user, prev, o)
	}
	v, err := n.dir.Swap(ctx, user, prev, encodeRecord(entries), o)
	n.raiseFloor(v)
	return err
}

// leaves returns what is to be left of a record. Version 0 means that there is nothing to remove.
func (e *released) leaves(version Version, body []byte) (prev Version, rest []entry, err error) {
	entries, err := decodeRecord(body, version)
	if err != nil {
		return 0, nil, err
	}
	i := find(entries, e.session)
	if i >= 0 {
		entries = slices.Delete(entries, i, i+1)
	}
	if !e.unmark(entries) && i < 0 {
		return 0, nil, nil
	}
	return version, entries, nil
}

// unmark takes back the marks of a failed claim, and reports whether there were any.
func (e *released) unmark(entries []entry) (unmarked bool) {
	for i := range entries {
		if entries[i].ending && slices.Contains(e.marked, entries[i].session) {
			entries[i].ending = false
			unmarked = true
		}
	}
	return unmarked
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

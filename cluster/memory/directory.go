// Package memory has a cluster's Directory and Mesh in the memory of one process: for several user managers in one program, and for tests.
//
//	store, mesh := memory.New(), memory.NewMesh()
//	a, err := cluster.New(cluster.Config{Directory: store, Mesh: mesh, Name: "a"})
//
// A test can make the store restart empty, or go back to an earlier state. With [Directory.With] it can make calls fail or take long.
package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
)

// Directory is a cluster.Directory in memory. Make one with New. It is ready at once, because a new one cannot have lost anything.
type Directory struct {
	mu       sync.Mutex
	state    state
	epoch    int
	armed    bool
	lost     bool // it has not recovered since it was restarted, so that rows of its table may be missing
	losable  bool
	top      cluster.Version // the highest version of this process
	ready    map[cluster.Incarnation]bool
	expected map[cluster.Incarnation]bool // told by Rejoin
	details  map[string]map[cluster.Version][]byte
}

var _ cluster.DetailStore = (*Directory)(nil)

// state is what a store can lose.
type state struct {
	records map[string]cluster.Record
	table   map[cluster.Incarnation]row
	last    cluster.Incarnation
	changes int // of the table
}

type row struct {
	member   cluster.Member
	renewals uint64
	dead     bool
	swept    bool
}

// New returns an empty Directory.
func New() *Directory {
	d := new(Directory)
	d.restart(state{})
	d.armed, d.lost = true, false
	return d
}

// Restart empties the Directory, as the restart of a server without persistence does: it recovers until its nodes have written their
// sessions again.
func (d *Directory) Restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.restart(state{})
}

// RestartAt is Restart for a server whose clock was set: its versions begin after this one, unless its nodes know higher ones.
func (d *Directory) RestartAt(v cluster.Version) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.restart(state{})
	d.top = v
}

// Snapshot is what a Directory had at one moment.
type Snapshot struct{ state state }

// Snapshot returns what the Directory has now.
func (d *Directory) Snapshot() Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Snapshot{d.state.clone()}
}

// Promote takes the Directory back to a snapshot, as a failover to a replica does that lacks what was written last: it recovers until
// its nodes have written their sessions again.
func (d *Directory) Promote(s Snapshot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.restart(s.state.clone())
}

// SetDurable says whether renewals count. When they do not, Renew returns cluster.ErrNotDurable, as a server does whose replicas are away.
func (d *Directory) SetDurable(durable bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.losable = !durable
}

func (d *Directory) restart(s state) {
	if s.records == nil {
		s.records, s.table = make(map[string]cluster.Record), make(map[cluster.Incarnation]row)
	}
	d.state, d.lost = s, true
	d.recover()
	// As with a clock that goes on while a server is restarted: nodes that act without the store still have the numbers that it has lost.
	d.top = cluster.Version(d.epoch) << 32
	d.know(cluster.Incarnation(d.epoch-1) << 16)
}

// recover begins a recovery.
func (d *Directory) recover() {
	d.epoch++
	d.armed = false
	d.ready, d.expected = make(map[cluster.Incarnation]bool), make(map[cluster.Incarnation]bool)
}

func (s state) clone() state {
	s.records, s.table = maps.Clone(s.records), maps.Clone(s.table)
	return s
}

func (d *Directory) epochName() string { return strconv.Itoa(d.epoch) }

func (d *Directory) stamp() string {
	return fmt.Sprint(d.epoch, ".", d.armed, ".", d.state.changes)
}

// Swap implements cluster.Directory.
func (d *Directory) Swap(ctx context.Context, user string, prev cluster.Version, body []byte, o cluster.SwapOptions) (cluster.Version, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mayWrite(ctx, user, prev, o); err != nil {
		return 0, err
	}
	d.top = max(d.top, prev) + 1
	d.state.records[user] = cluster.Record{User: user, Version: d.top, Body: slices.Clone(body)}
	return d.top, nil
}

// Remove implements cluster.Directory.
func (d *Directory) Remove(ctx context.Context, user string, prev cluster.Version, o cluster.SwapOptions) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mayWrite(ctx, user, prev, o); err != nil {
		return err
	}
	d.top = max(d.top, prev)
	delete(d.state.records, user)
	return nil
}

// mayWrite returns why a record may not be written. d.mu is held on entry.
func (d *Directory) mayWrite(ctx context.Context, user string, prev cluster.Version, o cluster.SwapOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if o.Epoch != d.epochName() || !d.armed && !o.Recovering {
		return cluster.ErrRecovering
	}
	if r := d.state.records[user]; r.Version != prev {
		return &cluster.Conflict{Version: r.Version, Body: slices.Clone(r.Body)}
	}
	return nil
}

// Look implements cluster.Directory.
func (d *Directory) Look(ctx context.Context, users ...string) ([]cluster.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	records := make([]cluster.Record, 0, len(users))
	for _, user := range users {
		r := d.state.records[user]
		records = append(records, cluster.Record{User: user, Version: r.Version, Body: slices.Clone(r.Body)})
	}
	return records, ctx.Err()
}

// Walk implements cluster.Directory.
func (d *Directory) Walk(ctx context.Context, from string, limit int) (cluster.Listing, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var l cluster.Listing
	for _, user := range slices.Sorted(maps.Keys(d.state.records)) {
		if user < from {
			continue
		}
		if len(l.Records) >= max(limit, 1) {
			l.Next = user
			break
		}
		r := d.state.records[user]
		r.Body = slices.Clone(r.Body)
		l.Records = append(l.Records, r)
	}
	return l, ctx.Err()
}

// Describe implements cluster.DetailStore. Nothing is forgotten by itself.
func (d *Directory) Describe(ctx context.Context, _ time.Duration, details []cluster.Detail) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.details == nil {
		d.details = make(map[string]map[cluster.Version][]byte)
	}
	for _, x := range details {
		switch of := d.details[x.User]; {
		case x.Body == nil:
			delete(of, x.Generation)
		case of == nil:
			d.details[x.User] = map[cluster.Version][]byte{x.Generation: slices.Clone(x.Body)}
		default:
			of[x.Generation] = slices.Clone(x.Body)
		}
	}
	return nil
}

// Details returns what Describe has written of a user's sessions, the oldest first.
func (d *Directory) Details(user string) (bodies [][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range slices.Sorted(maps.Keys(d.details[user])) {
		bodies = append(bodies, slices.Clone(d.details[user][g]))
	}
	return bodies
}

// Count implements cluster.Directory.
func (d *Directory) Count(ctx context.Context) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	users := 0
	for _, r := range d.state.records {
		if len(r.Body) == 0 || r.Body[0] != cluster.Uncounted {
			users++
		}
	}
	return users, ctx.Err()
}

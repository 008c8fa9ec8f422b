package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/rollcall-go/rollcall/cluster"
)

// Table implements cluster.Directory.
func (d *Directory) Table(ctx context.Context) (cluster.View, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.view(), ctx.Err()
}

// view returns the table. d.mu is held on entry.
func (d *Directory) view() cluster.View {
	v := cluster.View{Epoch: d.epochName(), Armed: d.armed, Stamp: d.stamp(), Floor: d.top}
	for inc, r := range d.state.table {
		v.Members = append(v.Members, cluster.MemberState{Incarnation: inc, Member: r.member, Renewals: r.renewals, Dead: r.dead, Swept: r.swept})
	}
	slices.SortFunc(v.Members, func(a, b cluster.MemberState) int { return cmp.Compare(a.Incarnation, b.Incarnation) })
	return v
}

// Join implements cluster.Directory.
func (d *Directory) Join(ctx context.Context, m cluster.Member, o cluster.JoinOptions) (cluster.Incarnation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	switch {
	case o.Open != nil:
		if d.open(m, o) {
			return o.Former, nil
		}
	case d.armed:
	case o.Bootstrap != d.stamp():
		return 0, cluster.ErrRecovering
	default:
		d.arm()
	}
	d.bury(o.Former)
	d.state.last++
	me := d.state.last
	for inc, r := range d.state.table { // what is absent, and below the highest number, is dead too
		if r.swept {
			delete(d.state.table, inc)
		}
	}
	d.set(me, row{member: m, renewals: 1})
	return me, nil
}

// open has the store recover, for a node that has acted without it. It reports whether the node's former life goes on. d.mu is held on
// entry.
func (d *Directory) open(m cluster.Member, o cluster.JoinOptions) (goesOn bool) {
	d.top = max(d.top, o.Open.Floor)
	if d.armed {
		d.recover()
	}
	if d.lost {
		d.hear(o.Open)
	}
	r, known := d.state.table[o.Former]
	goesOn = known && !r.dead || !known && d.lost && o.Former != 0
	if goesOn {
		d.know(o.Former)
		delete(d.ready, o.Former)
		d.set(o.Former, row{member: m, renewals: r.renewals + 1})
	}
	return goesOn
}

// hear notes what a node knows that comes back. d.mu is held on entry.
func (d *Directory) hear(o *cluster.RejoinOptions) {
	d.top = max(d.top, o.Floor)
	for _, inc := range o.Dead {
		d.know(inc)
		d.set(inc, row{dead: true})
	}
	for _, inc := range o.Known {
		d.know(inc)
		d.expected[inc] = true
	}
}

// Renew implements cluster.Directory.
func (d *Directory) Renew(ctx context.Context, me cluster.Incarnation, m cluster.Member, floor cluster.Version) (cluster.View, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return cluster.View{}, err
	}
	d.top = max(d.top, floor)
	r, err := d.alive(me)
	if err != nil {
		return d.view(), err
	}
	d.set(me, row{member: m, renewals: r.renewals + 1})
	if d.losable {
		return d.view(), cluster.ErrNotDurable
	}
	return d.view(), nil
}

// Rejoin implements cluster.Directory.
func (d *Directory) Rejoin(ctx context.Context, me cluster.Incarnation, m cluster.Member, o cluster.RejoinOptions) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.armed {
		return cluster.ErrUnknown
	}
	if d.lost {
		d.hear(&o)
	}
	r, known := d.state.table[me]
	if r.dead || !known && !d.lost {
		return cluster.ErrFenced
	}
	d.know(me)
	d.set(me, row{member: m, renewals: r.renewals + 1})
	return nil
}

// Ready implements cluster.Directory.
func (d *Directory) Ready(ctx context.Context, me cluster.Incarnation, o cluster.ReadyOptions) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if _, err := d.alive(me); err != nil {
		return false, err
	}
	d.top = max(d.top, o.Floor)
	if o.Epoch != d.epochName() {
		return false, cluster.ErrRecovering
	}
	if d.armed {
		return true, nil
	}
	d.ready[me] = true
	if o.Overdue || o.Settled && !(o.Stale && d.lost) && d.allReady() {
		d.arm()
	}
	return d.armed, nil
}

// allReady reports whether there is no node to wait for.
func (d *Directory) allReady() bool {
	for inc, r := range d.state.table {
		if !r.dead && !d.ready[inc] {
			return false
		}
	}
	for inc := range d.expected {
		if !d.state.table[inc].dead && !d.ready[inc] {
			return false
		}
	}
	return true
}

// arm ends the recovery. Nodes that are not ready are buried.
func (d *Directory) arm() {
	for inc := range d.expected {
		if _, ok := d.state.table[inc]; !ok {
			d.set(inc, row{dead: true})
		}
	}
	for inc := range d.state.table {
		if !d.ready[inc] {
			d.bury(inc)
		}
	}
	d.armed, d.lost = true, false
	clear(d.expected)
}

// Bury implements cluster.Directory.
func (d *Directory) Bury(ctx context.Context, by, who cluster.Incarnation, epoch string, renewals uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mayBury(ctx, by, epoch); err != nil {
		return err
	}
	if d.state.table[who].renewals == renewals {
		d.bury(who)
	}
	return nil
}

// Swept implements cluster.Directory.
func (d *Directory) Swept(ctx context.Context, by cluster.Incarnation, epoch string, dead []cluster.Incarnation) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mayBury(ctx, by, epoch); err != nil {
		return err
	}
	highest := slices.Max(slices.Collect(maps.Keys(d.state.table)))
	for _, inc := range dead {
		r := d.state.table[inc]
		switch {
		case !r.dead:
		case inc == highest: // absent, it would be taken for one that has joined since
			r.swept = true
			d.set(inc, r)
		default:
			delete(d.state.table, inc)
			d.state.changes++
		}
	}
	return nil
}

// mayBury returns why a node may say nothing about dead nodes. d.mu is held on entry.
func (d *Directory) mayBury(ctx context.Context, by cluster.Incarnation, epoch string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !d.armed || epoch != d.epochName() {
		return cluster.ErrRecovering
	}
	_, err := d.alive(by)
	return err
}

// Leave implements cluster.Directory.
func (d *Directory) Leave(ctx context.Context, me cluster.Incarnation) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bury(me)
	return ctx.Err()
}

// alive returns a node's row, or why it has none that lives.
func (d *Directory) alive(me cluster.Incarnation) (row, error) {
	r, ok := d.state.table[me]
	switch {
	case !ok:
		return row{}, cluster.ErrUnknown
	case r.dead:
		return row{}, cluster.ErrFenced
	}
	return r, nil
}

func (d *Directory) bury(inc cluster.Incarnation) {
	if r, ok := d.state.table[inc]; ok {
		r.dead = true
		d.set(inc, r)
	}
}

func (d *Directory) set(inc cluster.Incarnation, r row) {
	d.state.table[inc] = r
	d.state.changes++
}

// know keeps an incarnation from being given out.
func (d *Directory) know(inc cluster.Incarnation) { d.state.last = max(d.state.last, inc) }

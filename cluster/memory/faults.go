package memory

import (
	"context"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
)

// Faults say what goes wrong between a node and its Directory. A function may block, within ctx, so that calls are slow. op is the name of
// the method that is called.
type Faults struct {
	// Before is called before each call; with an error the call does not take place. Nil does nothing.
	Before func(ctx context.Context, op string) error
	// After is called after each call; with an error the answer is lost. Nil does nothing.
	After func(ctx context.Context, op string) error
}

// With returns the Directory with faults between it and its user.
func (d *Directory) With(f Faults) cluster.Directory { return &faulty{d, f} }

type faulty struct {
	to     *Directory
	faults Faults
}

// try makes a call that returns a value and an error.
func try[T any](f *faulty, ctx context.Context, op string, call func() (T, error)) (T, error) {
	var none T
	if f.faults.Before != nil {
		if err := f.faults.Before(ctx, op); err != nil {
			return none, err
		}
	}
	v, err := call()
	if f.faults.After != nil {
		if lost := f.faults.After(ctx, op); lost != nil {
			return none, lost
		}
	}
	return v, err
}

// do makes a call that returns an error alone.
func (f *faulty) do(ctx context.Context, op string, call func() error) error {
	_, err := try(f, ctx, op, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

func (f *faulty) Swap(ctx context.Context, user string, prev cluster.Version, body []byte, o cluster.SwapOptions) (cluster.Version, error) {
	return try(f, ctx, "Swap", func() (cluster.Version, error) { return f.to.Swap(ctx, user, prev, body, o) })
}

func (f *faulty) Remove(ctx context.Context, user string, prev cluster.Version, o cluster.SwapOptions) error {
	return f.do(ctx, "Remove", func() error { return f.to.Remove(ctx, user, prev, o) })
}

func (f *faulty) Look(ctx context.Context, users ...string) ([]cluster.Record, error) {
	return try(f, ctx, "Look", func() ([]cluster.Record, error) { return f.to.Look(ctx, users...) })
}

func (f *faulty) Walk(ctx context.Context, from string, limit int) (cluster.Listing, error) {
	return try(f, ctx, "Walk", func() (cluster.Listing, error) { return f.to.Walk(ctx, from, limit) })
}

func (f *faulty) Count(ctx context.Context) (int, error) {
	return try(f, ctx, "Count", func() (int, error) { return f.to.Count(ctx) })
}

func (f *faulty) Describe(ctx context.Context, keep time.Duration, details []cluster.Detail) error {
	return f.do(ctx, "Describe", func() error { return f.to.Describe(ctx, keep, details) })
}

func (f *faulty) Table(ctx context.Context) (cluster.View, error) {
	return try(f, ctx, "Table", func() (cluster.View, error) { return f.to.Table(ctx) })
}

func (f *faulty) Join(ctx context.Context, m cluster.Member, o cluster.JoinOptions) (cluster.Incarnation, error) {
	return try(f, ctx, "Join", func() (cluster.Incarnation, error) { return f.to.Join(ctx, m, o) })
}

func (f *faulty) Renew(ctx context.Context, me cluster.Incarnation, m cluster.Member, floor cluster.Version) (cluster.View, error) {
	return try(f, ctx, "Renew", func() (cluster.View, error) { return f.to.Renew(ctx, me, m, floor) })
}

func (f *faulty) Rejoin(ctx context.Context, me cluster.Incarnation, m cluster.Member, o cluster.RejoinOptions) error {
	return f.do(ctx, "Rejoin", func() error { return f.to.Rejoin(ctx, me, m, o) })
}

func (f *faulty) Ready(ctx context.Context, me cluster.Incarnation, o cluster.ReadyOptions) (bool, error) {
	return try(f, ctx, "Ready", func() (bool, error) { return f.to.Ready(ctx, me, o) })
}

func (f *faulty) Bury(ctx context.Context, by, who cluster.Incarnation, epoch string, renewals uint64) error {
	return f.do(ctx, "Bury", func() error { return f.to.Bury(ctx, by, who, epoch, renewals) })
}

func (f *faulty) Swept(ctx context.Context, by cluster.Incarnation, epoch string, dead []cluster.Incarnation) error {
	return f.do(ctx, "Swept", func() error { return f.to.Swept(ctx, by, epoch, dead) })
}

func (f *faulty) Leave(ctx context.Context, me cluster.Incarnation) error {
	return f.do(ctx, "Leave", func() error { return f.to.Leave(ctx, me) })
}

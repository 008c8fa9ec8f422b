package cluster_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
)

func (n *member) fault() memory.Faults {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.faults
}

func (n *member) fail(ctx context.Context, op string, f func(context.Context, string) error) error {
	if f == nil {
		return nil
	}
	return f(ctx, op)
}

// setFaults changes what is wrong between the node and the store.
func (n *member) setFaults(f memory.Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

var errCut = errors.New("the way to the store is cut")

// losing is the store of a node whose renewals may not count.
type losing struct {
	cluster.DetailStore
	node *member
}

func (l losing) Renew(ctx context.Context, me cluster.Incarnation, m cluster.Member, floor cluster.Version) (cluster.View, error) {
	v, err := l.DetailStore.Renew(ctx, me, m, floor)
	if err == nil && l.node.losable.Load() {
		err = cluster.ErrNotDurable
	}
	return v, err
}

// refusing has the calls of these methods fail.
func refusing(ops ...string) memory.Faults {
	return memory.Faults{Before: func(_ context.Context, op string) error {
		if slices.Contains(ops, op) {
			return errCut
		}
		return nil
	}}
}

// counting counts the calls of a method.
func counting(op string) (memory.Faults, *atomic.Int64) {
	calls := new(atomic.Int64)
	return memory.Faults{Before: func(_ context.Context, called string) error {
		if called == op {
			calls.Add(1)
		}
		return nil
	}}, calls
}

// cut cuts the node off the store: its calls hang until their time is over.
func (n *member) cut() {
	n.setFaults(memory.Faults{Before: func(ctx context.Context, _ string) error {
		<-ctx.Done()
		return errCut
	}})
}

// cutAnswers has the node's calls reach the store, and none of its answers come back.
func (n *member) cutAnswers() {
	n.setFaults(memory.Faults{After: func(ctx context.Context, _ string) error {
		<-ctx.Done()
		return errCut
	}})
}

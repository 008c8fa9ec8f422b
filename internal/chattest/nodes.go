package chattest

import (
	"context"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Nodes are servers of one cluster.
type Nodes struct {
	All []*Node

	t *testing.T
}

// Node is one of them.
type Node struct {
	*World
	Cluster *cluster.Node

	stops atomic.Int64 // that other nodes have told it: see settle
}

// NewNodes starts n servers, and returns when all are in the cluster. of says for each with which store and mesh it is, and with which store of
// messages.
func NewNodes(t *testing.T, n int, cfg chat.Config, of func(i int) (cluster.Config, chat.Store)) *Nodes {
	t.Helper()
	all := &Nodes{t: t}
	for i := range n {
		parts, store := of(i)
		parts.Logger, cfg.Store = zap.NewNop(), store
		w := &Node{World: &World{T: t, Store: store, dialled: 100 * i, nodes: all}, Cluster: testkit.Must(cluster.New(parts))}
		w.Cluster.Hear("stop", func(uint32, []byte) { w.stops.Add(1) }, func([]uint32) {})
		w.start(cfg, usermgr.Config{Claims: w.Cluster, Logger: zap.NewNop()}, w.Cluster)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.Cluster.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		ready, over := context.WithTimeout(context.Background(), testkit.Patience)
		defer over()
		if err := w.Cluster.Joined(ready); err != nil {
			t.Fatal(err)
		}
		all.All = append(all.All, w)
	}
	return all
}

// settle waits until each node has delivered what all have stored: what nodes tell each other keeps its order.
func (c *Nodes) settle() bool {
	c.t.Helper()
	for _, n := range c.All {
		if !n.World.settle() {
			return false
		}
	}
	for _, to := range c.All {
		before := to.stops.Load()
		for _, from := range c.All {
			from.Cluster.Tell("stop", uint32(to.Cluster.Incarnation()), nil)
		}
		testkit.Eventually(c.t, "the nodes hear each other", func() bool { return to.stops.Load() == before+int64(len(c.All)-1) })
	}
	for _, n := range c.All {
		n.World.settle()
	}
	return true
}

package cluster_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A node works for the one user manager that has it as its Claims, and says what is wrong where there is none or a second one.
func TestANodeWorksForOneUserManager(t *testing.T) {
	n := testkit.Must(cluster.New(cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh()}))
	if err := n.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "usermgr.Config.Claims") {
		t.Errorf("Run without a user manager returned %v", err)
	}
	users := testkit.Must(usermgr.New(usermgr.Config{Claims: n, HeartbeatTimeout: -1}))
	defer users.Close(context.Background())
	defer func() {
		if v, _ := recover().(string); !strings.Contains(v, "two user managers") {
			t.Errorf("a second user manager led to the panic %q", v)
		}
	}()
	_, _ = usermgr.New(usermgr.Config{Claims: n, HeartbeatTimeout: -1})
}

// A node whose Run is to end just as it has joined, or has come back to the store, ends its sessions and leaves: its users come in elsewhere
// at once, and the mesh is closed (else goroutines of it are left in the bubble).
func TestANodeThatStopsAsItJoinsLeaves(t *testing.T) {
	stopsInRenew := func(n *member) memory.Faults {
		return memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Renew" {
				n.end()
			}
			return nil
		}}
	}
	t.Run("ANewNode", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 0, usermgr.Config{})
			w.store.Restart() // so that it waits
			n := w.addNode()
			n.setFaults(stopsInRenew(n))
			if err := <-n.ended; err != nil {
				t.Error(err)
			}
			n.ended <- nil
			w.onlyLive()
		})
	})
	t.Run("ANodeThatComesBack", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newOpenWorld(t, 2, usermgr.Config{})
			a, b := w.nodes[0], w.nodes[1]
			s := w.mustLogOn(a, "ann", 0)
			a.cut()
			w.awaitLost(a)
			a.setFaults(stopsInRenew(a))
			if err := <-a.ended; err != nil {
				t.Error(err)
			}
			a.ended <- nil
			if a.has(s) {
				t.Error("the session goes on")
			}
			w.onlyLive(b)
		})
	})
}

// onlyLive checks that no others have a row that lives.
func (w *world) onlyLive(nodes ...*member) {
	w.t.Helper()
	v, err := w.store.Table(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range v.Members {
		if !m.Dead && !slices.ContainsFunc(nodes, func(n *member) bool { return n.Incarnation() == m.Incarnation }) {
			w.t.Errorf("node %d has not left: %+v", m.Incarnation, v.Members)
		}
	}
}

package cluster_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A node's figures show what an operator must know: whether it acts, for how long yet, and what other nodes and the store do.
func TestStatsSayWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.mustLogOn(b, "ann", 0)
		w.settled()
		if s := a.Stats(); !s.Acts || s.Recovering || s.Nodes != 2 || s.Claims != 0 || s.Releases != 0 || s.Joins != 1 || s.Evicted != 1 ||
			s.Evictions != 0 || s.Renewals == 0 || s.Received == 0 || s.LeaseLeft <= 0 || s.LeaseLeft > lease {
			t.Errorf("after a logon elsewhere: %+v", s)
		}
		if s := b.Stats(); s.Claims != 1 || s.Evictions != 1 || s.Evicted != 0 {
			t.Errorf("at the node of the logon: %+v", s)
		}

		w.awaitAnswers()
		w.silence(a)
		w.mustLogOn(a, "bob", 0)
		_, _ = w.logOn(b, usermgr.Logon{UserID: "bob"})
		if _, err := b.Sessions(context.Background(), "bob"); err != nil {
			t.Fatal(err)
		}
		if s := b.Stats(); s.Silent != 1 || s.Missing != 1 {
			t.Errorf("after a node did not answer: %+v", s)
		}
		w.mesh.Lose(nil)

		w.store.Restart()
		w.await("the node notices that the store recovers", func() bool { return a.Stats().Recovering })
		w.await("it has recovered", func() bool { return !a.Stats().Recovering })
		if s := a.Stats(); s.Recoveries != 1 || !s.Acts {
			t.Errorf("after a recovery: %+v", s)
		}

		a.cut()
		w.await("the node is fenced", func() bool { return a.Stats().Fences == 1 })
		if s := a.Stats(); s.Acts || s.Nodes != 0 || s.LeaseLeft > 0 || s.Failed == 0 {
			t.Errorf("when it is cut off: %+v", s)
		}
		w.await("the other node has buried it, and is alone", func() bool { s := b.Stats(); return s.Burials == 1 && s.Nodes == 1 })
		a.setFaults(refusing())
		w.awaitNodes()
		if s := a.Stats(); s.Joins != 2 {
			t.Errorf("when it is back: %+v", s)
		}
	})
}

// What waits for the store, and what the mesh does not take, is in the figures.
func TestStatsSayWhatWaitsAndWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0, usermgr.Config{})
		mesh := &gate{Mesh: w.mesh}
		w.way = mesh
		a, b := w.addNode(), w.addNode()
		w.awaitNodes()
		ann := w.mustLogOn(a, "ann", 0)
		w.mustLogOn(b, "bob", 0)
		a.setFaults(memory.Faults{Before: func(ctx context.Context, op string) error {
			if op == "Look" || op == "Remove" {
				<-ctx.Done()
				return errCut
			}
			return nil
		}})
		ann.End(protocol.ClientClosed)
		if err := a.send("bob", strings.Repeat("x", 1000), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := a.Stats(); s.Releases != 1 || s.Claims != 0 || s.Queued < 1000 {
			t.Errorf("while the store does not answer: %+v", s)
		}
		a.setFaults(memory.Faults{})
		w.await("nothing waits any more", func() bool { s := a.Stats(); return s.Releases == 0 && s.Queued == 0 })
		if err := a.send("bob", "1", nil); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 1")
		mesh.set(true, false)
		before := a.Stats().Unsent
		if err := a.send("bob", "2", nil); err != nil {
			t.Fatal(err)
		}
		if got := a.Stats().Unsent - before; got != 1 {
			t.Errorf("of a message that the mesh did not take %d frames are counted", got)
		}
		before = a.Stats().Unsent
		_, _ = w.logOn(a, usermgr.Logon{UserID: "bob"})
		if got := a.Stats().Unsent - before; got == 0 {
			t.Error("questions that the mesh did not take are not counted")
		}
		mesh.set(false, false)
	})
}

// A node that has not joined has figures too.
func TestStatsOfANodeThatDoesNotRun(t *testing.T) {
	n := testkit.Must(cluster.New(cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh()}))
	if s := n.Stats(); s != (cluster.Stats{}) {
		t.Errorf("%+v", s)
	}
}

package cluster_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
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
		w.await("the other node has buried it", func() bool { return b.Stats().Burials == 1 })
		a.setFaults(refusing())
		w.awaitNodes()
		time.Sleep(lease)
		if s := a.Stats(); s.Joins != 2 {
			t.Errorf("when it is back: %+v", s)
		}
	})
}

// A node that has not joined has figures too.
func TestStatsOfANodeThatDoesNotRun(t *testing.T) {
	n := testkit.Must(cluster.New(cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh()}))
	if s := n.Stats(); s != (cluster.Stats{}) {
		t.Errorf("%+v", s)
	}
}

package cluster_test

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rules 19 and 24: a node is cut off alone, and ann comes in there. The other node buries it, and lets ann in too. Then the store loses its table, so
// that the first node comes back under its number, before the other one has heard of that and writes what it has of ann.
func TestANodeThatWasBuriedComesBackUnderItsNumber(t *testing.T) {
	for name, graced := range map[string]bool{"a session elsewhere": false, "a grace elsewhere": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newOpenWorld(t, 2, usermgr.Config{OfflineGrace: time.Hour})
				byAge := slices.SortedFunc(slices.Values(w.nodes), func(a, b *member) int { return cmp.Compare(a.Incarnation(), b.Incarnation()) })
				buried, other := byAge[0], byAge[1] // only the one with the highest number keeps its row for good
				life := buried.Incarnation()
				buried.cut()
				w.awaitLost(buried)
				there := w.mustLogOn(buried, "ann", 0)
				w.await("the node was buried and swept", func() bool { return other.TakesForDead(life) && w.rows() == 1 })
				time.Sleep(2 * renew) // the other node has seen that
				elsewhere := w.mustLogOn(other, "ann", 0)
				if graced {
					elsewhere.End(protocol.HeartbeatTimeout)
				}
				synctest.Wait()

				other.setFaults(refusing("Swap"))
				w.store.Restart()
				w.await("the store recovers", func() bool { return other.Stats().Recoveries > 0 })
				buried.setFaults(refusing("Walk")) // no audit mends anything
				w.await("the node has written its session", func() bool { return w.record("ann").Version != 0 })
				if buried.Incarnation() != life {
					t.Fatalf("the node has the number %d, and had %d", buried.Incarnation(), life)
				}
				other.setFaults(memory.Faults{})
				w.await("both nodes are back", func() bool { return !buried.Stats().StoreLost && other.IsHealed(w.alive()) })
				w.settled()
				if !buried.has(there) {
					t.Errorf("the session that came in without the store, whose generation is the greatest, has ended:\n%s", w.log)
				}
				w.log.CheckNoRivals(t, 1)
				w.mustLogOn(other, "ann", 0)
				w.settled()
			})
		})
	}
}

// rows returns how many nodes are in the store's table.
func (w *world) rows() int {
	w.t.Helper()
	return len(testkit.Must(w.store.Table(context.Background())).Members)
}

// Rule 19: a node comes back that does not know the present nodes, because they have joined while it was cut off. The store has lost its table, so that
// the store does not know them either. It lets no user in while one of them may act.
func TestANodeThatWasAwayForLongLetsNobodyInWhileNodesMayActThatItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 1, usermgr.Config{})
		away := w.nodes[0]
		away.cut()
		w.awaitLost(away)
		present := w.addNode()
		w.awaitNodes()
		w.mustLogOn(present, "ann", 0)
		present.cut()
		w.store.Restart()
		away.setFaults(memory.Faults{})
		w.await("the node is back", func() bool { return !away.Stats().StoreLost })
		w.mustLogOn(away, "ann", 0)
		w.awaitLost(present)
		w.back()
		w.settled()
		w.log.CheckNoRivals(t, 1)
	})
}

// Rule 21: a node that was fenced buries its former life when it joins anew, so that the others need not wait for a lease to find that it is dead.
func TestAJoinBuriesTheNodesFormerLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		life := a.Incarnation()
		a.setFaults(refusing("Renew"))
		w.await("the node is fenced", func() bool { return !a.May() })
		fenced := time.Now()
		a.setFaults(memory.Faults{})
		w.await("the node is back", func() bool { return a.May() && a.Incarnation() != life })
		if took := time.Since(fenced); took > time.Second { // Margin is 2 s
			t.Errorf("the node was back after %v", took)
		}
		for _, m := range testkit.Must(w.store.Table(context.Background())).Members {
			if m.Incarnation == life && !m.Dead {
				t.Errorf("the former life is not dead: %+v", m)
			}
		}
		if n := b.Stats().Burials; n != 0 {
			t.Errorf("the other node has buried %d", n)
		}
	})
}

// Rule 19: what a node sends that was buried does nothing at others, whenever it comes: it ends no session, and is no message.
func TestWhatADeadNodeSendsIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "ann", 0)
		bob := w.mustLogOn(b, "bob", 0)
		life := a.Incarnation()
		var late sync.Map // the last frame of each kind
		w.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool {
			if cluster.FrameFrom(frame) == life {
				late.Store(frame[0], bytes.Clone(frame))
			}
			return true
		})
		if err := a.send("ann", "late", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.logOnWithin(a, usermgr.Logon{UserID: "bob"}, time.Second); err == nil {
			t.Fatal("bob came in although his session's node does not answer")
		}
		w.settled()
		a.cut()
		w.await("the node is dead", func() bool { return b.TakesForDead(life) })
		for _, kind := range []byte{cluster.FrameDeliver, cluster.FrameEvict} {
			frame, ok := late.Load(kind)
			if !ok {
				t.Fatalf("no frame of kind %d was sent", kind)
			}
			w.mesh.Lose(nil)
			if err := w.mesh.Send(b.Incarnation(), frame.([]byte)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
		}
		want(t, b.sessions.take())
		if !b.has(bob) {
			t.Error("bob's session has ended")
		}
		w.mesh.Lose(nil)
		a.setFaults(memory.Faults{})
		w.awaitNodes()
	})
}

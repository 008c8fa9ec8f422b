package cluster_test

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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

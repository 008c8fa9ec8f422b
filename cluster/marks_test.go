package cluster_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 17: a session that a logon has marked in the store ends, because other nodes let users in by that. It lives on, without the mark,
// where the logon fails after its claim was granted.
func TestASessionThatALogonHasMarkedEndsIfTheLogonComesIn(t *testing.T) {
	for name, wants := range map[string][]bool{
		"another session ends meanwhile": {false, false, true},
		"the logon is given up":          {true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
				a := w.nodes[0]
				first, second := w.mustLogOn(a, "ann", 0), w.mustLogOn(a, "ann", 0)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				var swaps atomic.Int64
				a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
					if op != "Swap" || swaps.Add(1) != 2 { // the first has found the sessions
						return nil
					}
					a.setFaults(memory.Faults{})
					if wants[2] {
						second.End(protocol.ClientClosed)
						w.await("the second session has ended", func() bool { return !a.has(second) })
					} else {
						cancel()
					}
					return nil
				}})
				third, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(w.conns.Add(1)))
				if (err == nil) != wants[2] {
					t.Fatalf("the third logon ended with %v", err)
				}
				w.settled()
				lives := []bool{a.has(first), a.has(second), err == nil && a.has(third)}
				if !slices.Equal(lives, wants) {
					t.Errorf("the three sessions live: %v, want %v", lives, wants)
				}
				records := testkit.Must(w.store.Look(context.Background(), "ann"))
				if _, ending := cluster.Decode(records[0]); slices.Contains(ending, true) {
					t.Errorf("the store has marks: %v", ending)
				}
			})
		})
	}
}

// Rule 17: a session is marked because of another one that is let in without the store, and ends before its node knows that it has written it. The store
// recovers once more meanwhile, or does not. The marked session takes no place in the store, so it ends.
func TestASessionThatIsMarkedBecauseOfOneThatHasEndedEnds(t *testing.T) {
	for _, again := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newOpenWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
			a, b := w.nodes[0], w.nodes[1]
			first := w.mustLogOn(a, "ann", 0)
			w.mustLogOn(a, "ann", 0)
			w.settled()
			w.cutAll()
			third := w.mustLogOn(b, "ann", 0)
			a.setFaults(memory.Faults{})
			w.await("the first node renews again", func() bool { return a.Stats().LeaseLeft > 0 })
			was, once := w.record("ann").Version, new(sync.Once)
			b.setFaults(memory.Faults{After: func(_ context.Context, op string) (lost error) {
				if op == "Swap" && w.record("ann").Version != was {
					once.Do(func() {
						if again {
							w.store.Promote(w.store.Snapshot()) // with all that it has
						}
						third.End(protocol.ClientClosed)
						lost = errCut
					})
				}
				return lost
			}})
			w.await("the third session has ended", func() bool { return !b.has(third) })
			w.back()
			w.settled()
			if a.has(first) {
				t.Errorf("the store recovers again: %v: the marked session lives on: %s\n%s", again, cluster.DecodeText(w.record("ann")), w.log)
			}
			w.noMarks("ann")
		})
	}
}

// Rule 17: a store that takes over may have a logon again that has failed, with the marks that it has made. They leave the store with it.
func TestMarksOfAFailedLogonThatIsBackInTheStoreLeaveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		ann := w.mustLogOn(a, "ann", 0)
		w.settled()
		w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
		ctx, cancel := context.WithTimeout(context.Background(), renew)
		defer cancel()
		failed := make(chan error)
		go func() {
			_, err := b.users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(w.conns.Add(1)))
			failed <- err
		}()
		w.await("the logon is in the store", func() bool { return w.at(a, "ann") == "a b" })
		before := w.store.Snapshot()
		if err := <-failed; err == nil {
			t.Fatal("ann came in")
		}
		w.mesh.Lose(nil)
		w.noMarks("ann")
		w.store.Promote(before)
		w.awaitRecovery(b)
		w.noMarks("ann")
		if !a.has(ann) {
			t.Errorf("the session has ended:\n%s", w.log)
		}
	})
}

package cluster_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// takeSwept returns what the nodes have told of swept sessions since the last call.
func (w *world) takeSwept() (all []string) {
	for _, n := range w.nodes {
		n.mu.Lock()
		for _, s := range n.swept {
			all = append(all, fmt.Sprintf("%s@%s device %d by %s", s.UserID, s.Place.Node, s.Place.Device, n.name))
		}
		n.swept = nil
		n.mu.Unlock()
	}
	slices.Sort(all)
	return all
}

// inOrder returns the nodes in the order of their numbers.
func (w *world) inOrder() []*member {
	return slices.SortedFunc(slices.Values(w.nodes), func(a, b *member) int { return cmp.Compare(a.Incarnation(), b.Incarnation()) })
}

func (w *world) records() int {
	return testkit.Must(w.store.Count(context.Background()))
}

// Rule 21: the entries of a node that has died leave the store, each is told once, and so is which users have gone offline by that.
func TestTheEntriesOfADeadNodeAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		nodes := w.inOrder()
		a, b := nodes[0], nodes[1]
		w.mustLogOn(a, "ann", 1)
		w.mustLogOn(b, "ann", 2)
		w.mustLogOn(a, "bob", 1)
		w.mustLogOn(a, "bob", 2)
		for i := range 50 {
			w.mustLogOn(b, fmt.Sprint("user", i), 0)
		}
		a.cut()
		began := time.Now()
		w.await("the entries are swept", func() bool { return w.records() == 51 })
		if took := time.Since(began); took > lease+3*renew {
			t.Errorf("it took %v", took)
		}
		time.Sleep(3 * lease)
		var want []string
		for _, s := range []string{"ann@%s device 1 by %s", "bob@%s device 1 by %s", "bob@%s device 2 by %s"} {
			want = append(want, fmt.Sprintf(s, a.name, b.name))
		}
		if got := w.takeSwept(); !slices.Equal(got, want) {
			t.Errorf("swept were %q, want %q", got, want)
		}
		if online, _ := w.log.IsOnline("bob"); online {
			t.Error("bob is not told to be offline")
		}
		if online, _ := w.log.IsOnline("ann"); !online {
			t.Error("ann is told to be offline, and is online at b")
		}
		if v := testkit.Must(w.store.Table(context.Background())); slices.ContainsFunc(v.Members, func(m cluster.MemberState) bool { return m.Dead }) {
			t.Errorf("after the sweep the table is %+v", v)
		}
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

// A node that should sweep and hangs, or dies meanwhile, holds the sweep up for a lease, and not for good. The dead node stays in the
// table until a whole sweep is over.
func TestASweeperThatHangsHoldsTheSweepUpForALease(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprint("dies ", dies), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 4, usermgr.Config{})
				nodes := w.inOrder()
				a, b := nodes[0], nodes[1]
				w.mustLogOn(a, "ann", 0)
				var walks atomic.Int64
				b.setFaults(memory.Faults{Before: func(_ context.Context, op string) error {
					if op == "Walk" {
						walks.Add(1)
						return errCut
					}
					return nil
				}})
				a.cut()
				w.await("b tries to sweep", func() bool { return w.isDead(a) && walks.Load() > 0 })
				if dies {
					b.cut()
				}
				began := time.Now()
				w.await("ann is swept", func() bool { return w.records() == 0 })
				if took := time.Since(began); took > 2*lease {
					t.Errorf("it took %v", took)
				}
				sweepers := nodes[2:3]
				if dies { // when b is buried no node comes before the third one, and a lease has passed for both
					sweepers = nodes[2:]
				}
				if got := w.takeSwept(); len(got) != 1 || !slices.ContainsFunc(sweepers, func(n *member) bool {
					return got[0] == "ann@"+a.name+" device 0 by "+n.name
				}) {
					t.Errorf("swept were %q", got)
				}
				a.setFaults(memory.Faults{})
				b.setFaults(memory.Faults{})
				w.awaitNodes()
			})
		})
	}
}

// isDead reports whether a node's last life is dead by the table, and not swept.
func (w *world) isDead(dead *member) bool {
	return slices.ContainsFunc(testkit.Must(w.store.Table(context.Background())).Members, func(m cluster.MemberState) bool {
		return m.Member.Name == dead.name && m.Dead && !m.Swept
	})
}

// Two nodes that sweep at once, and lost answers, do no harm: each entry is removed, and each user who has gone offline is told.
func TestAnswersThatAreLostLoseNoSweptUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		for i := range 20 {
			w.mustLogOn(a, fmt.Sprint("user", i), 0)
		}
		var mu sync.Mutex
		lost := 0
		b.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			mu.Lock()
			defer mu.Unlock()
			if lost++; op == "Remove" && lost%2 == 0 || op == "Walk" && lost%3 == 0 {
				return errCut
			}
			return nil
		}})
		a.cut()
		w.await("the entries are swept", func() bool { return w.records() == 0 && !w.isDead(a) })
		w.settled()
		a.setFaults(memory.Faults{})
		w.awaitNodes()
	})
}

// Rule 21: the same, where the dead node's last mark comes into the record before the sweep is tried again.
func TestAnAnswerThatIsLostLosesNoSweptUserWithAMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.awaitAnswers()
		var once sync.Once
		b.setFaults(memory.Faults{After: func(ctx context.Context, op string) (lost error) {
			if op == "Remove" {
				once.Do(func() {
					lost = errCut
					o := cluster.SwapOptions{Epoch: testkit.Must(w.store.Table(ctx)).Epoch}
					testkit.Must(w.store.Swap(ctx, "ann", 0, cluster.MarkOf(a.Incarnation()), o))
				})
			}
			return lost
		}})
		a.cut()
		w.await("the mark has left", func() bool { return b.TakesForDead(a.Incarnation()) && w.record("ann").Version == 0 })
		synctest.Wait()
		if got := w.takeSwept(); len(got) != 1 {
			t.Errorf("swept are %q", got)
		}
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
	})
}

// An audit, which comes every hour, removes entries of this node that it does not have, and writes its sessions again that are not there.
func TestAnAuditMendsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a := w.nodes[0]
		w.mustLogOn(a, "ann", 0)
		bob := w.mustLogOn(a, "bob", 0)
		w.settled()
		ctx := context.Background()
		o := cluster.SwapOptions{Epoch: testkit.Must(w.store.Table(ctx)).Epoch}
		was := testkit.Must(w.store.Look(ctx, "ann", "bob"))
		bob.End(protocol.ClientClosed)
		w.settled()
		if err := w.store.Remove(ctx, "ann", was[0].Version, o); err != nil {
			t.Fatal(err)
		}
		testkit.Must(w.store.Swap(ctx, "bob", 0, was[1].Body, o)) // a late write of a claim that has ended
		if places := testkit.Must(a.Where(ctx, "bob")); len(places) != 0 {
			t.Errorf("bob is at %v", places)
		}
		time.Sleep(time.Hour + 2*renew)
		if r := testkit.Must(w.store.Look(ctx, "ann", "bob")); r[0].Version == 0 || r[1].Version != 0 {
			t.Errorf("after the audit the records are %+v", r)
		}
		w.mustLogOn(w.nodes[1], "ann", 0)
		w.settled()
		if w.log.Count().Evicted != 1 {
			t.Error("ann's session was not found")
		}
	})
}

// Rule 21: a session that ends while an audit writes it again leaves no entry, although its removal has found none.
func TestASessionThatEndsWhileAnAuditWritesItLeavesTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		a := w.nodes[0]
		ann := w.mustLogOn(a, "ann", 0)
		w.settled()
		w.losesRecord("ann")
		var once sync.Once
		var ended atomic.Bool
		a.setFaults(memory.Faults{Before: func(_ context.Context, op string) error {
			if op == "Swap" {
				once.Do(func() {
					ann.End(protocol.ClientClosed)
					w.await("the removal is over", func() bool { return a.Held() == 0 && len(a.Releasing()) == 0 })
					ended.Store(true)
				})
			}
			return nil
		}})
		time.Sleep(time.Hour)
		w.await("an audit has found that ann's record is gone", ended.Load)
		w.settled()
	})
}

// An audit follows each recovery of the store, so that what came back with an old state does not stay.
func TestAnAuditFollowsARecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a := w.nodes[0]
		ann := w.mustLogOn(a, "ann", 0)
		before := w.store.Snapshot()
		ann.End(protocol.ClientClosed)
		time.Sleep(2 * cluster.KeepReleases)
		w.mustLogOn(a, "eve", 0).End(protocol.ClientClosed) // the node does not keep in mind that ann has gone
		w.settled()
		w.store.Promote(before)
		w.await("ann's entry is back", func() bool { return w.records() == 1 })
		w.await("ann's entry has left", func() bool { return w.records() == 0 })
	})
}

// Rule 21: a session that has ended in a grace beside others of its user leaves no grace in the store, and so its removal is kept in mind: when it
// is back in a store that takes over, it leaves by that, and not by the audit alone.
func TestASessionThatHasEndedBesideOthersLeavesAStoreThatTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}, OfflineGrace: 10 * time.Second})
		ann := w.mustLogOn(w.nodes[0], "ann", 1)
		w.mustLogOn(w.nodes[1], "ann", 2)
		w.settled()
		before := w.store.Snapshot()
		ann.End(protocol.HeartbeatTimeout)
		w.settled()
		w.store.Promote(before)
		w.awaitRecovery(w.nodes[0])
		time.Sleep(lease)
		w.settled()
		if strangers, _ := w.auditMends(); strangers > 0 {
			t.Errorf("the audits have removed %d entries", strangers)
		}
	})
}

// Rule 17: a session that was to give way to one of a node that has died lives on, and counts again.
func TestASessionLivesOnWhoseSuccessorHasDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
		var logon sync.WaitGroup
		logon.Go(func() {
			if _, err := w.logOn(b, usermgr.Logon{UserID: "ann"}); err == nil {
				t.Error("ann came in at b")
			}
		})
		synctest.Wait()
		b.cut()
		logon.Wait()
		w.await("b's entry is swept", func() bool { return len(w.takeSwept()) == 1 })
		w.mesh.Lose(nil)
		w.noMarks("ann")
		b.setFaults(memory.Faults{})
		w.awaitNodes()
	})
}

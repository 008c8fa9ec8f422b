package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A store that has lost everything grants no claim until all nodes have written their sessions again: rule 19 holds.
func TestAnEmptyStoreGrantsNothingBeforeAllNodesAreReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		for i := range 30 {
			w.mustLogOn(w.nodes[i%3], fmt.Sprint("user", i), 0)
		}
		a.cut()
		w.store.Restart()
		began := time.Now()
		_, err := w.logOn(b, usermgr.Logon{UserID: "user0"}) // it is at a, which has not written it again
		if err == nil {
			t.Errorf("user0 came in after %v, while a node's sessions are not known", time.Since(began))
		}
		a.setFaults(memory.Faults{})
		for i := range 30 {
			w.awaitLogOn(w.nodes[(i+1)%3], fmt.Sprint("user", i))
		}
		if got := w.log.Count().Evicted; got != 30 {
			t.Errorf("%d evictions, want 30", got)
		}
		w.settled()
		if w.log.Count().Lost != 0 {
			t.Error("a node was fenced")
		}
	})
}

// A node that does not come back to a store that recovers is buried after a lease, and its users come in.
func TestAStoreRecoversWithoutANodeThatHasDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		a.cut()
		w.store.Restart()
		began := time.Now()
		w.awaitLogOn(b, "ann")
		if took := time.Since(began); took > lease+2*renew {
			t.Errorf("ann came in after %v", took)
		}
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

// Rule 24: a store has recovered two renewals after its nodes have found that it may have lost something, and not earlier: by then all nodes that live
// have come.
func TestAStoreTakesTwoRenewalsToRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		began := time.Now()
		w.store.Restart()
		w.awaitLogOn(w.nodes[1], "ann")
		if took := time.Since(began); took < 2*renew || took > 4*renew {
			t.Errorf("ann came in after %v", took)
		}
		w.settled()
	})
}

// Rule 19: an answer that the store gave before it lost what it had grants no claim: the entry is written once more.
func TestAClaimWhoseAnswerComesAfterTheStoreHasLostIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		var once sync.Once
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" {
				once.Do(func() {
					w.store.Restart()
					w.awaitRecovery(a)
				})
			}
			return nil
		}})
		if _, err := w.logOnWithin(a, usermgr.Logon{UserID: "ann"}, time.Minute); err != nil {
			t.Errorf("ann was refused: %v", err)
		}
		w.mustLogOn(b, "ann", 0)
		w.happened("Connected ann@a", "PushedOut ann@a", "Disconnected ann@a PushedOut", "Connected ann@b")
		w.settled()
	})
}

// A logon asks a store that fails less and less often, so that a store in trouble is not drowned.
func TestALogonAsksAStoreThatFailsLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		var asked atomic.Int32
		w.nodes[0].setFaults(memory.Faults{Before: func(_ context.Context, op string) error {
			if op != "Swap" {
				return nil
			}
			asked.Add(1)
			return errCut
		}})
		if _, err := w.logOn(w.nodes[0], usermgr.Logon{UserID: "ann"}); err == nil {
			t.Error("ann came in")
		}
		if n := asked.Load(); n < 5 || n > 25 {
			t.Errorf("in 10 s the store was asked %d times", n)
		}
		w.nodes[0].setFaults(memory.Faults{})
		w.mustLogOn(w.nodes[0], "ann", 0)
		w.settled()
	})
}

// A logon that waits for a store to recover does not ask it again and again, also while renewals there do not count yet.
func TestALogonThatWaitsForTheStoreDoesNotPollIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		a := w.nodes[0]
		w.store.SetDurable(false)
		w.store.Restart()
		var asked atomic.Int32
		a.setFaults(memory.Faults{Before: func(_ context.Context, op string) error {
			if op == "Swap" {
				asked.Add(1)
			}
			return nil
		}})
		if _, err := w.logOnWithin(a, usermgr.Logon{UserID: "ann"}, renew); err == nil {
			t.Error("ann came in")
		}
		if n := asked.Load(); n > 2 { // by then the node has renewed its lease, and has seen that the store recovers
			t.Errorf("the store was asked %d times", n)
		}
		w.store.SetDurable(true)
		w.awaitLogOn(a, "ann")
		w.settled()
	})
}

// A store that takes over without the last claims gets them again.
func TestAStoreThatTakesOverGetsTheClaimsThatItLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		gone := w.mustLogOn(a, "gone", 0)
		w.settled()
		before := w.store.Snapshot()
		w.mustLogOn(b, "ann", 0)
		w.mustLogOn(b, "bob", 0)
		gone.End(protocol.ClientClosed)
		w.settled()
		w.store.Promote(before)
		w.awaitLogOn(a, "ann")
		w.mustLogOn(a, "bob", 0)
		w.settled()
	})
}

// A removal that was late is kept in mind as long as others, from when the store has confirmed it.
func TestAStoreThatTakesOverDoesNotGetLateRemovalsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		a := w.nodes[0]
		ann := w.mustLogOn(a, "ann", 0)
		before := w.store.Snapshot()
		a.setFaults(refusing("Remove"))
		ann.End(protocol.ClientClosed)
		time.Sleep(2 * cluster.KeepReleases)
		a.setFaults(memory.Faults{})
		w.settled()
		w.mustLogOn(a, "bob", 0).End(protocol.ClientClosed)
		w.settled()
		w.store.Promote(before)
		w.awaitRecovery(a)
		time.Sleep(lease)
		w.settled()
		if strangers, _ := w.auditMends(); strangers > 0 {
			t.Errorf("it was an audit that has removed %d entries", strangers)
		}
	})
}

// The first node of a store that may have lost something waits a lease: after that no node can be acting that acted before.
func TestTheFirstNodeWaitsALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0, usermgr.Config{})
		w.store.Restart()
		began := time.Now()
		n := w.addNode()
		w.awaitNodes()
		if took := time.Since(began); took < lease || took > lease+2*renew {
			t.Errorf("the node has joined after %v", took)
		}
		w.mustLogOn(n, "ann", 0)
		if places, err := n.Where(context.Background(), "ann"); len(places) != 1 || err != nil {
			t.Errorf("ann is at %v: %v", places, err)
		}
	})
}

// A node that renews at a store that recovers, and does not get its sessions written, stops acting before the store recovers without it.
func TestANodeThatIsNotReadyDoesNotActOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		a.setFaults(refusing("Swap"))
		w.store.Restart()
		w.awaitLogOn(b, "ann")
		if w.log.Count().Lost != 1 {
			t.Error("the node was not fenced")
		}
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

// A session that waits for another to end is written again too, so that a third one waits for it.
func TestASessionThatWaitsForAnotherIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		b.setFaults(memory.Faults{Before: func(_ context.Context, op string) error {
			if op == "Walk" { // no audit finds what the recovery has left out
				return errors.New("not now")
			}
			return nil
		}})
		free := make(chan struct{})
		w.log.Inside(func(n, event, _ string) {
			if n == a.name && event == "PushedOut" {
				<-free
			}
		})
		w.mustLogOn(a, "ann", 0)
		var all sync.WaitGroup
		for _, n := range []*member{b, c} {
			all.Go(func() {
				if _, err := w.logOnWithin(n, usermgr.Logon{UserID: "ann"}, time.Minute); err != nil {
					t.Errorf("ann was refused at %s: %v", n.name, err)
				}
			})
			synctest.Wait()
			if n == b {
				w.store.Restart() // b's claim is granted by the store, and waits for a's session; c's comes before the first audit
			}
		}
		w.await("c's claim is in the store", func() bool {
			places, _ := c.Where(context.Background(), "ann")
			return slices.ContainsFunc(places, func(p cluster.Place) bool { return p.Node == c.name })
		})
		w.await("c has asked for the end of a's session", func() bool { return a.Stats().Evicted == 2 })
		close(free)
		all.Wait()
		b.setFaults(memory.Faults{})
		if got := w.log.Count().Evicted; got != 2 {
			t.Errorf("%d evictions, want 2: of a's session and of b's", got)
		}
		w.settled()
	})
}

// A node acts when all others know it. Otherwise a store that has lost its table would recover without waiting for it.
func TestANodeActsWhenAllOthersKnowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true }) // they hear of it by the table alone
		n := w.addNode()
		w.await("the node has joined", n.May)
		w.mesh.Lose(nil)
		w.mustLogOn(n, "ann", 0)
		n.cut()
		w.store.Restart()
		w.awaitLogOn(w.nodes[0], "ann")
		if w.log.Count().Lost != 1 {
			t.Error("the newcomer was not fenced")
		}
	})
}

// A node that has died, and so does not get to know a newcomer, keeps it out for no longer than its lease.
func TestADeadNodeKeepsANewcomerOutForALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		w.nodes[0].cut()
		began := time.Now()
		n := w.addNode()
		w.await("the newcomer acts", n.May)
		if took := time.Since(began); took < lease-renew || took > lease+renew {
			t.Errorf("the newcomer acts after %v", took)
		}
		w.nodes[0].setFaults(memory.Faults{})
		w.awaitNodes()
	})
}

// Rule 19: a store has lost its table, and another takes over before a node that is cut off has come: it has what the present nodes have written since, and
// not what they have said. They say again that they know of that node, which acts until its lease is over.
func TestAStoreThatTakesOverDuringARecoveryWaitsForAllNodesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "ann", 0)
		w.settled()
		b.cut()
		w.store.Restart()
		w.await("the store recovers", func() bool { return a.Stats().Recoveries > 0 })
		w.store.Promote(w.store.Snapshot())
		w.awaitLogOn(a, "ann")
		b.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

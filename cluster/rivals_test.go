package cluster_test

import (
	"context"
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

// newRivals returns two nodes without the store, both of which ann is at; older is her session at the first.
func newRivals(t *testing.T) (w *world, older usermgr.Session) {
	w = newOpenWorld(t, 2, usermgr.Config{})
	older = w.mustLogOn(w.nodes[0], "ann", 0)
	w.cutAll()
	w.mustLogOn(w.nodes[1], "ann", 0)
	return w, older
}

// The end of a session that the store is to learn of is asked for until it has come: frames may be lost.
func TestTheOlderSessionEndsAlthoughAFrameIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, older := newRivals(t)
		a := w.nodes[0]
		a.setFaults(memory.Faults{})
		w.await("the older session is in the store", func() bool { return !a.Stats().StoreLost && w.at(a, "ann") == "a" })
		var asked atomic.Int64
		w.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool {
			if frame[0] == cluster.FrameEvict {
				asked.Add(1)
			}
			return true
		})
		w.back()
		w.await("the end was asked for twice", func() bool { return asked.Load() >= 2 })
		w.mesh.Lose(nil)
		w.await("the older session has ended", func() bool { return !a.has(older) })
		w.settled()
		w.log.CheckNoRivals(t, 1)
	})
}

// A limit on sessions holds again when the store is back: the youngest stay.
func TestTheLimitOnSessionsHoldsWhenTheStoreIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
		var all []usermgr.Session
		for _, n := range w.nodes[:2] {
			all = append(all, w.mustLogOn(n, "ann", 0))
		}
		w.cutAll()
		for i := range 3 {
			time.Sleep(2 * renew) // sessions of nodes that do not reach the store have their ages by a clock
			all = append(all, w.mustLogOn(w.nodes[i], "ann", 0))
		}
		w.back()
		w.settled()
		w.log.CheckNoRivals(t, 2)
		for i, s := range all {
			at := w.nodes[[]int{0, 1, 0, 1, 2}[i]]
			if stays := i >= 3; at.has(s) != stays {
				t.Errorf("of five sessions the one with number %d is there: %v\n%s", i, !stays, w.log)
			}
		}
	})
}

// What a node has written of two sessions counts also if the answer is lost: the older one ends.
func TestTheOlderSessionEndsAlthoughAnAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, older := newRivals(t)
		a, b := w.nodes[0], w.nodes[1]
		w.store.Restart()
		b.setFaults(memory.Faults{})
		w.await("the younger session is in the store", func() bool { return testkit.Must(w.store.Look(context.Background(), "ann"))[0].Version != 0 })
		swaps := 0
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" {
				if swaps++; swaps == 2 { // the first is refused
					return errCut
				}
			}
			return nil
		}})
		w.await("the older session has ended", func() bool { return !a.has(older) })
		w.back()
		w.settled()
	})
}

// The same, where the store begins to recover once more before the node asks again.
func TestTheOlderSessionEndsAlthoughAnAnswerIsLostAndTheStoreRecoversAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, older := newRivals(t)
		a, b := w.nodes[0], w.nodes[1]
		a.setFaults(memory.Faults{})
		w.await("a has written its session", func() bool { return w.record("ann").Version != 0 })
		was, once := w.record("ann").Version, new(sync.Once)
		b.setFaults(memory.Faults{After: func(_ context.Context, op string) (lost error) {
			if op == "Swap" && w.record("ann").Version != was {
				once.Do(func() {
					w.store.Promote(w.store.Snapshot()) // with all that it has
					lost = errCut
				})
			}
			return lost
		}})
		w.await("the older session has ended", func() bool { return !a.has(older) })
		w.back()
		w.settled()
		if !b.users.IsOnline("ann") {
			t.Errorf("the younger session has ended:\n%s", w.log)
		}
	})
}

// A logon that waits for a session elsewhere to end when a node comes back is refused, and comes again: the node may have a younger session.
func TestAClaimDoesNotOutliveTheReturnOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		free := make(chan struct{})
		w.log.Inside(func(n, event, _ string) {
			if n == a.name && event == "PushedOut" {
				<-free
			}
		})
		w.mustLogOn(a, "ann", 0)
		c.cut()
		time.Sleep(lease / 2)
		answered := make(chan error)
		go func() {
			_, err := w.logOnWithin(b, usermgr.Logon{UserID: "ann"}, 5*time.Minute)
			answered <- err
		}()
		w.awaitLost(c)
		younger := w.mustLogOn(c, "ann", 0)
		c.setFaults(memory.Faults{})
		w.await("the store recovers", func() bool { return b.Stats().Recoveries == 1 })
		synctest.Wait()
		close(free)
		if err := <-answered; codeOf(err) != protocol.InternalError {
			t.Errorf("the logon was answered with %v", err)
		}
		w.back()
		w.settled()
		if !c.has(younger) {
			t.Errorf("the younger session has ended:\n%s", w.log)
		}
		w.log.CheckNoRivals(t, 1)
	})
}

package cluster_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// owesOnline has node a owe a look at ann's record, in which what it had may have hidden others: what it removes waits.
func owesOnline(w *world, a, b *member) {
	w.mustLogOn(a, "ann", 0).End(protocol.ClientClosed)
	w.settled()
	a.setFaults(refusing("Look", "Swap", "Remove", "Walk"))
	w.store.Restart()
	w.awaitRecovery(b)
	w.restartAgain(b)
}

// Rule 17: a node notes at a first claim that it tells Online for it, has no answer to that, and its life ends, so that it does not. The claim fails beside a
// session that has found it: its node tells Online, or the one that sweeps it, where that node's life has ended too.
func TestOnlineIsToldWhereTheNodeThatWasToTellItIsCutOff(t *testing.T) {
	for name, both := range map[string]bool{"it alone": false, "the claim's node too": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				onlineIsToldWhereTheNodeThatWasToTellItIsCutOff(t, both)
			})
		})
	}
}

func onlineIsToldWhereTheNodeThatWasToTellItIsCutOff(t *testing.T, both bool) {
	w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
	a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
	owesOnline(w, a, b)
	w.await("c knows that too", func() bool { return !c.Stats().Recovering })
	ctx, cancel := context.WithTimeout(context.Background(), 5*lease)
	defer cancel()
	done := false // a has noted it
	b.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
		if op == "Swap" && !done && w.at(c, "ann") == "b" {
			done = true
			w.mustLogOn(c, "ann", 2)
			var written atomic.Bool
			a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
				if op == "Swap" {
					written.Store(true)
					a.cut()
					return errCut
				}
				return nil
			}})
			w.await("a has written", written.Load)
			w.await("a is fenced", func() bool { return !a.May() })
			if both {
				b.cut()
				return errCut
			}
			cancel()
		}
		return nil
	}})
	if _, err := b.users.Register(ctx, usermgr.Logon{UserID: "ann", Device: 1}, link(w.conns.Add(1))); err == nil {
		t.Fatal("ann came in")
	}
	if both {
		w.await("b is fenced", func() bool { return !b.May() })
	} else {
		b.setFaults(memory.Faults{})
	}
	w.await("b's claim has left", func() bool { return w.at(c, "ann") == "c" && len(b.Releasing()) == 0 })
	time.Sleep(2 * lease)
	a.setFaults(memory.Faults{})
	b.setFaults(memory.Faults{})
	w.awaitNodes()
	w.settled()
}

// Rule 17: a node has told Online for another's first claim, and the store loses the note of that. The claim's session, which waits for a slow handler of Offline, is written
// again, and fails: Offline is told.
func TestOfflineIsToldOfAFirstClaimAlthoughTheStoreHasLostThatItIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		owesOnline(w, a, b)
		w.mustLogOn(c, "ann", 0)
		life := c.Incarnation()
		c.cut()
		b.setFaults(refusing("Walk"))
		w.await("c is dead", func() bool { return b.TakesForDead(life) })
		block, blocked := make(chan struct{}), make(chan struct{})
		w.log.Inside(func(node, event, user string) {
			if node == "b" && event == "Offline" && user == "ann" {
				w.log.Inside(nil)
				close(blocked)
				<-block
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), 5*lease)
		defer cancel()
		failed := make(chan error, 1)
		go func() {
			_, err := b.users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(w.conns.Add(1)))
			failed <- err
		}()
		<-blocked
		synctest.Wait()
		a.setFaults(refusing("Walk"))
		w.await("a has told", func() bool { return len(a.Releasing()) == 0 })
		a.setFaults(memory.Faults{})
		b.setFaults(memory.Faults{})
		time.Sleep(2 * lease) // c is swept, so that it owes nothing when it is back
		c.setFaults(memory.Faults{})
		w.awaitNodes()
		w.restartAgain(b)
		w.await("a knows that too", func() bool { return !a.Stats().Recovering })
		time.Sleep(renew)
		cancel()
		close(block)
		if err := <-failed; err == nil {
			t.Fatal("ann came in")
		}
		w.await("the claim has left", func() bool { return w.records() == 0 && len(b.Releasing()) == 0 && len(a.Releasing()) == 0 })
		w.settled()
	})
}

// Rule 17: the session of a first claim waits for a slow handler of Offline. Its node goes on without the store, is buried, and comes back under another number: it finds its former
// entry, and a session that has told no Online because of it. The claim fails, and Online is told.
func TestOnlineIsToldWhereAFirstClaimOfAFormerNumberFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		x := w.mustLogOn(c, "ann", 3)
		former := c.Incarnation()
		c.cut()
		w.awaitLost(c)
		x.End(protocol.ClientClosed)
		a.setFaults(refusing("Walk"))
		b.setFaults(refusing("Walk"))
		w.await("c is dead", func() bool { return a.TakesForDead(former) && b.TakesForDead(former) })
		block, blocked := make(chan struct{}), make(chan struct{})
		w.log.Inside(func(node, event, user string) {
			if node == "a" && event == "Offline" && user == "ann" {
				w.log.Inside(nil)
				close(blocked)
				<-block
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), 10*lease)
		defer cancel()
		failed := make(chan error, 1)
		go func() {
			_, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann", Device: 1}, link(w.conns.Add(1)))
			failed <- err
		}()
		<-blocked
		synctest.Wait()
		w.mustLogOn(b, "ann", 2)
		life := a.Incarnation()
		a.cut()
		w.await("a is dead", func() bool { return b.TakesForDead(life) })
		a.setFaults(refusing("Walk"))
		w.await("a is back", func() bool {
			return a.Incarnation() != life && a.IsHealed(append(w.alive(), former)) && b.IsHealed(append(w.alive(), former))
		})
		if at := w.at(b, "ann"); at != "a b" {
			t.Fatal(at)
		}
		cancel()
		close(block)
		if err := <-failed; err == nil {
			t.Fatal("ann came in")
		}
		w.await("the claim has left", func() bool { return w.at(b, "ann") == "b" && len(a.Releasing()) == 0 })
		for _, n := range w.nodes {
			n.setFaults(memory.Faults{})
		}
		w.awaitNodes()
		time.Sleep(2 * lease)
		w.settled()
	})
}

// Rule 17: two nodes come back with sessions of one user. The answer to the first write is lost, and the second node finds that session: the first one tells Online.
func TestOnlineIsToldOfTwoSessionsThatComeBackWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b := w.nodes[0], w.nodes[1]
		s, s2 := w.mustLogOn(a, "ann", 1), w.mustLogOn(b, "ann", 2)
		w.settled()
		a.cut()
		b.cut()
		w.awaitLost(a)
		w.awaitLost(b)
		s.End(protocol.ClientClosed)
		s2.End(protocol.ClientClosed)
		synctest.Wait()
		w.mustLogOn(a, "ann", 3)
		w.mustLogOn(b, "ann", 4)
		w.await("the former sessions are swept", func() bool { online, _ := w.log.IsOnline("ann"); return !online })
		stored := func() int {
			records, err := w.store.Look(context.Background(), "ann")
			if err != nil {
				return 0
			}
			nodes, _ := cluster.Decode(records[0])
			return len(nodes)
		}
		var lost atomic.Bool
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" && lost.CompareAndSwap(false, true) {
				if n := stored(); n != 1 {
					t.Errorf("the store has %d sessions", n)
				}
				b.setFaults(memory.Faults{})
				w.await("b has written", func() bool { return stored() == 2 })
				return errCut
			}
			return nil
		}})
		w.await("an answer was lost", lost.Load)
		w.awaitNodes()
		time.Sleep(2 * lease)
		w.settled()
	})
}

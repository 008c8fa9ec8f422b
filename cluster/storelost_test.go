package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// newOpenWorld is newWorld for nodes that go on without the store.
func newOpenWorld(t *testing.T, nodes int, cfg usermgr.Config) *world {
	w := newWorld(t, 0, cfg)
	w.lost = cluster.Open
	for range nodes {
		w.addNode()
	}
	w.awaitNodes()
	return w
}

// cutAll cuts all nodes off the store, and returns when they go on without it.
func (w *world) cutAll() {
	w.t.Helper()
	for _, n := range w.nodes {
		n.cut()
	}
	for _, n := range w.nodes {
		w.awaitLost(n)
	}
}

func (w *world) awaitLost(n *member) {
	w.t.Helper()
	w.await("the node goes on without the store", func() bool { return n.Stats().StoreLost })
}

// back has all nodes reach the store again, and returns when they have written their sessions into it.
func (w *world) back() {
	w.t.Helper()
	for _, n := range w.nodes {
		n.setFaults(memory.Faults{})
	}
	w.await("the nodes are back", func() bool {
		return !slices.ContainsFunc(w.nodes, func(n *member) bool { return n.Stats().StoreLost || !n.May() })
	})
}

// Rule 24, StoreLost Open: sessions go on, and users come in, while the store is lost. When it is back, of two sessions of one user the younger
// one stays, wherever it is; the other one's client is told PushedOut.
func TestOpenNodesGoOnWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		stays := w.mustLogOn(a, "stays", 0)
		moves := w.mustLogOn(a, "moves", 0)
		w.mustLogOn(a, "leaves", 0).End(protocol.ClientClosed)
		gone := w.mustLogOn(b, "gone", 0)
		lives := [3]cluster.Incarnation{a.Incarnation(), b.Incarnation(), c.Incarnation()}
		w.cutAll()
		if !a.has(stays) {
			t.Fatalf("the session has ended:\n%s", w.log)
		}
		gone.End(protocol.ClientClosed)
		time.Sleep(3 * lease) // it goes on for as long as it must
		moved := w.mustLogOn(b, "moves", 0)
		time.Sleep(2 * renew) // the nodes' clocks say which of the sessions is the youngest
		back := w.mustLogOn(c, "moves", 0)
		w.mustLogOn(c, "new", 0)
		w.mustLogOn(c, "new", 0)
		brief := w.mustLogOn(c, "brief", 0)
		brief.End(protocol.ClientClosed)
		for s, n := range map[usermgr.Session]*member{moves: a, moved: b, back: c} {
			if !n.has(s) {
				t.Errorf("the session at %s has ended:\n%s", n.name, w.log)
			}
		}
		synctest.Wait()
		w.log.Take()
		w.back()
		w.await("one session is left", func() bool { return !a.has(moves) && !b.has(moved) })
		if !c.has(back) || !a.has(stays) {
			t.Errorf("the wrong session has ended:\n%s", w.log)
		}
		got := w.log.Take()
		slices.Sort(got)
		want := []string{"Disconnected moves@a PushedOut", "Disconnected moves@b PushedOut", "PushedOut moves@a", "PushedOut moves@b"}
		if !slices.Equal(got, want) {
			t.Errorf("it happened:\n%s", strings.Join(got, "\n"))
		}
		if now := [3]cluster.Incarnation{a.Incarnation(), b.Incarnation(), c.Incarnation()}; now != lives {
			t.Errorf("the nodes have the numbers %v, and had %v", now, lives)
		}
		w.settled()
		w.awaitLogOn(a, "moves") // and now the rules hold again
		w.awaitLogOn(b, "new")
		w.settled()
		w.log.CheckNoRivals(t, 1)
	})
}

// The store is lost with all that it had: the nodes come back to an empty one with what they have.
func TestOpenNodesComeBackToAnEmptyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 3, usermgr.Config{})
		for i := range 30 {
			w.mustLogOn(w.nodes[i%3], fmt.Sprint("user", i), 0)
		}
		w.cutAll()
		w.store.Restart()
		for i := range 30 {
			w.mustLogOn(w.nodes[(i+i/10)%3], fmt.Sprint("user", i), 0)
		}
		w.back()
		w.settled()
		w.log.CheckNoRivals(t, 1)
		for i := range 30 {
			w.awaitLogOn(w.nodes[(i+1)%3], fmt.Sprint("user", i))
		}
		w.settled()
	})
}

// A process that is started while all nodes are cut off finds an empty store, and is its first node after a lease. The nodes that come back
// have other numbers than it, so that no node takes a session of theirs for one of its own that has ended (rule 19).
func TestOpenNodesComeBackToAStoreThatANewNodeHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 2, usermgr.Config{})
		w.mustLogOn(w.nodes[1], "ann", 0)
		w.cutAll()
		w.store.Restart()
		c := w.addNode()
		w.awaitNodes()
		w.mustLogOn(c, "ann", 0)
		w.back()
		if lives := w.alive(); lives[0] == lives[2] || lives[1] == lives[2] {
			t.Errorf("rule 19: the nodes have the numbers %v", lives)
		}
		w.settled()
		for _, n := range w.nodes {
			w.awaitLogOn(n, "ann")
		}
		w.settled()
		w.log.CheckNoRivals(t, 1)
	})
}

// A node that was cut off alone keeps its users, and so do the others that have let them in. It comes back under another number, because it
// was buried. A user comes in nowhere before its sessions are in the store.
func TestAnOpenNodeThatWasBuriedComesBackWithItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		only, both := w.mustLogOn(a, "only", 0), w.mustLogOn(a, "both", 0)
		life := a.Incarnation()
		a.cut()
		w.mesh.Lose(func(to cluster.Incarnation, _ []byte) bool { return to == life })
		w.awaitLost(a)
		unclaimed := w.mustLogOn(a, "unclaimed", 0)
		w.awaitLogOn(b, "both")
		if !a.has(only) || !a.has(both) {
			t.Fatalf("sessions have ended:\n%s", w.log)
		}
		w.mesh.Lose(nil)
		a.setFaults(refusing("Swap")) // it is back, and cannot write its sessions yet
		w.await("the node has another number", func() bool { return a.Incarnation() != life })
		if _, err := w.logOn(b, usermgr.Logon{UserID: "unclaimed"}); err == nil {
			t.Error("a user came in before the other node's sessions were in the store")
		}
		w.back()
		w.await("the older session has ended", func() bool { return !a.has(both) })
		if !a.has(only) || !a.has(unclaimed) || !b.users.IsOnline("both") {
			t.Errorf("the wrong session has ended:\n%s", w.log)
		}
		w.settled()
		w.log.CheckNoRivals(t, 1)
		w.mustLogOn(b, "only", 0)
		w.mustLogOn(b, "unclaimed", 0)
		w.settled()
		if n := w.log.Count(); n.Lost != 0 {
			t.Error("a session has ended with NodeLost")
		}
	})
}

// Before the store counts as lost all is as with Closed: a shorter outage leaves rule 19 as it is.
func TestOpenChangesNothingInAShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 2, usermgr.Config{})
		w.mustLogOn(w.nodes[0], "ann", 0)
		for _, n := range w.nodes {
			n.cut()
		}
		if _, err := w.logOn(w.nodes[1], usermgr.Logon{UserID: "ann"}); codeOf(err) != protocol.InternalError {
			t.Errorf("ann was answered with %v", err)
		}
		for _, n := range w.nodes {
			n.setFaults(memory.Faults{})
		}
		time.Sleep(2 * lease) // nothing more comes of it
		w.mustLogOn(w.nodes[1], "ann", 0)
		w.settled()
		for _, n := range w.nodes {
			if s := n.Stats(); s.Losses != 0 || s.Recoveries != 0 {
				t.Errorf("at %s: %+v", n.name, s)
			}
		}
	})
}

// A node that stood still until its lease was over does not go on: it is not the store that was lost, and its users may be elsewhere.
func TestAnOpenNodeThatStoodStillIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 2, usermgr.Config{})
		a := w.nodes[0]
		w.mustLogOn(a, "ann", 0)
		a.EndLease()
		a.cut()
		time.Sleep(lease) // it would count the store as lost by then
		if a.Stats().Losses != 0 || a.users.IsOnline("ann") {
			t.Error("the node goes on")
		}
		w.back()
		w.awaitLogOn(a, "ann")
		w.settled()
	})
}

// Logons that wait for the store when it is lost are refused at once, and come in when they come again.
func TestLogonsThatWaitWhenTheStoreIsLostComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 1, usermgr.Config{})
		a := w.nodes[0]
		a.cut()
		time.Sleep(lease / 2) // the logon waits for a part of the lease, and not for all of it
		_, err := w.logOnWithin(a, usermgr.Logon{UserID: "ann"}, time.Minute)
		if codeOf(err) != protocol.InternalError || !a.Stats().StoreLost {
			t.Errorf("ann was answered with %v", err)
		}
		w.mustLogOn(a, "ann", 0)
		w.back()
		w.settled()
	})
}

// A user who leaves meanwhile is told to be offline when the store is back. A grace goes on, and ends.
func TestWhoLeavesAnOpenNodeIsOfflineWhenTheStoreIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 2, usermgr.Config{OfflineGrace: 2 * lease})
		a, b := w.nodes[0], w.nodes[1]
		early := w.mustLogOn(a, "early", 0)
		early.End(protocol.HeartbeatTimeout) // in a grace
		late := w.mustLogOn(a, "late", 0)
		back := w.mustLogOn(a, "back", 0)
		a.cut()
		w.awaitLost(a)
		late.End(protocol.HeartbeatTimeout)
		back.End(protocol.HeartbeatTimeout)
		w.mustLogOn(a, "back", 0)
		none := w.mustLogOn(a, "none", 0)
		none.End(protocol.ClientClosed)
		w.awaitLogOn(b, "other") // by now the node was buried
		w.await("the node was buried", func() bool { return b.Stats().Nodes == 1 })
		w.back()
		w.settled()
		time.Sleep(3 * lease) // the graces end
		w.settled()
		for _, user := range []string{"early", "late", "none"} {
			if online, _ := w.log.IsOnline(user); online {
				t.Errorf("%s is told to be online:\n%s", user, w.log.Of(user))
			}
		}
		if online, _ := w.log.IsOnline("back"); !online {
			t.Errorf("back is told to be offline:\n%s", w.log.Of("back"))
		}
	})
}

// Rule 17: a user comes in at a node that is cut off alone, and leaves into a grace. Another node tells Offline of the user. When the first node is back it
// writes the grace, and tells Online once, also where the answer to that write is lost.
func TestAGraceFromWithoutTheStoreIsToldWhenTheStoreIsBack(t *testing.T) {
	for _, heard := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newOpenWorld(t, 2, usermgr.Config{OfflineGrace: 2 * lease})
			a, b := w.nodes[0], w.nodes[1]
			life := a.Incarnation()
			a.setFaults(memory.Faults{Before: func(context.Context, string) error { return errCut }}) // at once, so that it is back soon
			b.RaiseFloor(1 << 50)                                                                     // a store's versions are times: what the other node writes later has higher ones
			w.awaitLost(a)
			w.mustLogOn(a, "ann", 0).End(protocol.HeartbeatTimeout)
			w.mustLogOn(b, "ann", 0)
			if _, err := b.users.Kick("ann", nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if online, _ := w.log.IsOnline("ann"); online {
				t.Fatalf("ann is told to be online:\n%s", w.log)
			}
			w.log.Take()
			writes := new(atomic.Int64)
			a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
				if !heard && op == "Swap" && writes.Add(1)%2 == 1 {
					return errCut
				}
				return nil
			}})
			w.await("the node is back, and the store has recovered", func() bool {
				return !a.Stats().StoreLost && a.IsHealed(w.alive()) && b.IsHealed(w.alive())
			})
			if told := strings.Count(w.log.Of("ann"), "Online ann@"); told != 1 {
				t.Errorf("answers come: %v: ann is told %d times to be online:\n%s", heard, told, w.log)
			}
			w.mustLogOn(b, "ann", 0)
			w.settled()
			if a.Incarnation() != life {
				t.Errorf("answers come: %v: the node was buried: it has the number %d, and had %d\n%s", heard, a.Incarnation(), life, w.log)
			}
		})
	}
}

// A node that stops while the store is lost ends its sessions, in the time that a stop takes.
func TestAnOpenNodeStopsWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 1, usermgr.Config{})
		a := w.nodes[0]
		w.mustLogOn(a, "ann", 0)
		w.cutAll()
		w.mustLogOn(a, "bob", 0)
		synctest.Wait()
		w.log.Take()
		began := time.Now()
		a.stop(t)
		got := w.log.Take()
		slices.Sort(got)
		if want := []string{"Disconnected ann@a ServerStopping", "Disconnected bob@a ServerStopping"}; !slices.Equal(got, want) {
			t.Errorf("it happened:\n%s", strings.Join(got, "\n"))
		}
		if took := time.Since(began); took > 3*renew {
			t.Errorf("the stop took %v", took)
		}
		if a.May() || a.Stats().StoreLost {
			t.Error("the node acts")
		}
	})
}

// Two nodes come back to the store one after the other. Between them the store has recovered without the second, whose sessions live on.
func TestAnOpenNodeThatComesBackLateIsWaitedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		stays := w.mustLogOn(b, "stays", 0)
		older := w.mustLogOn(b, "ann", 0)
		w.cutAll()
		a.setFaults(memory.Faults{})
		w.await("the first is back", func() bool { return !a.Stats().StoreLost })
		w.mustLogOn(a, "ann", 0)
		time.Sleep(lease) // the node that is not back yet keeps its sessions
		if !b.has(stays) || !b.has(older) {
			t.Fatalf("sessions have ended:\n%s", w.log)
		}
		w.back()
		w.await("the older session has ended", func() bool { return !b.has(older) })
		w.settled()
		w.log.CheckNoRivals(t, 1)
		w.mustLogOn(a, "stays", 0)
		w.settled()
		if b.has(stays) {
			t.Error("a user has two sessions")
		}
	})
}

// The store is lost again while a node is coming back: it goes on.
func TestAnOpenNodeLosesTheStoreAgainOnItsWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 2, usermgr.Config{})
		a := w.nodes[0]
		ann := w.mustLogOn(a, "ann", 0)
		w.cutAll()
		a.setFaults(refusing("Swap"))
		w.await("the node renews again", func() bool { return a.Stats().LeaseLeft > 0 })
		a.cut()
		w.await("the node has lost the store twice", func() bool { return a.Stats().Losses == 2 })
		bob := w.mustLogOn(a, "bob", 0)
		w.back()
		w.settled()
		if !a.has(ann) || !a.has(bob) || w.log.Count().Lost != 0 {
			t.Errorf("sessions have ended:\n%s", w.log)
		}
		w.mustLogOn(w.nodes[1], "bob", 0)
		w.settled()
	})
}

// Renewals that the store could lose do not count: with Open the node goes on, and comes back when they count again.
func TestAnOpenNodeGoesOnWhileRenewalsAreNotDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 2, usermgr.Config{})
		ann := w.mustLogOn(w.nodes[0], "ann", 0)
		w.store.SetDurable(false)
		w.awaitLost(w.nodes[0])
		time.Sleep(3 * lease) // and stays so
		if !w.nodes[0].has(ann) || !w.nodes[0].Stats().StoreLost {
			t.Errorf("the node does not go on:\n%s", w.log)
		}
		w.store.SetDurable(true)
		w.back()
		w.mustLogOn(w.nodes[1], "ann", 0)
		w.settled()
	})
}

// Rule 19: the generation that a node gives without the store may be the version that the store gives a session of the user on another node. What the node
// removes when it is back is its own session.
func TestASessionFromWithoutTheStoreLeavesAnothersOfTheSameVersionAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		a.cut()
		w.awaitLost(a)
		brief := w.mustLogOn(a, "ann", 0)
		guess := a.generation(brief)
		brief.End(protocol.ClientClosed)
		b.RaiseFloor(guess - 1)
		time.Sleep(2 * renew) // a renewal brings the store's versions to that
		stays := w.mustLogOn(b, "ann", 0)
		if g := b.generation(stays); g != guess {
			t.Fatalf("the generations are %d and %d", guess, g)
		}
		w.back()
		w.settled()
		if !b.has(stays) {
			t.Errorf("the session has ended:\n%s", w.log)
		}
	})
}

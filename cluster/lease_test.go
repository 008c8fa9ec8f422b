package cluster_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rules 19 and 21: a node that is cut off ends its sessions before its lease is over, its users come in elsewhere when it is over,
// and the node joins anew when it can.
func TestANodeThatIsCutOffEndsItsSessionsBeforeTheyComeInElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		life := a.Incarnation()
		a.cut()
		w.mesh.Lose(func(to cluster.Incarnation, _ []byte) bool { return to == life })
		w.log.Take()
		began := time.Now()
		w.await("ann comes in", func() bool {
			_, err := w.logOn(b, usermgr.Logon{UserID: "ann"})
			if err != nil && codeOf(err) != protocol.InternalError {
				t.Fatalf("ann was refused with %v", err)
			}
			return err == nil
		})
		if took := time.Since(began); took > lease+2*renew {
			t.Errorf("ann came in after %v", took)
		}
		w.happened("Disconnected ann@a NodeLost", "Connected ann@b")
		if _, err := w.logOn(a, usermgr.Logon{UserID: "bob"}); codeOf(err) != protocol.InternalError {
			t.Errorf("a node outside the cluster answered a logon with %v", err)
		}
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.mustLogOn(a, "ann", 0)
		w.settled()
	})
}

// Rule 19: a node whose clock is slow ends its sessions before the others take it for dead: that is what Margin is for.
func TestTheMarginCoversASlowClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0, usermgr.Config{})
		w.rate = 0.92 // 18 s of this clock, Lease less Margin, take 19.6 s, and 20 s of it 21.7 s
		a := w.addNode()
		w.awaitNodes()
		time.Sleep(renew / 40)
		w.rate = 1
		b := w.addNode() // it renews soon after a, and so sees a's last renewal soon
		w.awaitNodes()
		w.mustLogOn(a, "ann", 0)
		w.silence(a)
		a.cut()
		w.log.Take()
		w.awaitLogOn(b, "ann")
		w.happened("Disconnected ann@a NodeLost", "Connected ann@b")
		a.setFaults(memory.Faults{})
		w.mesh.Lose(nil)
		w.awaitNodes()
	})
}

// A node that is not heard for less than its lease goes on.
func TestAShortOutageOfTheStoreFencesNoNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		s := w.mustLogOn(w.nodes[0], "ann", 0)
		for _, n := range w.nodes {
			n.cut()
		}
		time.Sleep(lease - 3*renew)
		for _, n := range w.nodes {
			n.setFaults(memory.Faults{})
		}
		time.Sleep(2 * lease)
		if !w.nodes[0].has(s) {
			t.Errorf("the session has ended:\n%s", w.log)
		}
		w.mustLogOn(w.nodes[1], "ann", 0)
	})
}

// A renewal that the store could lose does not count.
func TestRenewalsThatAreNotDurableDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		w.mustLogOn(w.nodes[0], "ann", 0)
		w.store.SetDurable(false)
		w.await("the node is fenced", func() bool { return !w.nodes[0].users.IsOnline("ann") })
		time.Sleep(lease)
		if w.nodes[0].May() {
			t.Error("the node acts")
		}
		w.store.SetDurable(true)
		w.awaitNodes()
	})
}

// Rule 19: a node whose renewals do not count buries no other: it may be the one that is cut off.
func TestANodeWhoseRenewalsDoNotCountBuriesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		a.cut()
		time.Sleep(lease - renew) // the last renewals that count are shortly before a is dead
		w.store.SetDurable(false)
		time.Sleep(2 * renew) // a has been silent for a lease
		if !b.May() || w.isDead(a) {
			t.Errorf("b acts: %v; a is dead: %v", b.May(), w.isDead(a))
		}
		w.store.SetDurable(true)
		w.await("a is buried when they count", func() bool { return w.isDead(a) })
		a.setFaults(memory.Faults{})
		w.awaitNodes()
	})
}

// Rule 21: a node joins anew although an event handler of a session hangs, whichever event it is. It tells of the session's end when the
// handler has returned.
func TestAnEventHandlerThatHangsKeepsNoNodeOut(t *testing.T) {
	for _, hangs := range []string{"Connected", "PushedOut", "Disconnected"} {
		t.Run(hangs, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{})
				a, b := w.nodes[0], w.nodes[1]
				free := make(chan struct{})
				release := sync.OnceFunc(func() { close(free) })
				w.log.Inside(func(n, event, user string) {
					if n == a.name && event == hangs && user == "ann" {
						<-free
					}
				})
				var logons sync.WaitGroup
				defer func() {
					release()
					logons.Wait()
				}()
				logOn := func(n *member) {
					logons.Go(func() { _, _ = w.logOn(n, usermgr.Logon{UserID: "ann"}) })
					synctest.Wait()
				}
				logOn(a)
				if hangs == "PushedOut" {
					logOn(b)
				}
				life := a.Incarnation()
				a.cut()
				w.await("the node is fenced", func() bool { return !a.May() })
				a.setFaults(memory.Faults{})
				w.await("the node is back", func() bool { return a.May() && a.Incarnation() != life })
				w.mustLogOn(a, "bob", 0)
				w.awaitLogOn(b, "ann")
				release()
				w.await("the old session's end is told", func() bool {
					return strings.Contains(w.log.String(), "Disconnected ann@a")
				})
				w.settled()
			})
		})
	}
}

// Rule 20: a session that another node evicts after its own node's lease is not pushed out but lost: the new session may be connected
// already, and PushedOut comes before that. A question may wait for long in the socket of a process that stands still.
func TestAnEvictionThatComesAfterTheLeaseIsNoPushOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.log.Take()
		a.EndLease()
		w.mustLogOn(b, "ann", 0)
		synctest.Wait() // for the other node
		got := w.log.Take()
		if slices.Sort(got); !slices.Equal(got, []string{"Connected ann@b", "Disconnected ann@a NodeLost"}) {
			t.Errorf("it happened, in some order: %q", got)
		}
	})
}

// window is an engine with this StopWindow.
type window time.Duration

func (w window) StopWindow() time.Duration { return time.Duration(w) }
func (window) SetLease(*seam.Lease)        {}

// A node that stops ends its sessions over StopWindow, so that their clients do not all come back at once. It acts meanwhile, for longer
// than a lease too.
func TestANodeThatStopsEndsItsSessionsOverStopWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const over, users = 2 * lease, 9
		w := newWorld(t, 1, usermgr.Config{})
		a := w.nodes[0]
		a.UseEngine(window(over))
		for i := range users {
			w.mustLogOn(a, string(rune('a'+i)), 0)
		}
		began := time.Now()
		var ends []time.Duration
		a.users.Subscribe(usermgr.Events{Disconnected: func(_ usermgr.SessionInfo, why protocol.CloseCode) {
			ends = append(ends, time.Since(began))
			if why != protocol.ServerStopping || !a.May() {
				t.Errorf("a session ended with %v, and the node acts: %v", why, a.May())
			}
		}})
		a.stop(t)
		for i, at := range ends {
			if want := over * time.Duration(i) / (users - 1); at < want-time.Second || at > want+time.Second {
				t.Errorf("session %d ended after %v, want %v", i, at, want)
			}
		}
		if len(ends) != users {
			t.Errorf("%d sessions ended", len(ends))
		}
	})
}

// Sessions that are left when a node that stops is fenced end at once.
func TestANodeThatIsFencedWhileItStopsEndsItsSessionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		a := w.nodes[0]
		a.UseEngine(window(time.Hour))
		for i := range 9 {
			w.mustLogOn(a, string(rune('a'+i)), 0)
		}
		a.cut()
		began := time.Now()
		a.stop(t)
		if took := time.Since(began); took > lease+renew {
			t.Errorf("the node stopped after %v", took)
		}
	})
}

// A node that stops ends its sessions, and leaves nothing behind: its users need not wait for its lease.
func TestANodeThatStopsLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		for _, user := range []string{"ann", "bob", "eve"} {
			w.mustLogOn(a, user, 0)
		}
		w.log.Take()
		a.stop(t)
		for _, e := range w.log.Take() {
			if !strings.HasSuffix(e, "@a ServerStopping") {
				t.Errorf("it happened: %s", e)
			}
		}
		if n, err := w.store.Count(context.Background()); n != 0 || err != nil {
			t.Errorf("the store has %d records: %v", n, err)
		}
		if _, err := w.logOn(a, usermgr.Logon{UserID: "ann"}); codeOf(err) != protocol.InternalError {
			t.Errorf("a node that has left answered a logon with %v", err)
		}
		began := time.Now()
		w.mustLogOn(b, "ann", 0)
		if took := time.Since(began); took > time.Second {
			t.Errorf("ann came in after %v", took)
		}
	})
}

// Rule 20: the users of a node that stops come in elsewhere when the handlers of their Disconnected have returned.
func TestUsersOfANodeThatStopsWaitForItsHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.log.Inside(func(n, event, _ string) {
			if n == a.name && event == "Disconnected" {
				time.Sleep(renew - renew/10) // so that the other node renews meanwhile
			}
		})
		w.mustLogOn(a, "ann", 0)
		w.log.Take()
		var stopped sync.WaitGroup
		stopped.Go(func() { a.stop(t) })
		synctest.Wait()
		w.mustLogOn(b, "ann", 0)
		stopped.Wait()
		w.happened("Disconnected ann@a ServerStopping", "Connected ann@b")
	})
}

// A node with another policy does not join.
func TestANodeWithAnotherPolicyDoesNotJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		w.cfg.Devices = usermgr.Devices{OnePerClass: true}
		w.addNode().endedByPolicy(t)
	})
}

// Of two nodes with different policies that join at the same time one does not act: the one whose number is higher.
func TestOfTwoNodesWithDifferentPoliciesThatJoinTogetherOneActs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0, usermgr.Config{})
		first := make(chan struct{})
		n := w.addNodeWith(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Table" {
				<-first // it has seen an empty table, and joins after the other
			}
			return nil
		}})
		w.cfg.Devices = usermgr.Devices{OnePerClass: true}
		synctest.Wait()
		other := w.addNode()
		w.await("the other node acts", other.May)
		close(first)
		w.await("the node has ended", func() bool { return len(n.ended) == 1 || n.May() })
		if n.May() {
			t.Fatal("both nodes act")
		}
		n.endedByPolicy(t)
	})
}

// A dead node's row in the table keeps no node with another policy out for longer than a lease, also where no node is left to bury it.
func TestADeadNodeWithAnotherPolicyKeepsNoNodeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		dead := w.nodes[0]
		dead.cut()
		began := time.Now()
		w.cfg.Devices = usermgr.Devices{OnePerClass: true}
		n := w.addNode()
		w.await("the node acts", n.May)
		if took := time.Since(began); took < lease-renew || took > lease+renew {
			t.Errorf("the node acts after %v", took)
		}
		dead.setFaults(memory.Faults{})
		dead.endedByPolicy(t)
	})
}

// Rule 19: a node that has joined since another has read the table is not dead for the other: its number is above all in that table. One
// that is absent and below is dead.
func TestANodeThatHasJustJoinedIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "ann", 0)
		former := b.Incarnation()
		b.stop(t)
		w.await("the row of b has left the table", func() bool { return !w.isDead(b) })
		a.setFaults(refusing("Renew"))
		n := w.addNode()
		joined := cluster.Incarnation(0)
		w.await("the node has a row", func() bool {
			for _, m := range testkit.Must(w.store.Table(context.Background())).Members {
				if m.Member.Name == n.name {
					joined = m.Incarnation
				}
			}
			return joined > former
		})
		if a.TakesForDead(joined) || !a.TakesForDead(former) || a.TakesForDead(a.Incarnation()) {
			t.Errorf("dead are the newcomer %d: %v, the former node %d: %v", joined, a.TakesForDead(joined), former, a.TakesForDead(former))
		}
		a.setFaults(memory.Faults{})
		w.await("the node acts", n.May)
	})
}

// Rule 19: a node takes another for dead when a renewal that counts has shown it, and lets its users in then.
func TestANodeTakesAnotherForDeadByARenewalThatCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.silence(a)
		a.cut()
		w.nodes[2].setFaults(refusing("Walk")) // so that ann's entry stays
		time.Sleep(lease - renew)
		b.losable.Store(true)
		w.await("c has buried a", func() bool { return w.isDead(a) })
		failed := b.Stats().Failed
		w.await("b has renewed", func() bool { return b.Stats().Failed > failed })
		if _, err := w.logOn(b, usermgr.Logon{UserID: "ann"}); codeOf(err) != protocol.InternalError || !b.May() {
			t.Errorf("b acts: %v, and answered the logon with %v", b.May(), err)
		}
		b.losable.Store(false)
		w.awaitLogOn(b, "ann")
		a.setFaults(memory.Faults{})
		w.mesh.Lose(nil)
		w.awaitNodes()
	})
}

// Rule 21: a node renews its lease, and an engine looks at it, by the clock that goes on while the machine sleeps.
func TestALeaseGoesByTheClockThatGoesOnWhileTheMachineSleeps(t *testing.T) {
	n := testkit.Must(cluster.New(cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh()}))
	before := clock.SinceBoot()
	if got, after := n.Now(), clock.SinceBoot(); got < before-time.Second || got > after+time.Second {
		t.Errorf("the node's clock shows %v, and the system has been up for %v", got, before)
	}
	if n.IsOverAt(clock.SinceBoot()+time.Minute) || !n.IsOverAt(clock.SinceBoot()-time.Second) {
		t.Error("the lease goes by another clock")
	}
}

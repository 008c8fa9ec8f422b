package cluster_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 20: a replacement on another node has the order of one in one process.
func TestReplacementOnAnotherNodeIsPushedOutThenDisconnectedThenConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		old := w.mustLogOn(a, "ann", 0)
		w.mustLogOn(b, "ann", 0)
		w.happened("Connected ann@a", "PushedOut ann@a", "Disconnected ann@a PushedOut", "Connected ann@b")
		if a.has(old) {
			t.Error("the old session is still found")
		}
		w.settled()
		if got := w.at(a, "ann"); got != "b" {
			t.Errorf("ann is at %q, want b", got)
		}
	})
}

// Rule 20: Connected starts when the handlers of Disconnected have returned, on another node too.
func TestALogonWaitsForTheHandlersOnAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.log.Inside(func(n, event, _ string) {
			if n == a.name && event == "Disconnected" {
				time.Sleep(3 * time.Second)
			}
		})
		w.mustLogOn(a, "ann", 0)
		began := time.Now()
		w.mustLogOn(b, "ann", 0)
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("the logon took %v, and the old session's handler 3 s", took)
		}
	})
}

// Rule 20: two nodes that replace each other's session of one user at the same time do not wait for each other: the turn is lent.
func TestTwoThatReplaceEachOtherCrosswiseBothComeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 1)
		w.mustLogOn(b, "ann", 2)
		var both sync.WaitGroup
		both.Go(func() { w.mustLogOn(a, "ann", 2) })
		both.Go(func() { w.mustLogOn(b, "ann", 1) })
		both.Wait()
		if got := w.log.Count().Evicted; got != 2 {
			t.Errorf("%d evictions, want 2", got)
		}
		w.settled()
	})
}

// A session on another node that need not end is left alone, and the end of one leaves the other's entry.
func TestSessionsThatDoNotExcludeEachOtherLiveOnTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 1)
		tablet := w.mustLogOn(b, "ann", 2)
		if got := w.at(a, "ann"); got != "a b" {
			t.Errorf("ann is at %q, want a b", got)
		}
		tablet.End(protocol.ClientClosed)
		w.settled()
		if got := w.at(b, "ann"); got != "a" {
			t.Errorf("ann is at %q, want a", got)
		}
		if n := testkit.Must(w.store.Count(context.Background())); n != 1 {
			t.Errorf("the store has %d records", n)
		}
	})
}

// Rule 17: over the number the oldest goes, on whichever node it is; one on the logon's own node too.
func TestTheOldestGoesOverAllNodes(t *testing.T) {
	for _, newest := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
			a, b := w.nodes[0], w.nodes[1]
			w.mustLogOn(a, "ann", 0)
			w.mustLogOn(b, "ann", 0)
			w.log.Take()
			w.mustLogOn(w.nodes[newest], "ann", 0)
			w.happened("PushedOut ann@a", "Disconnected ann@a PushedOut", "Connected ann@"+w.nodes[newest].name)
			w.settled()
		})
	}
}

// Rule 17: the same token twice is one session, on two nodes too.
func TestTheSameTokenIsOneSessionOverAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		for i, n := range w.nodes {
			if _, err := w.logOn(n, usermgr.Logon{UserID: "ann", Device: uint16(i), Token: "t"}); err != nil {
				t.Fatal(err)
			}
		}
		w.settled()
		if got := w.at(w.nodes[0], "ann"); got != "b" {
			t.Errorf("ann is at %q, want b", got)
		}
	})
}

// Rule 7: IgnoreNew keeps a session on another node, and lets in a logon that takes it over by its ID.
func TestIgnoreNewKeepsASessionOnAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{RelogonMode: usermgr.IgnoreNew})
		a, b := w.nodes[0], w.nodes[1]
		old := w.mustLogOn(a, "ann", 0)
		if _, err := w.logOn(b, usermgr.Logon{UserID: "ann"}); codeOf(err) != protocol.AlreadyLoggedOn {
			t.Errorf("the logon was answered with %v", err)
		}
		if got := w.at(b, "ann"); got != "a" {
			t.Errorf("ann is at %q, want a", got)
		}
		if _, err := w.logOn(b, usermgr.Logon{UserID: "ann", Session: old.ID()}); err != nil {
			t.Errorf("the logon that takes the session over was refused: %v", err)
		}
		w.settled()
	})
}

// H3 over nodes: a session that expires leaves the store, and its user is offline for all nodes.
func TestASessionThatExpiresLeavesTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{IdleTimeout: time.Minute})
		w.mustLogOn(w.nodes[0], "ann", 0)
		time.Sleep(30 * time.Second)
		bob := w.mustLogOn(w.nodes[0], "bob", 0)
		w.await("ann has expired", func() bool { return !w.nodes[0].users.IsOnline("ann") })
		w.settled()
		ctx := context.Background()
		for user, want := range map[string]bool{"ann": false, "bob": true} {
			if online, err := w.nodes[1].IsOnline(ctx, user); online != want || err != nil {
				t.Errorf("%s is online for the other node: %v, %v", user, online, err)
			}
		}
		if n := testkit.Must(w.store.Count(ctx)); n != 1 || !w.nodes[0].has(bob) {
			t.Errorf("the store has %d records", n)
		}
		w.happened("Connected ann@a", "Connected bob@a", "Disconnected ann@a SessionExpired")
	})
}

// A failover of the store fails no logon that waits: while the store does not answer, or recovers, another node is not held for silent, since the mesh
// may go over that store.
func TestALogonWaitsWhileStoreAndMeshAreAway(t *testing.T) {
	for name, cfg := range map[string]usermgr.Config{"ReplaceOld": {}, "IgnoreNew": {RelogonMode: usermgr.IgnoreNew}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, cfg)
				a, b := w.nodes[0], w.nodes[1]
				w.mustLogOn(a, "ann", 0)
				w.settled()
				w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true })
				healed := make(chan struct{})
				go func() {
					defer close(healed)
					time.Sleep(time.Second)
					a.cut()
					b.cut()
					time.Sleep(6 * time.Second)
					w.store.Promote(w.store.Snapshot())
					a.setFaults(memory.Faults{})
					b.setFaults(memory.Faults{})
					time.Sleep(time.Second)
					w.mesh.Lose(nil)
				}()
				_, err := w.logOnWithin(b, usermgr.Logon{UserID: "ann"}, 19*time.Second)
				<-healed
				if refused := cfg.RelogonMode == usermgr.IgnoreNew; (err == nil) == refused || (codeOf(err) == protocol.AlreadyLoggedOn) != refused {
					t.Errorf("the logon ended with %v", err)
				}
				if n := b.Stats().Silent; n != 0 {
					t.Errorf("%d logons were refused for a silent node", n)
				}
			})
		})
	}
}

// A logon that gives up leaves nothing: its entry is removed and its marks are taken back.
func TestALogonThatFailsLeavesNoMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.mesh.Lose(func(to cluster.Incarnation, _ []byte) bool { return to == a.Incarnation() })
		if _, err := w.logOnWithin(b, usermgr.Logon{UserID: "ann"}, time.Second); err == nil {
			t.Fatal("the logon came in although the old session's node does not answer")
		}
		w.noMarks("ann")
		if b.Held() != 0 {
			t.Error("the node still holds the claim")
		}
	})
}

// A logon that gives up without an answer from the store leaves nothing either: its entry and its marks may be in the store.
func TestALogonThatDoesNotHearFromTheStoreLeavesNoMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		var swaps atomic.Int32 // the first finds a's entry, the second is done, and its answer is lost
		b.setFaults(memory.Faults{
			Before: func(_ context.Context, op string) error {
				if op == "Swap" && swaps.Add(1) > 2 {
					return errCut
				}
				return nil
			},
			After: func(_ context.Context, op string) error {
				if op == "Swap" && swaps.Load() == 2 {
					return errCut
				}
				return nil
			},
		})
		if _, err := w.logOn(b, usermgr.Logon{UserID: "ann"}); err == nil {
			t.Fatal("the logon came in although the store does not answer")
		}
		b.setFaults(memory.Faults{})
		w.noMarks("ann")
	})
}

// A logon that needs a silent node is refused at once, with the time until that node is buried at the latest.
func TestASilentNodeIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.mustLogOn(a, "bob", 0)
		w.mesh.Lose(func(to cluster.Incarnation, _ []byte) bool { return to == a.Incarnation() })
		_, err := w.logOn(b, usermgr.Logon{UserID: "ann"})
		var ce *protocol.CloseError
		if !errors.As(err, &ce) || ce.Code != protocol.InternalError || ce.Info["retry-ms"] == "" {
			t.Errorf("the first logon was answered with %v", err)
		}
		began := time.Now()
		if _, err = w.logOn(b, usermgr.Logon{UserID: "bob"}); codeOf(err) != protocol.InternalError || time.Since(began) > time.Second {
			t.Errorf("the second logon was answered after %v with %v", time.Since(began), err)
		}
		w.mesh.Lose(nil)
		w.awaitLogOn(b, "bob")
	})
}

// Rule 19: a logon that needs a silent node is refused with the time until that node is dead at the latest, and comes in after that. This
// is no final answer: under IgnoreNew too, where the session may have ended.
func TestALogonThatNeedsASilentNodeComesInWhenItIsToldTo(t *testing.T) {
	for name, mode := range map[string]usermgr.RelogonMode{"ReplaceOld": usermgr.ReplaceOld, "IgnoreNew": usermgr.IgnoreNew} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{RelogonMode: mode})
				a, b := w.nodes[0], w.nodes[1]
				w.mustLogOn(a, "ann", 0)
				w.mustLogOn(a, "bob", 0)
				w.silence(a)
				a.cut()
				var after time.Duration
				for _, user := range []string{"ann", "bob"} { // the second one is refused at once
					_, err := w.logOn(b, usermgr.Logon{UserID: user})
					var ce *protocol.CloseError
					if !errors.As(err, &ce) || ce.Code != protocol.InternalError {
						t.Fatalf("%s's logon was answered with %v", user, err)
					}
					ms, err := strconv.Atoi(ce.Info[protocol.FieldRetryMS])
					if after = time.Duration(ms) * time.Millisecond; err != nil || after > lease+renew {
						t.Fatalf("%s is to come again after %q ms", user, ce.Info[protocol.FieldRetryMS])
					}
				}
				time.Sleep(after)
				w.mustLogOn(b, "ann", 0)
				w.mustLogOn(b, "bob", 0)
				a.setFaults(memory.Faults{})
				w.mesh.Lose(nil)
				w.awaitNodes()
			})
		})
	}
}

// placed is the logon of a bridge, which has a place among the logons that run at a time.
type placed struct{ left chan struct{} }

func (p placed) LeavePlace() {
	select {
	case p.left <- struct{}{}:
	default:
	}
}

// Rule 19: a logon that waits for a node or for the store gives up its place: it must not keep those of other users out.
func TestALogonThatWaitsHoldsNoPlace(t *testing.T) {
	for _, c := range []struct {
		name  string
		mode  usermgr.RelogonMode
		wrong func(w *world)
		after time.Duration // at most
	}{
		{"ForAnEviction", usermgr.ReplaceOld, func(w *world) { w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true }) }, 200 * time.Millisecond},
		{"ForAnAnswer", usermgr.IgnoreNew, func(w *world) { w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return true }) }, 200 * time.Millisecond},
		{"ForTheStore", usermgr.ReplaceOld, func(w *world) { w.store.Restart() }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{RelogonMode: c.mode})
				w.mustLogOn(w.nodes[0], "ann", 0)
				p := placed{make(chan struct{}, 1)}
				ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), seam.LogonKey{}, p), 10*time.Second)
				defer cancel()
				b := w.nodes[1]
				if _, err := b.users.Register(ctx, usermgr.Logon{UserID: "bob"}, link(98)); err != nil || len(p.left) != 0 {
					t.Fatalf("a logon that need not wait left its place, or was refused: %v", err)
				}
				c.wrong(w)
				began := time.Now()
				var over sync.WaitGroup
				over.Go(func() { _, _ = b.users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(99)) })
				synctest.Wait()
				w.await("the place is left", func() bool { return len(p.left) > 0 })
				if took := time.Since(began); took > c.after {
					t.Errorf("the place was left after %v", took)
				}
				cancel()
				over.Wait()
				w.mesh.Lose(nil)
				w.settled()
			})
		})
	}
}

// An answer that is lost is asked for again: the claim finds its own entry.
func TestAClaimWhoseAnswerIsLostIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		for _, n := range w.nodes {
			var lost atomic.Int32
			n.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
				if (op == "Swap" || op == "Remove") && lost.Add(1)%2 == 1 {
					return errCut
				}
				return nil
			}})
		}
		w.mustLogOn(a, "ann", 0)
		w.mustLogOn(b, "ann", 0)
		w.mustLogOn(a, "ann", 0)
		w.settled()
		if got := w.at(b, "ann"); got != "a" {
			t.Errorf("ann is at %q, want a", got)
		}
	})
}

package cluster_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 17: a store that takes over has a session again of which Offline was told, and a logon finds it, and so tells no Online. A logon on the session's own node takes it out before
// that node has removed it: then that logon tells Online. So it is where the answer to that is lost, and the logon fails.
func TestOnlineIsToldByALogonThatTakesAnEndedSessionOfItsNodeOut(t *testing.T) {
	for name, fails := range map[string]bool{"it comes in": false, "it fails": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
				a, b := w.nodes[0], w.nodes[1]
				ended := w.mustLogOn(b, "ann", 1)
				w.settled()
				before := w.store.Snapshot()
				ended.End(protocol.ClientClosed)
				w.settled()
				w.store.Promote(before)
				ctx, cancel := context.WithTimeout(context.Background(), lease)
				defer cancel()
				ann := func() []cluster.Incarnation {
					nodes, _ := cluster.Decode(testkit.Must(w.store.Look(context.Background(), "ann"))[0])
					return nodes
				}
				hold := refusing("Look", "Walk").Before // b does not find its session
				b.setFaults(memory.Faults{Before: func(ctx context.Context, op string) error {
					if op == "Swap" && b.Stats().Recoveries > 0 {
						w.await("ann is in", func() bool { return len(ann()) > 1 })
					}
					return hold(ctx, op)
				}, After: func(_ context.Context, op string) error {
					if fails && op == "Swap" && slices.Equal(ann(), []cluster.Incarnation{a.Incarnation(), b.Incarnation()}) {
						cancel()
						return errCut
					}
					return nil
				}})
				logon := make(chan error)
				go func() { // it has begun before b knows that the store recovers
					_, err := b.users.Register(ctx, usermgr.Logon{UserID: "ann", Device: 1}, link(w.conns.Add(1)))
					logon <- err
				}()
				synctest.Wait()
				w.awaitRecovery(a)
				w.mustLogOn(a, "ann", 2)
				if err := <-logon; fails != (err != nil) {
					t.Fatal(err)
				}
				b.setFaults(memory.Faults{})
				w.wantPresence("ann", "online")
			})
		})
	}
}

// Rule 17: a logon takes the session of a dead node out of the store, the answer to that is lost, and the logon fails: Offline is told.
func TestOfflineIsToldOfADeadNodesUserWhoseNextLogonFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.settled()
		life := a.Incarnation()
		a.cut()
		b.setFaults(refusing("Walk")) // it sweeps nothing
		w.await("the node is dead", func() bool { return b.TakesForDead(life) })
		ctx, cancel := context.WithTimeout(context.Background(), lease)
		defer cancel()
		b.setFaults(memory.Faults{Before: refusing("Walk").Before, After: func(_ context.Context, op string) error {
			if op == "Swap" && w.at(b, "ann") == "b" {
				cancel()
				return errCut
			}
			return nil
		}})
		if _, err := b.users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(w.conns.Add(1))); err == nil {
			t.Fatal("ann came in")
		}
		w.await("the logon has left the store", func() bool { return w.records() == 0 && len(b.Releasing()) == 0 })
		w.wantPresence("ann", `offline after 0 messages, tag ""`) // before the node is back, which would tell it
		a.setFaults(memory.Faults{})
		b.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

// Rule 17: a claim that was the user's first, and failed, leaves the store, and its node's life ends before the answer to that comes. A logon had found it, and so has told no
// Online: the node does when it is back.
func TestOnlineIsToldByANodeWhoseFailedClaimHasLeftWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b := w.nodes[0], w.nodes[1]
		ctx, cancel := context.WithTimeout(context.Background(), lease)
		defer cancel()
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" {
				w.mustLogOn(b, "ann", 2)
				a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
					if op == "Swap" && w.at(b, "ann") == "b" { // the claim has left
						a.cut()
						return errCut
					}
					return nil
				}})
				cancel()
				return errCut
			}
			return nil
		}})
		if _, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann", Device: 1}, link(w.conns.Add(1))); err == nil {
			t.Fatal("ann came in")
		}
		w.await("the node is fenced", func() bool { return !a.May() })
		time.Sleep(2 * lease) // its former life is swept
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.wantPresence("ann", "online")
	})
}

// Rule 17: a sweep takes the session of a dead node out of the store, and has no answer for long: Offline is told when it has one.
func TestOfflineIsToldOfWhatASweepHasRemovedWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.settled()
		a.cut()
		b.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if w.records() > 0 || op != "Remove" {
				return nil
			}
			b.setFaults(refusing("Remove"))
			return errCut
		}})
		w.await("the session is swept", func() bool { return w.records() == 0 })
		time.Sleep(lease)
		b.setFaults(memory.Faults{})
		w.wantPresence("ann", `offline after 0 messages, tag ""`) // before the node is back, which would tell it
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

// Rule 17: a node looks for its failed claim in a store that has lost it, before it knows that the store recovers. A logon had found the claim, and so has told no Online: the node
// does.
func TestOnlineIsToldByANodeThatLooksIntoALaterStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b := w.nodes[0], w.nodes[1]
		ctx, cancel := context.WithTimeout(context.Background(), lease)
		defer cancel()
		a.setFaults(memory.Faults{Before: refusing("Look").Before, After: func(_ context.Context, op string) error {
			if op == "Swap" {
				w.mustLogOn(b, "ann", 2)
				cancel()
				return errCut
			}
			return nil
		}})
		if _, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann", Device: 1}, link(w.conns.Add(1))); err == nil {
			t.Fatal("ann came in")
		}
		a.setFaults(refusing("Look", "Renew"))
		w.store.Restart()
		w.await("the session is written again", func() bool { return w.records() == 1 })
		a.setFaults(refusing("Renew"))
		time.Sleep(renew)
		a.setFaults(memory.Faults{})
		w.awaitRecovery(a)
		w.wantPresence("ann", "online")
	})
}

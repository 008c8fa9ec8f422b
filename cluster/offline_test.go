package cluster_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 17: a node that is back may owe Offline of a record that it may have removed. It is told after the Online that another node has told since, of a
// session that the store has lost.
func TestOfflineOfARemovalInDoubtIsToldAfterALaterOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		first := w.mustLogOn(a, "ann", 0)
		w.settled()
		before := w.store.Snapshot()
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Remove" {
				return errCut
			}
			return nil
		}})
		first.End(protocol.ClientClosed)
		synctest.Wait()
		a.cut()
		last := w.mustLogOn(b, "ann", 0)
		b.setFaults(refusing("Walk")) // it sweeps nothing
		w.store.Promote(before)
		last.End(protocol.ClientClosed)
		w.await("only the first session is in the store", func() bool {
			return b.Stats().Recoveries > 0 && b.IsHealed([]cluster.Incarnation{b.Incarnation()}) && len(b.Releasing()) == 0
		})
		w.store.Restart()
		w.await("the store recovers", func() bool { return b.Stats().Recoveries > 1 })
		a.setFaults(memory.Faults{})
		b.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

// Rule 17: a claim that was the user's first in a store that has lost it since stands beside a session that has told Online, and hides that this one
// leaves. The store loses it once more: Offline is told, whether the claim's client leaves or its node is cut off.
func TestOfflineIsToldOfAUserWhoseLastClaimIsLostByTwoStores(t *testing.T) {
	for name, cutOff := range map[string]bool{"the client leaves": false, "the node is cut off": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
				a, b := w.nodes[0], w.nodes[1]
				ctx, cancel := context.WithTimeout(context.Background(), lease)
				defer cancel()
				var atB usermgr.Session
				a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
					switch {
					case op != "Swap":
					case atB == nil:
						w.store.Restart()
						w.await("the store recovers", func() bool { return a.Stats().Recoveries > 0 })
						atB = w.mustLogOn(b, "ann", 1)
						return errCut
					case w.at(b, "ann") != "b": // the claim is written
						atB.End(protocol.ClientClosed)
						w.await("only the claim is in the store", func() bool { return w.at(b, "ann") == "a" })
						if cutOff {
							a.cut()
							return errCut
						}
						w.store.Restart()
						w.await("the store recovers again", func() bool { return a.Stats().Recoveries > 1 })
						cancel()
						return errCut
					}
					return nil
				}})
				if _, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann", Device: 2}, link(w.conns.Add(1))); err == nil {
					t.Fatal("ann came in")
				}
				if cutOff {
					b.setFaults(refusing("Walk")) // it sweeps nothing
					w.await("the node is fenced", func() bool { return !a.May() })
					w.store.Restart()
					w.await("the store recovers again", func() bool { return b.Stats().Recoveries > 1 })
					b.setFaults(memory.Faults{})
				}
				a.setFaults(memory.Faults{})
				w.awaitNodes()
				w.wantPresence("ann", `offline after 0 messages, tag ""`)
			})
		})
	}
}

// Rule 17: a logon takes the entry of a dead node out of a store that has taken over, and that lacks the user's last session there. It tells Offline, after
// the Online of that session, so that the user is offline where the logon fails.
func TestOfflineByALogonThatFailsIsToldLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		first := w.mustLogOn(a, "ann", 0)
		w.settled()
		before := w.store.Snapshot()
		first.End(protocol.ClientClosed)
		w.settled()
		w.mustLogOn(a, "ann", 0)
		w.settled()
		life := a.Incarnation()
		a.cut()
		ctx, cancel := context.WithTimeout(context.Background(), 2*lease)
		defer cancel()
		b.setFaults(memory.Faults{Before: refusing("Walk").Before, After: func(_ context.Context, op string) error {
			if op == "Swap" && w.at(b, "ann") == "b" {
				cancel()
			}
			return nil
		}})
		w.store.Promote(before)
		w.await("the node is dead", func() bool {
			return b.Stats().Recoveries > 0 && b.IsHealed([]cluster.Incarnation{b.Incarnation()}) && b.TakesForDead(life)
		})
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

// Rule 17: a store that takes over has a session again of which Offline was told, and a logon finds it. Its node dies before it has removed it: Online is told
// when the entry is swept, also where its claim was not the user's first.
func TestOnlineIsToldOfALogonThatFindsWhatADeadNodeHadRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b := w.nodes[0], w.nodes[1]
		first, second := w.mustLogOn(b, "ann", 1), w.mustLogOn(a, "ann", 2)
		first.End(protocol.ClientClosed)
		w.settled()
		before := w.store.Snapshot()
		second.End(protocol.ClientClosed)
		w.settled()
		a.setFaults(refusing("Look", "Walk"))
		w.store.Promote(before)
		w.awaitRecovery(b)
		w.mustLogOn(b, "ann", 1)
		if at := w.at(b, "ann"); at != "a b" {
			t.Fatalf("ann is at %s", at)
		}
		a.cut()
		w.wantPresence("ann", "online") // a is not back yet
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

// Rule 17: a grace ends where a store that takes over has another session of the user, which may have ended before. The store loses that one too, before it is
// swept: Offline is told, also after the store has recovered.
func TestOfflineIsToldOfAUserWhoseGraceHasEndedForASessionThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{OfflineGrace: 3 * lease})
		a, b := w.nodes[0], w.nodes[1]
		before := w.mustLogOn(a, "ann", 0)
		w.settled()
		snapshot := w.store.Snapshot()
		before.End(protocol.ClientClosed)
		w.settled()
		w.mustLogOn(b, "ann", 0).End(protocol.HeartbeatTimeout)
		synctest.Wait() // the grace goes on
		a.cut()
		b.setFaults(refusing("Walk")) // it sweeps nothing
		w.store.Promote(snapshot)
		w.await("the store has recovered", func() bool {
			return b.Stats().Recoveries > 0 && b.IsHealed([]cluster.Incarnation{b.Incarnation()})
		})
		time.Sleep(renew)
		w.await("the grace is over", func() bool { return !b.users.IsOnline("ann") && len(b.Releasing()) == 0 })
		w.store.Restart()
		w.await("the store recovers", func() bool { return b.Stats().Recoveries > 1 })
		a.setFaults(memory.Faults{})
		b.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

// Rule 17: a session has ended, and its node is cut off before it hears that a store has taken over, which has the session again. That hides that the
// user's other session, or grace, leaves, and the store loses it before it is swept: its node tells Offline when it is back.
func TestANodeTellsOfflineOfASessionThatWasBackWithoutItsKnowledge(t *testing.T) {
	for _, grace := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			cfg := usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}
			if grace {
				cfg.OfflineGrace = 2 * lease
			}
			w := newWorld(t, 2, cfg)
			a, b := w.nodes[0], w.nodes[1]
			there := w.mustLogOn(a, "ann", 1)
			w.settled()
			before := w.store.Snapshot()
			there.End(protocol.ClientClosed)
			w.settled()
			here := w.mustLogOn(b, "ann", 2)
			w.settled()
			if grace {
				here.End(protocol.HeartbeatTimeout)
				synctest.Wait()
			}
			a.cut()
			b.setFaults(refusing("Walk")) // it sweeps nothing
			w.store.Promote(before)
			w.await("the store has recovered", func() bool {
				return b.Stats().Recoveries > 0 && b.IsHealed([]cluster.Incarnation{b.Incarnation()})
			})
			if !grace {
				here.End(protocol.ClientClosed)
			}
			time.Sleep(renew)
			w.await("the session has left the store", func() bool { return len(b.Releasing()) == 0 })
			w.store.Restart()
			w.await("the store recovers", func() bool { return b.Stats().Recoveries > 1 })
			a.setFaults(memory.Faults{})
			b.setFaults(memory.Faults{})
			w.awaitNodes()
			w.settled()
		})
	}
}

// Rule 17: a node that has something to tell of a user, and finds only a claim that is the user's first and not in yet, leaves Online to that claim's node:
// the claim may fail, and then no Offline follows.
func TestNoOnlineIsToldOfAnothersFirstClaimThatFails(t *testing.T) {
	for name, cutOff := range map[string]bool{"a session that the store has lost again": false, "a claim of a former life": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{})
				a, b := w.nodes[0], w.nodes[1]
				if cutOff {
					a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
						if op == "Swap" {
							a.cut()
							return errCut
						}
						return nil
					}})
					if _, err := w.logOn(a, usermgr.Logon{UserID: "ann"}); err == nil {
						t.Fatal("ann came in")
					}
					w.await("the node is fenced", func() bool { return !a.May() })
					b.setFaults(refusing("Walk")) // it sweeps nothing
				} else {
					w.mustLogOn(a, "ann", 0).End(protocol.ClientClosed)
					w.settled()
					a.setFaults(refusing("Look", "Swap", "Remove"))
					w.store.Restart()
					w.awaitRecovery(b)
				}
				w.restartAgain(b)
				ctx, cancel := context.WithTimeout(context.Background(), lease)
				defer cancel()
				b.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
					if op == "Swap" && w.at(b, "ann") == "b" {
						a.setFaults(memory.Faults{})
						w.awaitNodes()
						w.await("what the node had has left", func() bool { return len(a.Releasing()) == 0 })
						cancel()
					}
					return nil
				}})
				if _, err := b.users.Register(ctx, usermgr.Logon{UserID: "ann"}, link(w.conns.Add(1))); err == nil {
					t.Fatal("ann came in")
				}
				b.setFaults(memory.Faults{})
				w.settled()
			})
		})
	}
}

// Rule 17: a session from without the store is written beside another one, which has told no Online because a store that had taken over had the session of a
// third node again. That node dies: Online is told when its session is swept.
func TestOnlineIsToldOfASessionFromWithoutTheStoreBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newOpenWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		first := w.mustLogOn(b, "ann", 4)
		back := w.mustLogOn(a, "ann", 1)
		first.End(protocol.ClientClosed)
		w.settled()
		before := w.store.Snapshot()
		back.End(protocol.ClientClosed)
		w.settled()
		w.mustLogOn(c, "ann", 2)
		c.cut()
		w.await("the session is swept", func() bool { online, _ := w.log.IsOnline("ann"); return !online })
		a.setFaults(refusing("Look", "Walk"))
		w.store.Promote(before)
		w.awaitLogOn(b, "bob")
		w.mustLogOn(b, "ann", 3)
		c.setFaults(memory.Faults{})
		w.await("c is back", func() bool { return c.IsHealed(w.alive()) && b.IsHealed(w.alive()) })
		if at := w.at(b, "ann"); at != "a c b" {
			t.Fatalf("ann is at %s", at) // the oldest first
		}
		a.cut()
		w.await("the session is swept", func() bool { return w.at(b, "ann") == "c b" })
		w.wantPresence("ann", "online") // a is not back yet
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

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

// wantOfflineAfter has ann's last session end: she is told to be online before, and offline after.
func (w *world) wantOfflineAfter(last usermgr.Session) {
	w.t.Helper()
	w.wantPresence("ann", "online")
	last.End(protocol.ClientClosed)
	w.wantPresence("ann", `offline after 0 messages, tag ""`)
}

// Rules 7 and 17: under IgnoreNew a session elsewhere that has ended and is still in the store refuses no logon. The logon is not the user's
// first: Online was told, and Offline was not.
func TestALogonThatComesBeforeARemovalTellsNoOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{RelogonMode: usermgr.IgnoreNew})
		a, b := w.nodes[0], w.nodes[1]
		ann := w.mustLogOn(a, "ann", 0)
		a.setFaults(refusing("Remove", "Swap"))
		ann.End(protocol.ClientClosed)
		synctest.Wait()
		ann = w.mustLogOn(b, "ann", 0)
		a.setFaults(memory.Faults{})
		w.wantOfflineAfter(ann)
	})
}

// Rule 17: a store that takes over may have entries again that have left the one before it. Where a claim finds such an entry, and so is
// not the user's first, Online is told when the entry leaves; and Offline where it was the last one. So it is where the store loses all before
// the entry was removed.
func TestWhatASessionThatIsBackInTheStoreHidesIsToldWhenItLeaves(t *testing.T) {
	for _, mode := range []usermgr.RelogonMode{usermgr.ReplaceOld, usermgr.IgnoreNew} {
		for _, how := range []string{"", ", late", ", lost again"} { // late: the node has forgotten what it removed, and finds it by its audit
			name, late := []string{"ReplaceOld", "IgnoreNew"}[mode]+how, how == ", late"
			then := func(w *world) {
				if how == ", lost again" {
					w.store.Restart()
					w.awaitRecovery(w.nodes[1])
				}
			}
			program := func(t *testing.T, run func(w *world, promote func(memory.Snapshot))) {
				t.Helper()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 2, usermgr.Config{RelogonMode: mode, Devices: usermgr.Devices{OnePerClass: true}})
					a := w.nodes[0]
					run(w, func(s memory.Snapshot) {
						if late {
							time.Sleep(2 * cluster.KeepReleases) // the node forgets ann with the next that it removes
							w.mustLogOn(a, "bob", 0).End(protocol.ClientClosed)
							w.settled()
						}
						a.setFaults(refusing("Look", "Walk"))
						w.store.Promote(s)
					})
				})
			}
			t.Run(name+", a claim finds it", func(t *testing.T) {
				program(t, func(w *world, promote func(memory.Snapshot)) {
					a, b := w.nodes[0], w.nodes[1]
					ann := w.mustLogOn(a, "ann", 1)
					w.settled()
					before := w.store.Snapshot()
					ann.End(protocol.ClientClosed)
					w.settled()
					promote(before)
					w.awaitRecovery(b)
					ann = w.mustLogOn(b, "ann", 1)
					then(w)
					a.setFaults(memory.Faults{})
					w.wantOfflineAfter(ann)
				})
			})
			t.Run(name+", it is the last", func(t *testing.T) {
				program(t, func(w *world, promote func(memory.Snapshot)) {
					a, b := w.nodes[0], w.nodes[1]
					first, second := w.mustLogOn(a, "ann", 1), w.mustLogOn(b, "ann", 2)
					w.settled()
					before := w.store.Snapshot()
					first.End(protocol.ClientClosed)
					w.settled()
					promote(before)
					w.awaitRecovery(b)
					second.End(protocol.ClientClosed)
					w.await("only what came back is in the store", func() bool { return w.at(b, "ann") == "a" })
					then(w)
					a.setFaults(memory.Faults{})
					w.wantPresence("ann", `offline after 0 messages, tag ""`)
				})
			})
		}
	}
}

// Rule 17: a logon during which another session of the user ends on the same node is not the user's first while the entry of that session is
// in the store: Online was told, and Offline was not.
func TestALogonDuringWhichTheUsersSessionEndsTellsNoOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a := w.nodes[0]
		before := w.mustLogOn(a, "ann", 1)
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error { // the claim has been told of the session
			a.setFaults(refusing("Remove"))
			before.End(protocol.ClientClosed)
			w.await("the session has ended", func() bool { return !a.has(before) })
			return nil
		}})
		ann := w.mustLogOn(a, "ann", 2)
		a.setFaults(memory.Faults{})
		w.wantOfflineAfter(ann)
	})
}

// Rule 17: a claim that was the user's first in a store that has lost it tells nothing where it fails: the user was never online.
func TestALogonThatTheStoreHasLostAndThatFailsTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a := w.nodes[0]
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" {
				w.store.Restart()
				a.setFaults(refusing("Swap"))
				return errCut
			}
			return nil
		}})
		if _, err := w.logOnWithin(a, usermgr.Logon{UserID: "ann"}, time.Second); err == nil {
			t.Fatal("ann came in")
		}
		a.setFaults(memory.Faults{})
		w.await("the store has recovered, and the entry was looked for", func() bool { return a.IsHealed(w.alive()) && len(a.Releasing()) == 0 })
		w.settled()
	})
}

// Rule 17: no Online is told of a user whose first claim has failed when its node was cut off, also not when the node is back and its entry is in the
// store still.
func TestNoOnlineIsToldOfAClaimThatHasFailedWithItsNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" {
				a.cut()
				return errCut
			}
			return nil
		}})
		if _, err := w.logOnWithin(a, usermgr.Logon{UserID: "ann"}, time.Second); err == nil {
			t.Fatal("ann came in")
		}
		b.setFaults(refusing("Walk")) // it sweeps nothing
		w.store.Promote(w.store.Snapshot())
		w.await("the store has recovered", func() bool { return b.Stats().Recoveries > 0 && b.IsHealed([]cluster.Incarnation{b.Incarnation()}) })
		a.setFaults(refusing("Walk"))
		w.awaitNodes()
		time.Sleep(2 * renew)
		if online, _ := w.log.IsOnline("ann"); online {
			t.Errorf("ann is told to be online:\n%s", w.log)
		}
		a.setFaults(memory.Faults{})
		b.setFaults(memory.Faults{})
		w.settled()
	})
}

// Rule 17: a claim that another node may have found in a store that has lost it since owes Offline, also where it fails.
func TestOfflineIsToldOfAUserWhoseLastClaimWasLostByTheStoreAndFails(t *testing.T) {
	for _, when := range []string{"before it finds the store empty", "when it finds the store empty", "after it found the store empty"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
				a, b := w.nodes[0], w.nodes[1]
				before := w.mustLogOn(b, "ann", 1)
				ctx, cancel := context.WithTimeout(context.Background(), lease)
				defer cancel()
				swaps := 0
				a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
					if op != "Swap" {
						return nil
					}
					switch swaps++; swaps {
					case 2: // the first has found b's session
						before.End(protocol.ClientClosed)
						w.await("only the claim is in the store", func() bool { return w.at(b, "ann") == "a" })
						w.store.Restart()
						w.await("the store recovers", func() bool { return a.Stats().Recoveries > 0 })
						if when == "before it finds the store empty" {
							cancel()
						}
						return errCut
					case 3:
						if when == "when it finds the store empty" {
							cancel()
						} else {
							a.setFaults(refusing("Swap"))
						}
					}
					return nil
				}})
				if _, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann", Device: 2}, link(w.conns.Add(1))); err == nil {
					t.Fatal("ann came in")
				}
				a.setFaults(memory.Faults{})
				w.wantPresence("ann", `offline after 0 messages, tag ""`)
			})
		})
	}
}

// Rule 17: a claim that was the user's first in a store that has lost it since may stand beside a session that has told Online. Where it fails it owes
// Offline, since that session has left because of it.
func TestOfflineIsToldOfAUserWhoseLastClaimWasTheFirstInALostStore(t *testing.T) {
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
				cancel()
			}
			return nil
		}})
		if _, err := a.users.Register(ctx, usermgr.Logon{UserID: "ann", Device: 2}, link(w.conns.Add(1))); err == nil {
			t.Fatal("ann came in")
		}
		a.setFaults(memory.Faults{})
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
	})
}

// Rule 19: a logon waits for no session that has ended, also where its user has come back within the grace since, and a store that takes over
// has it again. Its node removes it.
func TestASessionBeforeAGraceThatIsBackInTheStoreKeepsNoLogonOut(t *testing.T) {
	for _, removed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 2, usermgr.Config{OfflineGrace: time.Minute, Devices: usermgr.Devices{OnePerClass: true}})
			a, b := w.nodes[0], w.nodes[1]
			ann := w.mustLogOn(a, "ann", 1)
			w.settled()
			before := w.store.Snapshot()
			ann.End(protocol.HeartbeatTimeout)
			synctest.Wait() // the grace goes on
			ann = w.mustLogOn(a, "ann", 2)
			w.settled()
			if !removed {
				a.setFaults(refusing("Look", "Walk"))
			}
			w.store.Promote(before)
			w.awaitRecovery(b)
			if removed {
				w.settled()
			}
			began := time.Now()
			other := w.mustLogOn(b, "ann", 1)
			if took := time.Since(began); took > time.Second {
				t.Errorf("ann waited %v", took)
			}
			a.setFaults(memory.Faults{})
			w.settled()
			ann.End(protocol.ClientClosed)
			other.End(protocol.ClientClosed)
			w.settled()
		})
	}
}

// Rule 17: what a node has in the store when it is cut off hides that the user's other sessions leave. The store loses it before it is swept: the node
// tells Offline when it is back, also of a session that had ended, and that a store that has taken over has again.
func TestANodeTellsOfflineOfWhatTheStoreLosesBeforeItIsSwept(t *testing.T) {
	for name, ended := range map[string]bool{"a session": false, "a session that is back in the store": true} {
		for when, back := range map[string]bool{"while the node is cut off": false, "when it is back": true} {
			t.Run(name+", "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
					a, b := w.nodes[0], w.nodes[1]
					there, here := w.mustLogOn(a, "ann", 1), w.mustLogOn(b, "ann", 2)
					w.settled()
					before := w.store.Snapshot()
					if ended {
						there.End(protocol.ClientClosed)
						w.settled()
					}
					a.setFaults(refusing("Ready", "Remove", "Swap"))
					w.store.Promote(before)
					w.await("the node knows that the store recovers", func() bool { return a.Stats().Recoveries > 0 })
					time.Sleep(renew)
					a.cut()
					b.setFaults(refusing("Walk")) // it sweeps nothing
					w.await("the store has recovered", func() bool { return b.IsHealed([]cluster.Incarnation{b.Incarnation()}) })
					here.End(protocol.ClientClosed)
					w.await("the session has left the store", func() bool { return len(b.Releasing()) == 0 })
					if online, _ := w.log.IsOnline("ann"); !online {
						t.Fatal("what the cut-off node has in the store hides nothing")
					}
					if back {
						a.setFaults(refusing("Walk"))
						w.awaitNodes()
					}
					w.store.Restart()
					w.await("the store recovers", func() bool { return b.Stats().Recoveries > 1 })
					a.setFaults(memory.Faults{})
					b.setFaults(memory.Faults{})
					w.awaitNodes()
					w.settled()
				})
			})
		}
	}
}

// Rule 17: where the store has lost the entries of a node that is cut off, no other node sweeps them: the node tells what they have hidden
// when it is back.
func TestANodeTellsOfflineOfSessionsThatTheStoreHasLostWhileItWasCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{OfflineGrace: 2 * lease, Devices: usermgr.Devices{OnePerClass: true}})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.mustLogOn(a, "bob", 1)
		w.mustLogOn(b, "bob", 2)
		w.mustLogOn(a, "eve", 0)
		w.mustLogOn(a, "joe", 0).End(protocol.HeartbeatTimeout)
		w.mustLogOn(a, "kim", 0).End(protocol.HeartbeatTimeout)
		synctest.Wait() // the two graces go on
		a.setFaults(refusing("Remove"))
		w.mustLogOn(a, "tom", 0).End(protocol.ClientClosed)
		synctest.Wait()
		a.cut()
		w.store.Restart()
		w.awaitLogOn(b, "eve")
		w.awaitLogOn(b, "kim")
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
		for user, want := range map[string]bool{"ann": false, "bob": true, "eve": true, "joe": false, "kim": true, "tom": false} {
			if online, _ := w.log.IsOnline(user); online != want {
				t.Errorf("%s is told to be online: %v", user, online)
			}
		}
	})
}

// Rule 17: a store that takes over has an earlier session of a user, and not the last one, which ends before the store has recovered. Offline is told after
// the Online of that one, by the node of the earlier session, or by one that sweeps it.
func TestOfflineIsToldLastThoughAnEarlierSessionIsBackInTheStore(t *testing.T) {
	for _, dies := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 2, usermgr.Config{})
			a, b := w.nodes[0], w.nodes[1]
			first := w.mustLogOn(a, "ann", 0)
			w.settled()
			before := w.store.Snapshot()
			first.End(protocol.ClientClosed)
			w.settled()
			at := a
			if dies {
				at = b
			}
			last := w.mustLogOn(at, "ann", 0)
			w.settled()
			if dies {
				a.cut()
			}
			w.store.Promote(before)
			last.End(protocol.ClientClosed)
			w.await("the store has recovered", func() bool { return b.Stats().Recoveries > 0 && !b.Stats().Recovering })
			w.settled()
			a.setFaults(memory.Faults{})
			w.awaitNodes()
		})
	}
}

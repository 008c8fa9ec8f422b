package cluster_test

import (
	"context"
	"fmt"
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

// deafen has no frame reach a node, so that it is not told of kicks; nor does one that it sends.
func (w *world) deafen(n *member) {
	w.awaitAnswers()
	w.mesh.Lose(func(to cluster.Incarnation, frame []byte) bool {
		return to == n.Incarnation() || cluster.FrameFrom(frame) == n.Incarnation()
	})
}

// refuses fails the test unless a node refuses a logon with this code.
func (w *world) refuses(n *member, l usermgr.Logon, code protocol.CloseCode) {
	w.t.Helper()
	if _, err := w.logOn(n, l); codeOf(err) != code {
		w.t.Errorf("%s was answered at %s with %v, want %v", l.UserID, n.name, err, code)
	}
}

// record returns what the store has of a user.
func (w *world) record(user string) cluster.Record {
	w.t.Helper()
	return testkit.Must(w.store.Look(context.Background(), user))[0]
}

// losesRecord has the store lose a user's record.
func (w *world) losesRecord(user string) {
	w.t.Helper()
	ctx := context.Background()
	o := cluster.SwapOptions{Epoch: testkit.Must(w.store.Table(ctx)).Epoch}
	if err := w.store.Remove(ctx, user, w.record(user).Version, o); err != nil {
		w.t.Fatal(err)
	}
}

// leavesStore waits until the audits have emptied the store.
func (w *world) leavesStore() {
	w.t.Helper()
	time.Sleep(auditEvery)
	if l := testkit.Must(w.store.Walk(context.Background(), "", 100)); len(l.Records) > 0 {
		w.t.Errorf("the store still has %d records, one with %s", len(l.Records), cluster.DecodeText(l.Records[0]))
	}
}

// Rule 26 over nodes: who was kicked is refused at a node that was not told, for ten minutes, or for as long as the tokens are revoked.
func TestANodeThatWasNotToldOfAKickRefusesItsClient(t *testing.T) {
	for name, x := range map[string]struct {
		kick  func(a, b *member) error
		token protocol.CloseCode
		code  protocol.CloseCode
	}{
		"a kick by the cluster": {func(a, _ *member) error {
			_, err := a.Kick(context.Background(), "bob", nil)
			return err
		}, 0, protocol.KickedOut},
		"a kick by the session's node": {func(_, b *member) error {
			wait, err := b.users.Kick("bob", &usermgr.KickOptions{Code: 4321})
			if err == nil {
				_, err = wait(context.Background())
			}
			synctest.Wait()
			return err
		}, 0, 4321},
		"a revocation": {func(a, _ *member) error {
			_, err := a.Kick(context.Background(), "bob", &usermgr.KickOptions{RevokeFor: 20 * time.Minute})
			return err
		}, protocol.Unauthorized, protocol.Unauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3, usermgr.Config{ReturnWins: true})
				a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
				s := testkit.Must(w.logOn(b, usermgr.Logon{UserID: "bob", Token: "secret"}))
				w.deafen(c)
				if err := x.kick(a, b); err != nil {
					t.Fatal(err)
				}
				w.settled()
				if online, err := c.IsOnline(context.Background(), "bob"); online || err != nil {
					t.Errorf("bob is online: %v, %v", online, err)
				}
				w.refuses(c, usermgr.Logon{UserID: "bob", Session: s.ID()}, x.code)
				w.refuses(c, usermgr.Logon{UserID: "bob", Token: "secret"}, x.token)
				w.refuses(c, usermgr.Logon{UserID: "bob", Token: "fresh"}, 0)
				w.refuses(c, usermgr.Logon{UserID: "bob", Session: s.ID()}, x.code)
				w.refuses(c, usermgr.Logon{UserID: "eve", Session: s.ID()}, 0)
				time.Sleep(21 * time.Minute)
				w.refuses(c, usermgr.Logon{UserID: "bob", Token: "secret", Session: s.ID()}, 0)
				w.mesh.Lose(nil)
				for _, user := range []string{"bob", "eve"} {
					testkit.Must(a.Kick(context.Background(), user, &usermgr.KickOptions{Code: protocol.ServerStopping}))
				}
				w.settled()
				w.leavesStore()
			})
		})
	}
}

// Rule 23: a kick's answer comes when the store refuses the client; where the store is silent, soon, and the store refuses the client
// when it is there again.
func TestAKickIsAnsweredWhenTheStoreRefusesItsClient(t *testing.T) {
	for _, o := range []usermgr.KickOptions{{}, {RevokeFor: time.Hour}, {BanFor: time.Hour}} {
		for _, silent := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{})
				a, b := w.nodes[0], w.nodes[1]
				testkit.Must(w.logOn(b, usermgr.Logon{UserID: "bob", Token: "secret"}))
				w.awaitAnswers()
				slow := memory.Faults{Before: func(context.Context, string) error {
					time.Sleep(700 * time.Millisecond)
					return nil
				}}
				if silent {
					slow = refusing("Swap", "Remove")
				}
				a.setFaults(slow)
				b.setFaults(slow)
				began := time.Now()
				if r, err := a.Kick(context.Background(), "bob", &o); err != nil || kicked(r) != "[0] missing []" || time.Since(began) > 5*time.Second {
					t.Errorf("the kick: %s, %v, after %v", kicked(r), err, time.Since(began))
				}
				if silent {
					a.setFaults(memory.Faults{})
					b.setFaults(memory.Faults{})
					time.Sleep(renew)
				}
				if r := w.record("bob"); cluster.Bars(r) == 0 {
					t.Errorf("after a kick with %+v the store has %s", o, cluster.DecodeText(r))
				}
			})
		}
	}
}

// Rule 26 over nodes: more kicks hold than nodes tell each other, and they hold when all nodes that were told are gone.
func TestKicksHoldOnANodeThatJoinsLater(t *testing.T) {
	for name, gone := range map[string]bool{"more kicks than a newcomer is told": false, "all that were told are gone": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{})
				a, b := w.nodes[0], w.nodes[1]
				users := cluster.ToldRefusals + 50
				if gone {
					users = 3
				}
				sessions := make(map[string]usermgr.Session)
				for i := range users {
					user := fmt.Sprint("user", i)
					sessions[user] = testkit.Must(w.logOn(b, usermgr.Logon{UserID: user, Token: "secret"}))
				}
				for user := range sessions {
					testkit.Must(a.Kick(context.Background(), user, &usermgr.KickOptions{RevokeFor: time.Hour}))
				}
				w.addNode() // without it the store would be as a new one
				w.awaitNodes()
				w.settled()
				if gone {
					w.deafen(w.nodes[2])
					a.stop(t)
					b.stop(t)
					w.mesh.Lose(nil)
				}
				d := w.addNode()
				w.await("the node is in the cluster", d.May)
				synctest.Wait()
				for user, s := range sessions {
					w.refuses(d, usermgr.Logon{UserID: user, Session: s.ID()}, protocol.Unauthorized)
					w.refuses(d, usermgr.Logon{UserID: user, Token: "secret"}, protocol.Unauthorized)
				}
			})
		})
	}
}

// Rule 26 over nodes: a ban of a user who is offline holds on a node that was not told, until it is over, or until Unban; also where the
// record has a session, and where others write the record meanwhile.
func TestABanHoldsOnANodeThatWasNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		ctx := context.Background()
		swaps, count := counting("Swap")
		w.deafen(c)
		a.setFaults(swaps)
		testkit.Must(a.Kick(ctx, "bob", &usermgr.KickOptions{BanFor: time.Hour}))
		if count.Load() != 1 {
			t.Errorf("a ban of a user without a record took %d swaps", count.Load())
		}
		w.mustLogOn(b, "eve", 1)
		testkit.Must(a.Kick(ctx, "eve", &usermgr.KickOptions{BanFor: time.Hour, Devices: []uint16{2}}))
		for _, user := range []string{"bob", "eve"} {
			w.refuses(c, usermgr.Logon{UserID: user, Device: 3}, protocol.Unauthorized)
		}
		time.Sleep(2 * time.Second) // a count is good for a second
		if n := testkit.Must(a.Count(ctx)); n.Value.Users != 1 {
			t.Errorf("%d users are counted", n.Value.Users)
		}
		if r, err := a.Unban(ctx, "eve"); err != nil || !r.Value {
			t.Errorf("the end of the ban: %+v, %v", r, err)
		}
		w.refuses(c, usermgr.Logon{UserID: "eve", Device: 3}, 0)
		w.refuses(c, usermgr.Logon{UserID: "bob"}, protocol.Unauthorized)
		if r, err := c.Unban(ctx, "bob"); err != nil || !r.Value { // it knows of the ban by the store alone
			t.Errorf("the end of the ban: %+v, %v", r, err)
		}
		if r := w.record("bob"); r.Version != 0 {
			t.Errorf("after the ban the store has %s", cluster.DecodeText(r))
		}
		w.refuses(c, usermgr.Logon{UserID: "bob"}, 0)
		w.settled()

		testkit.Must(a.Kick(ctx, "ann", &usermgr.KickOptions{BanFor: time.Minute}))
		w.refuses(c, usermgr.Logon{UserID: "ann"}, protocol.Unauthorized)
		time.Sleep(time.Minute + 5*time.Second)
		w.refuses(c, usermgr.Logon{UserID: "ann"}, 0)
	})
}

// Rule 17: Offline and Online alternate for a user whose record has bars, also when the store's answers are lost; no bar is lost by that.
func TestAUserWithBarsGoesOnlineAndOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.deafen(c)
		var tokens []string
		for i := range 6 {
			tokens = append(tokens, fmt.Sprint("token", i))
			testkit.Must(w.logOn(b, usermgr.Logon{UserID: "bob", Token: tokens[i]}))
			var lost atomic.Bool
			b.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
				if op == "Swap" && lost.CompareAndSwap(false, true) {
					return errCut
				}
				return nil
			}})
			testkit.Must(a.Kick(context.Background(), "bob", &usermgr.KickOptions{RevokeFor: time.Hour}))
			w.settled()
			if !lost.Load() {
				t.Error("no answer was lost")
			}
			b.setFaults(memory.Faults{})
		}
		w.log.CheckPresence(t)
		for _, token := range tokens {
			w.refuses(c, usermgr.Logon{UserID: "bob", Token: token}, protocol.Unauthorized)
		}
		w.mustLogOn(c, "bob", 0).End(protocol.ClientClosed)
		w.settled()
		w.log.CheckPresence(t)
		for _, token := range tokens {
			w.refuses(b, usermgr.Logon{UserID: "bob", Token: token}, protocol.Unauthorized)
		}
	})
}

// A record has a bounded number of bars, of which those that end soonest go first. The record of a session with one bar stays small, see
// TestARecordOfOneSessionStaysSmall.
func TestTheBarsOfARecordAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, c := w.nodes[0], w.nodes[1]
		w.deafen(c)
		for i := range 2 * cluster.MaxBars {
			testkit.Must(w.logOn(a, usermgr.Logon{UserID: "bob", Token: fmt.Sprint(i)}))
			wait := testkit.Must(a.users.Kick("bob", &usermgr.KickOptions{}))
			testkit.Must(wait(context.Background()))
			w.settled()
			time.Sleep(5 * time.Second)
		}
		testkit.Must(a.Kick(context.Background(), "bob", &usermgr.KickOptions{BanFor: 11 * time.Minute}))
		if bars := cluster.Bars(w.record("bob")); bars != cluster.MaxBars {
			t.Errorf("the record has %d bars", bars)
		}
		w.refuses(c, usermgr.Logon{UserID: "bob"}, protocol.Unauthorized)

		s := testkit.Must(w.logOn(a, usermgr.Logon{UserID: "eve", Token: "secret"}))
		testkit.Must(a.KickSession(context.Background(), s.ID(), nil))
		testkit.Must(w.logOn(a, usermgr.Logon{UserID: "eve", Token: "fresh"}))
		if r := w.record("eve"); len(r.Body)+8 > 64 || cluster.Bars(r) != 1 {
			t.Errorf("the record of a session with %d bars takes %d bytes", cluster.Bars(r), len(r.Body)+8)
		}
	})
}

// A bar is written again into a store that has lost it with the end of the session; where the store has lost everything, the nodes
// tell a newcomer.
func TestABarThatTheStoreHasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		s := w.mustLogOn(b, "bob", 0)
		w.deafen(c)
		before := w.store.Snapshot()
		testkit.Must(a.Kick(context.Background(), "bob", nil))
		w.store.Promote(before)
		w.awaitRecovery(b)
		w.settled()
		w.awaitRecovery(c)
		w.refuses(c, usermgr.Logon{UserID: "bob", Session: s.ID()}, protocol.KickedOut)

		w.mesh.Lose(nil)
		testkit.Must(a.Kick(context.Background(), "eve", &usermgr.KickOptions{BanFor: time.Hour}))
		w.store.Restart()
		w.await("the store has lost the ban and has recovered", func() bool { return a.Stats().Recoveries > 1 && a.IsHealed(w.alive()) })
		d := w.addNode()
		w.awaitNodes()
		w.awaitAnswers()
		w.refuses(d, usermgr.Logon{UserID: "eve"}, protocol.Unauthorized)
	})
}

// Rule 26 over nodes, StoreLost Open: who was kicked at a node that was without the store is refused by all when it is back, also where the
// user has come in elsewhere meanwhile.
func TestAKickWithoutTheStoreHoldsWhenItIsBack(t *testing.T) {
	for _, online := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newOpenWorld(t, 2, usermgr.Config{ReturnWins: true})
			a, b := w.nodes[0], w.nodes[1]
			s := w.mustLogOn(b, "bob", 0)
			w.deafen(a)
			b.cut()
			w.awaitLost(b)
			testkit.Must(b.users.Kick("bob", nil))
			w.await("the session has ended", func() bool { return !b.has(s) })
			if online {
				w.awaitLogOn(a, "bob")
			}
			w.back()
			w.settled()
			w.refuses(a, usermgr.Logon{UserID: "bob", Session: s.ID()}, protocol.KickedOut)
		})
	}
}

// Rule 26 over nodes: a ban that has ended before the store could be told of it is not written when the store is back.
func TestABanThatHasEndedIsNotWrittenLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.awaitAnswers()
		a.setFaults(refusing("Swap", "Remove"))
		testkit.Must(a.Kick(context.Background(), "bob", &usermgr.KickOptions{BanFor: time.Hour}))
		time.AfterFunc(20*time.Millisecond, func() { a.setFaults(memory.Faults{}) })
		if r, err := a.Unban(context.Background(), "bob"); err != nil || !r.Value {
			t.Errorf("the end of the ban: %+v, %v", r, err)
		}
		time.Sleep(lease)
		w.refuses(b, usermgr.Logon{UserID: "bob"}, 0)
	})
}

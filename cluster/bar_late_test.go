package cluster_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// slowSwaps has a node's swaps leave late.
func slowSwaps(by time.Duration) memory.Faults {
	return memory.Faults{Before: func(_ context.Context, op string) error {
		if op == "Swap" {
			time.Sleep(by)
		}
		return nil
	}}
}

// Rule 26 over nodes: Unban ends a ban everywhere that the store has not got yet: because the store recovers, or because the call that
// writes the ban is under way.
func TestABanThatHasEndedDoesNotComeIntoTheStore(t *testing.T) {
	for name, recovers := range map[string]bool{"the store recovers": true, "the ban is being written": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{})
				a, b := w.nodes[0], w.nodes[1]
				w.mustLogOn(a, "eve", 0)
				w.awaitAnswers()
				a.setFaults(slowSwaps(3 * time.Second))
				if recovers {
					w.store.Restart()
					w.await("the store recovers", func() bool { return a.Stats().Recoveries > 0 && b.Stats().Recoveries > 0 })
				}
				testkit.Must(a.Kick(context.Background(), "bob", &usermgr.KickOptions{BanFor: time.Hour}))
				if r, err := b.Unban(context.Background(), "bob"); err != nil || !r.Value {
					t.Errorf("the end of the ban: %+v, %v", r, err)
				}
				w.await("the store goes on", func() bool { return a.IsHealed(w.alive()) && b.IsHealed(w.alive()) })
				time.Sleep(2 * lease)
				w.refuses(b, usermgr.Logon{UserID: "bob"}, 0)
				a.setFaults(memory.Faults{})
			})
		})
	}
}

// Rule 23: what is to be refused, or no more, is written when the store is there again, also if it was silent for so long that the nodes'
// lives have ended.
func TestBarsComeIntoAStoreThatWasSilentForLong(t *testing.T) {
	for name, lost := range map[string]cluster.StoreLost{"closed": cluster.Closed, "open": cluster.Open} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 0, usermgr.Config{ReturnWins: true})
				w.lost = lost
				for range 3 {
					w.addNode()
				}
				w.awaitNodes()
				ctx, a, b, c := context.Background(), w.nodes[0], w.nodes[1], w.nodes[2]
				ann := testkit.Must(w.logOn(a, usermgr.Logon{UserID: "ann", Token: "secret"}))
				bob := w.mustLogOn(b, "bob", 0)
				many := make([]usermgr.Session, 50) // more than are removed at a time
				for i := range many {
					many[i] = w.mustLogOn(b, fmt.Sprint("user", i), 0)
				}
				carl := w.mustLogOn(b, "carl", 0)
				w.deafen(c)
				testkit.Must(a.Kick(ctx, "eve", &usermgr.KickOptions{BanFor: time.Hour}))
				leave := make(chan struct{})
				w.log.Inside(func(_, event, user string) {
					if event == "Disconnected" && user == "carl" {
						<-leave // its node's life is over by then
					}
				})
				for _, n := range w.nodes {
					n.cut()
				}
				testkit.Must(b.users.Kick("carl", nil))
				for i := range many {
					testkit.Must(b.users.Kick(fmt.Sprint("user", i), nil))
				}
				for user, o := range map[string]*usermgr.KickOptions{"ann": {RevokeFor: time.Hour}, "bob": nil, "dave": {BanFor: time.Hour}} {
					testkit.Must(a.Kick(ctx, user, o))
				}
				if r, err := b.Unban(ctx, "eve"); err != nil || !r.Value {
					t.Errorf("the end of the ban: %+v, %v", r, err)
				}
				time.Sleep(2 * lease)
				close(leave)
				time.Sleep(lease)
				for _, n := range w.nodes {
					n.setFaults(memory.Faults{})
				}
				w.awaitNodes()
				w.await("all nodes go on", func() bool { return a.IsHealed(w.alive()) && b.IsHealed(w.alive()) })
				w.settled()
				w.refuses(c, usermgr.Logon{UserID: "ann", Token: "secret"}, protocol.Unauthorized)
				w.refuses(c, usermgr.Logon{UserID: "ann", Session: ann.ID()}, protocol.Unauthorized)
				w.refuses(c, usermgr.Logon{UserID: "bob", Session: bob.ID()}, protocol.KickedOut)
				for i, s := range many {
					w.refuses(c, usermgr.Logon{UserID: fmt.Sprint("user", i), Session: s.ID()}, protocol.KickedOut)
				}
				w.refuses(c, usermgr.Logon{UserID: "carl", Session: carl.ID()}, protocol.KickedOut)
				w.refuses(c, usermgr.Logon{UserID: "dave"}, protocol.Unauthorized)
				w.refuses(c, usermgr.Logon{UserID: "eve"}, 0)
			})
		})
	}
}

// Rule 26: a bar's end goes by the clocks of the nodes. A node whose clock was wrong when it found a bar in the store refuses the client no
// longer than for ten minutes by that.
func TestANodeKeepsABarInMindForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, c := w.nodes[0], w.nodes[1]
		ctx, l := context.Background(), usermgr.Logon{UserID: "bob", Token: "secret"}
		testkit.Must(w.logOn(a, l))
		w.deafen(c)
		testkit.Must(a.Kick(ctx, "bob", &usermgr.KickOptions{RevokeFor: 24 * time.Hour}))
		w.refuses(c, l, protocol.Unauthorized)
		w.losesRecord("bob") // as by the right clock it is over
		w.refuses(c, l, protocol.Unauthorized)
		time.Sleep(11 * time.Minute)
		w.refuses(c, l, 0)
	})
}

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// kicked says on which devices sessions were kicked, and who has not answered.
func kicked(a cluster.Answer[[]usermgr.Kicked]) string {
	var devices []uint16
	for _, k := range a.Value {
		devices = append(devices, k.Session.Device)
	}
	slices.Sort(devices)
	return fmt.Sprint(devices, " missing ", a.Missing)
}

// Rule 23: a kick ends the user's sessions on all nodes, and tells the outcome of each.
func TestAKickReachesTheSessionsOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.mustLogOn(a, "bob", 1)
		w.mustLogOn(b, "bob", 2)
		three := w.mustLogOn(c, "bob", 3)
		w.mustLogOn(c, "eve", 3)
		w.log.Take()
		ctx := context.Background()
		if r, err := a.KickSession(ctx, three.ID(), nil); err != nil || kicked(r) != "[3] missing []" || r.Value[0].Session.UserID != "bob" {
			t.Errorf("the kick of a session: %s, %v", kicked(r), err)
		}
		if r, err := c.Kick(ctx, "bob", &usermgr.KickOptions{Devices: []uint16{2, 3}}); err != nil || kicked(r) != "[2] missing []" {
			t.Errorf("the kick of a device: %s, %v", kicked(r), err)
		}
		if r, err := b.Kick(ctx, "bob", nil); err != nil || kicked(r) != "[1] missing []" {
			t.Errorf("the kick of the user: %s, %v", kicked(r), err)
		}
		w.happened("Disconnected bob@c KickedOut", "Disconnected bob@b KickedOut", "Disconnected bob@a KickedOut")
		for _, call := range []func() error{
			func() error { _, err := b.Kick(ctx, "bob", nil); return err },
			func() error { _, err := b.KickSession(ctx, three.ID(), nil); return err },
		} {
			if err := call(); !errors.Is(err, usermgr.ErrUnknownID) {
				t.Errorf("a kick that finds no session: %v", err)
			}
		}
		if _, err := b.Kick(ctx, "", nil); !errors.Is(err, usermgr.ErrBlankID) {
			t.Errorf("a kick of a user who is not there: %v", err)
		}
	})
}

// Rule 23: a node that does not answer is named, soon, and what the others have done is told.
func TestAKickNamesTheNodesThatDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.mustLogOn(b, "bob", 1)
		w.mustLogOn(c, "bob", 2)
		life := c.Incarnation()
		w.mesh.Lose(func(to cluster.Incarnation, _ []byte) bool { return to == life })
		began := time.Now()
		r, err := a.Kick(context.Background(), "bob", nil)
		if took := time.Since(began); err != nil || kicked(r) != "[1] missing [c]" || took > 10*time.Second {
			t.Errorf("the kick: %s, %v, after %v", kicked(r), err, took)
		}
		if r, err := a.Kick(context.Background(), "eve", nil); err != nil || kicked(r) != "[] missing [c]" {
			t.Errorf("the kick of a user who may be where no answer comes from: %s, %v", kicked(r), err)
		}
		w.mesh.Lose(nil)
		w.log.Inside(func(node, event, _ string) { // a node that says that it works on the answer is waited for
			if node == "c" && event == "Disconnected" {
				time.Sleep(time.Minute)
			}
		})
		if r, err := a.Kick(context.Background(), "bob", nil); err != nil || kicked(r) != "[2] missing []" {
			t.Errorf("the kick: %s, %v", kicked(r), err)
		}
	})
}

// A question that is lost, and one whose answer is lost, are asked again, and carried out once.
func TestAQuestionThatIsAskedAgainIsCarriedOutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "bob", 0)
		w.awaitAnswers()
		var questions, answers atomic.Int64
		here := a.Incarnation()
		w.mesh.Lose(func(to cluster.Incarnation, frame []byte) bool { // the first question, and the first answer
			switch {
			case to != here && frame[0] == cluster.FrameAsk:
				return questions.Add(1) == 1
			case to == here && frame[0] == cluster.FrameAnswer && !cluster.IsBusy(frame):
				if answers.Add(1) == 1 {
					go func() { _, _ = w.logOn(b, usermgr.Logon{UserID: "bob"}) }() // back before the question comes again
					return true
				}
			}
			return false
		})
		if r, err := a.Kick(context.Background(), "bob", nil); err != nil || kicked(r) != "[0] missing []" {
			t.Errorf("the kick: %s, %v", kicked(r), err)
		}
		synctest.Wait()
		if questions.Load() < 2 || answers.Load() < 2 || !b.users.IsOnline("bob") {
			t.Errorf("%d questions and %d answers were sent; bob is online: %v", questions.Load(), answers.Load(), b.users.IsOnline("bob"))
		}
	})
}

// Rule 26 over nodes: a client that was kicked does not come back by itself, at any node, and no matter which node kicked it; a person who logs on anew does.
func TestAKickedClientDoesNotComeBackByItselfAtAnotherNode(t *testing.T) {
	for name, kick := range map[string]func(*member, *member) error{
		"by the cluster": func(a, _ *member) error {
			_, err := a.Kick(context.Background(), "bob", &usermgr.KickOptions{Text: "no more puns"})
			return err
		},
		"by its node": func(_, b *member) error {
			wait, err := b.users.Kick("bob", nil)
			if err == nil {
				_, err = wait(context.Background())
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3, usermgr.Config{})
				s := w.mustLogOn(w.nodes[1], "bob", 0)
				if err := kick(w.nodes[0], w.nodes[1]); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for _, n := range w.nodes {
					_, err := w.logOn(n, usermgr.Logon{UserID: "bob", Session: s.ID()})
					var ce *protocol.CloseError
					if !errors.As(err, &ce) || ce.Code != protocol.KickedOut || name == "by the cluster" && ce.Text != "no more puns" {
						t.Errorf("at %s the client was answered %v", n.name, err)
					}
				}
				w.mustLogOn(w.nodes[2], "bob", 0).End(protocol.ClientClosed)
				time.Sleep(11 * time.Minute)
				if _, err := w.logOn(w.nodes[0], usermgr.Logon{UserID: "bob", Session: s.ID()}); err != nil {
					t.Errorf("long after it the client was answered %v", err)
				}
			})
		})
	}
}

// Rule 26 over nodes: a ban, and a revoked token, hold on all nodes, also on one that joins later; Unban ends a ban everywhere.
func TestBansAndRevocationsHoldOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		ctx := context.Background()
		if _, err := w.logOn(b, usermgr.Logon{UserID: "bob", Token: "stolen"}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Kick(ctx, "bob", &usermgr.KickOptions{RevokeFor: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Kick(ctx, "eve", &usermgr.KickOptions{BanFor: time.Hour}); err != nil {
			t.Fatal(err)
		}
		w.addNode()
		w.awaitNodes()
		synctest.Wait()
		for _, n := range w.nodes {
			for _, l := range []usermgr.Logon{{UserID: "bob", Token: "stolen"}, {UserID: "eve"}} {
				if _, err := w.logOn(n, l); codeOf(err) != protocol.Unauthorized {
					t.Errorf("%s was answered %v at %s", l.UserID, err, n.name)
				}
			}
			if _, err := w.logOn(n, usermgr.Logon{UserID: "bob", Token: "fresh"}); err != nil {
				t.Errorf("bob was answered %v at %s", err, n.name)
			}
		}
		if r, err := b.Unban(ctx, "eve"); err != nil || !r.Value || len(r.Missing) > 0 {
			t.Errorf("the end of the ban: %+v, %v", r, err)
		}
		for _, n := range w.nodes {
			if _, err := w.logOn(n, usermgr.Logon{UserID: "eve"}); err != nil {
				t.Errorf("eve was answered %v at %s", err, n.name)
			}
		}
		if r, err := b.Unban(ctx, "eve"); err != nil || r.Value {
			t.Errorf("the end of no ban: %+v, %v", r, err)
		}
		time.Sleep(time.Hour)
		if _, err := w.logOn(a, usermgr.Logon{UserID: "bob", Token: "stolen"}); err != nil {
			t.Errorf("an hour later bob was answered %v", err)
		}
	})
}

// A question that is never answered does not have a node keep its answers to all later ones.
func TestAKickThatHangsKeepsNoOtherAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		let := make(chan struct{})
		w.log.Inside(func(_, event, user string) {
			if user == "bob" && event == "Disconnected" {
				<-let
			}
		})
		w.mustLogOn(b, "bob", 0)
		ctx, cancel := context.WithCancel(context.Background())
		hangs := make(chan struct{})
		go func() {
			defer close(hangs)
			_, _ = a.Kick(ctx, "bob", nil)
		}()
		for range 120 {
			if _, err := a.Count(context.Background()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if kept := b.Answers(); kept > 40 {
			t.Errorf("the node keeps %d answers", kept)
		}
		cancel()
		close(let)
		<-hangs
	})
}

// Rule 23: a token that is revoked again is refused on all nodes for the new time, also when the former time is over, or shorter.
func TestATokenThatIsRevokedAgainIsRefusedOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		ctx := context.Background()
		logOn := usermgr.Logon{UserID: "bob", Token: "secret"}
		for range 2 {
			if _, err := w.logOn(b, logOn); err != nil {
				t.Fatal(err)
			}
			if r, err := a.Kick(ctx, "bob", &usermgr.KickOptions{RevokeFor: time.Minute}); err != nil {
				t.Fatalf("the kick: %s, %v", kicked(r), err)
			}
			w.losesRecord("bob") // so that it is not the bar there that refuses
			for _, n := range w.nodes {
				if _, err := w.logOn(n, logOn); codeOf(err) != protocol.Unauthorized {
					t.Errorf("the revoked token was answered at %s with %v", n.name, err)
				}
			}
			time.Sleep(2 * time.Minute)
		}
		for _, d := range []time.Duration{time.Minute, time.Hour} { // a ban, and a longer one
			if _, err := a.Kick(ctx, "eve", &usermgr.KickOptions{BanFor: d}); err != nil {
				t.Fatal(err)
			}
		}
		d := w.addNode()
		w.awaitNodes()
		time.Sleep(2 * time.Minute)
		for _, n := range []*member{c, d} {
			if _, err := w.logOn(n, usermgr.Logon{UserID: "eve"}); codeOf(err) != protocol.Unauthorized {
				t.Errorf("the banned user was answered at %s with %v", n.name, err)
			}
		}
	})
}

// What a node refuses is bounded, and at the bound the node does not go through all of it for each further kick.
func TestWhatANodeRefusesIsBounded(t *testing.T) {
	n := testkit.Must(cluster.New(cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh()}))
	if got := n.Refuse(cluster.MaxRefusals + 10); got > cluster.MaxRefusals/10*9 {
		t.Errorf("the node refuses %d secrets, and has no room for more", got)
	}
}

// Rule 23: a kick of many sessions asks each node once, not once for each session, and so does what is told of kicks by a user manager.
func TestAKickOfManySessionsAsksEachNodeOnce(t *testing.T) {
	for _, how := range []string{"by the cluster", "by the cluster, revoked", "by the user managers"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const many = 60
				w := newWorld(t, 3, usermgr.Config{})
				ctx := context.Background()
				var ids []string
				for i := range many {
					s := testkit.Must(w.logOn(w.nodes[i%3], usermgr.Logon{UserID: fmt.Sprint("user", i), Token: fmt.Sprint("token", i)}))
					ids = append(ids, s.ID())
				}
				w.awaitAnswers()
				var asked atomic.Int64
				w.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool {
					if frame[0] == cluster.FrameAsk {
						asked.Add(1)
					}
					return false
				})
				if how == "by the user managers" {
					for i, id := range ids {
						testkit.Must(w.nodes[i%3].users.KickSession(id, nil))
					}
				} else {
					o := &usermgr.KickOptions{}
					if how == "by the cluster, revoked" {
						o.RevokeFor = time.Hour
					}
					r, err := w.nodes[0].KickSessions(ctx, append(ids, "nobody's"), o)
					if err != nil || len(r.Value) != many || len(r.Missing) > 0 {
						t.Errorf("%d were kicked, %s, %v", len(r.Value), r.Missing, err)
					}
				}
				time.Sleep(time.Minute)               // until all is told
				if got := asked.Load(); got > 2+6*3 { // to kick; and each node tells two others: of the first, of those that ended meanwhile, of the kick
					t.Errorf("%d questions were asked", got)
				}
				for i, id := range ids {
					for _, n := range w.nodes {
						if _, err := w.logOn(n, usermgr.Logon{UserID: fmt.Sprint("user", i), Session: id}); codeOf(err) == 0 {
							t.Fatalf("user%d is back at %s: %v", i, n.name, err)
						}
					}
				}
				if _, err := w.nodes[0].KickSessions(ctx, ids, nil); !errors.Is(err, usermgr.ErrUnknownID) {
					t.Errorf("a kick that finds no session: %v", err)
				}
			})
		})
	}
}

// Rule 26 over nodes: a kick of a session bans its user on all nodes, from the call on, and also when it is not known where the session is.
func TestAKickOfASessionBansItsUserOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		s := w.mustLogOn(w.nodes[1], "bob", 0)
		if _, err := w.nodes[0].KickSession(context.Background(), s.ID(), &usermgr.KickOptions{BanFor: time.Hour}); err != nil {
			t.Fatal(err)
		}
		w.addNode()
		w.awaitNodes()
		for _, n := range w.nodes {
			if _, err := w.logOn(n, usermgr.Logon{UserID: "bob"}); codeOf(err) != protocol.Unauthorized {
				t.Errorf("bob was answered %v at %s", err, n.name)
			}
		}
	})
}

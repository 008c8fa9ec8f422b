package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// slowly has the user's handlers of one event take so long on a node.
func (w *world) slowly(node, event, user string, d time.Duration) {
	w.log.Inside(func(n, e, u string) {
		if n == node && e == event && u == user {
			time.Sleep(d)
		}
	})
}

// sendWhileALogonWaits has these nodes send a message to bob, one after the other, when the logon that goes on waits.
func (w *world) sendWhileALogonWaits(told func(error), from ...*member) {
	w.t.Helper()
	for _, n := range from {
		synctest.Wait()
		if err := n.send("bob", "from "+n.name, told); err != nil {
			w.t.Fatal(err)
		}
	}
	synctest.Wait()
}

// logOnInVain has bob log on at a node that does not let him in within d. The channel is closed when the logon has failed.
func (w *world) logOnInVain(n *member, d time.Duration) (failed chan struct{}) {
	failed = make(chan struct{})
	go func() {
		defer close(failed)
		if _, err := w.logOnWithin(n, usermgr.Logon{UserID: "bob"}, d); err == nil {
			w.t.Errorf("bob is in at %s", n.name)
		}
	}()
	return failed
}

// Rule 23: a user who moves to another node is online throughout, so messages that come while the handlers of the old session run are
// delivered there, in order, by whichever node they were sent.
func TestAMessageWaitsForTheLogonOfAUserWhoMoves(t *testing.T) {
	for _, event := range []string{"PushedOut", "Disconnected"} {
		t.Run(event, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3, usermgr.Config{})
				a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
				w.mustLogOn(b, "bob", 0)
				w.slowly("b", event, "bob", 5*time.Second)
				var told outcome
				send := func(from *member, body string) {
					t.Helper()
					if err := from.send("bob", body, told.note); err != nil {
						t.Fatal(err)
					}
				}
				if event == "Disconnected" { // the first message goes to the old node, and comes back
					send(a, "at b")
					want(t, b.sessions.take(), "bob@b: at b")
				}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					w.mustLogOn(c, "bob", 0)
				}()
				var all []string
				for i := range 6 {
					time.Sleep(500 * time.Millisecond) // they come over most of the time that the handler takes
					send([]*member{a, b, c}[i%3], fmt.Sprint(i))
					all = append(all, fmt.Sprint("bob@c: ", i))
					synctest.Wait()
				}
				<-ended
				want(t, c.sessions.take(), all...)
				told.is(t)
			})
		})
	}
}

// Rule 23: when the logon for which messages wait fails, they go to where the user is then.
func TestAMessageThatWaitsForALogonThatFailsFollowsTheUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, usermgr.Config{})
		a, b, c, d := w.nodes[0], w.nodes[1], w.nodes[2], w.nodes[3]
		w.mustLogOn(b, "bob", 0)
		w.slowly("b", "Disconnected", "bob", 8*time.Second)
		failed := w.logOnInVain(c, 4*time.Second) // the client leaves
		var told outcome
		w.sendWhileALogonWaits(told.note, a, c)
		w.mustLogOn(d, "bob", 0)
		<-failed
		got := d.sessions.take()
		slices.Sort(got)
		want(t, got, "bob@d: from a", "bob@d: from c")
		told.is(t)
	})
}

// Rule 23: when a logon fails before the old session has heard of it, messages that have waited for the logon go to the old session.
func TestAMessageThatWaitsForALogonThatFailsComesToTheOldSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.mustLogOn(b, "bob", 0)
		w.mesh.Lose(func(_ cluster.Incarnation, frame []byte) bool { return frame[0] == cluster.FrameEvict })
		failed := w.logOnInVain(c, 2*time.Second) // the client leaves
		var told outcome
		w.sendWhileALogonWaits(told.note, a, c)
		c.setFaults(memory.Faults{Before: func(_ context.Context, op string) error { // the claim leaves the store late
			if op == "Swap" {
				time.Sleep(time.Second)
			}
			return nil
		}})
		<-failed
		w.settled()
		got := b.sessions.take()
		slices.Sort(got)
		want(t, got, "bob@b: from a", "bob@b: from c")
		told.is(t)
	})
}

// Rule 23: when the logon for which a message waits fails, the message goes once more to where the user is then, and its sender is told that
// the user is offline if there is no session.
func TestAMessageThatWaitsForALogonThatFailsGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.mustLogOn(b, "bob", 0)
		w.slowly("b", "Disconnected", "bob", 12*time.Second) // longer than a logon may take
		failed := w.logOnInVain(c, 10*time.Second)
		var told outcome
		w.sendWhileALogonWaits(told.note, a, c)
		told.is(t) // it is not known yet
		<-failed
		told.is(t, protocol.UserOffline, protocol.UserOffline)
		want(t, c.sessions.take())
	})
}

// patient stands for a bridge on which logons may take long. It has no sessions.
type patient struct{}

func (patient) LogonDeadline() time.Duration { return time.Minute }

func (patient) Deliver(string, *protocol.Message, uint8, string) error {
	return protocol.Errorf(protocol.UserOffline, "offline")
}

// Rule 23: a sender is told that a message came to no session, however long the logon takes for which it waits.
func TestASenderIsToldOfALogonThatFailsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		if err := a.UseBridge(a.users, patient{}); err != nil {
			t.Fatal(err)
		}
		w.mustLogOn(b, "bob", 0)
		w.slowly("b", "Disconnected", "bob", time.Minute+12*time.Second)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if _, err := w.logOnWithin(c, usermgr.Logon{UserID: "bob"}, time.Minute); err == nil {
				t.Error("bob is in at c while the old session has not ended")
			}
		}()
		var told outcome
		w.sendWhileALogonWaits(told.note, a)
		<-ended
		told.is(t, protocol.UserOffline)
	})
}

// Rule 23: up to 16 MiB of messages wait on a node for logons; the sender of one more is told.
func TestMessagesThatWaitForALogonAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a := w.nodes[0]
		w.mustLogOn(w.nodes[1], "bob", 0)
		mebibyte := strings.Repeat("x", 1<<20)
		for _, move := range [][]*member{{w.nodes[1], w.nodes[2]}, {w.nodes[2], w.nodes[1]}} {
			from, to := move[0], move[1]
			w.slowly(from.name, "PushedOut", "bob", 5*time.Second)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				w.mustLogOn(to, "bob", 0)
			}()
			synctest.Wait() // the logon waits
			var told outcome
			for range 16 {
				if err := a.send("bob", mebibyte, told.note); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			told.is(t, protocol.Refused)
			if queued := to.Stats().Queued; queued < 15<<20 || queued > 16<<20 {
				t.Errorf("%d bytes wait, of 15 messages of 1 MiB", queued)
			}
			<-ended
			if got := to.sessions.take(); len(got) != 15 {
				t.Errorf("of 16 messages of 1 MiB %d came", len(got))
			}
			told.is(t)
			if queued := to.Stats().Queued; queued != 0 {
				t.Errorf("%d bytes wait in the end", queued)
			}
		}
	})
}

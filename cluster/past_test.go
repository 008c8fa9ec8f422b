package cluster_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 26 over nodes: a client that was pushed out does not come back by itself, at any node; a person who logs on anew does.
func TestAClientThatWasPushedOutDoesNotComeBackByItselfAtAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, usermgr.Config{ReturnWins: true})
		first := w.mustLogOn(w.nodes[0], "ann", 0)
		second := w.mustLogOn(w.nodes[1], "ann", 0)
		w.mustLogOn(w.nodes[2], "ann", 0)
		for _, n := range w.nodes {
			for _, s := range []usermgr.Session{first, second} {
				if _, err := w.logOn(n, usermgr.Logon{UserID: "ann", Session: s.ID()}); codeOf(err) != protocol.PushedOut {
					t.Errorf("at %s a client was answered %v", n.name, err)
				}
			}
		}
		if got := w.at(w.nodes[0], "ann"); got != "c" {
			t.Errorf("ann is at %q", got)
		}
		w.mustLogOn(w.nodes[3], "ann", 0)
	})
}

// Rule 26 over nodes: a client whose session was lost does not end a newer login when it comes back by itself, unless ReturnWins.
func TestAClientThatComesBackByItselfEndsNoNewerLoginElsewhere(t *testing.T) {
	for _, mode := range []usermgr.RelogonMode{usermgr.ReplaceOld, usermgr.IgnoreNew} {
		for _, wins := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3, usermgr.Config{RelogonMode: mode, ReturnWins: wins})
				lost := w.mustLogOn(w.nodes[0], "ann", 0)
				lost.End(protocol.HeartbeatTimeout)
				synctest.Wait()
				time.Sleep(time.Second)
				w.mustLogOn(w.nodes[1], "ann", 0)
				_, err := w.logOn(w.nodes[2], usermgr.Logon{UserID: "ann", Session: lost.ID()})
				want := protocol.PushedOut
				switch {
				case wins && mode == usermgr.ReplaceOld:
					want = 0
				case wins:
					want = protocol.AlreadyLoggedOn
				}
				if codeOf(err) != want {
					t.Errorf("mode %v, ReturnWins %v: the client was answered %v", mode, wins, err)
				}
			})
		}
	}
}

// Rule 26 over nodes: a client that has not got the answers to its last logons comes back with the session that it knows, and takes the
// last one over.
func TestAClientComesBackWithAnOlderSessionOfItsOwn(t *testing.T) {
	for _, mode := range []usermgr.RelogonMode{usermgr.ReplaceOld, usermgr.IgnoreNew} {
		for _, token := range []string{"", "secret"} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3, usermgr.Config{RelogonMode: mode})
				s := testkit.Must(w.logOn(w.nodes[0], usermgr.Logon{UserID: "ann", Token: token}))
				for i := range 4 { // its answers are lost
					n := w.nodes[(i+1)%3]
					if _, err := w.logOn(n, usermgr.Logon{UserID: "ann", Token: token, Session: s.ID()}); err != nil {
						t.Fatalf("mode %v, token %q: at %s the client was answered %v", mode, token, n.name, err)
					}
				}
				w.settled()
			})
		}
	}
}

// A record of one session takes at most 64 bytes, with its version, whatever came before the session: Redis stores a larger value, and all
// that are stored with it, in another way.
func TestARecordOfOneSessionStaysSmall(t *testing.T) {
	for _, token := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 3, usermgr.Config{})
			var last usermgr.Session
			for i := range 12 {
				l := usermgr.Logon{UserID: "ann"}
				if token {
					l.Token = string(rune('a' + i))
				}
				if i%2 == 1 {
					l.Session = last.ID()
				}
				last = testkit.Must(w.logOn(w.nodes[i%3], l))
			}
			w.settled()
			r := testkit.Must(w.store.Look(context.Background(), "ann"))
			if size := len(r[0].Body) + 8; size > 64 {
				t.Errorf("the record takes %d bytes", size)
			}
		})
	}
}

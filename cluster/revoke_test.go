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

// Rules 10 and 26: a kick of a user on all nodes also revokes the tokens of sessions that have ended within the grace, on all nodes.
func TestAKickRevokesRecentLoginsOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{OfflineGrace: 30 * time.Second})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		s := testkit.Must(w.logOn(a, usermgr.Logon{UserID: "bob", Token: "secret"}))
		w.deafen(c)
		s.End(protocol.HeartbeatTimeout)
		time.Sleep(time.Second)
		_, _ = b.Kick(context.Background(), "bob", &usermgr.KickOptions{RevokeFor: time.Hour}) // it ends no session
		for _, n := range w.nodes {
			w.refuses(n, usermgr.Logon{UserID: "bob", Token: "secret"}, protocol.Unauthorized)
			w.refuses(n, usermgr.Logon{UserID: "bob", Session: s.ID()}, protocol.Unauthorized)
		}
	})
}

// Rule 26: a logon that waits for the end of a session on another node is refused when a kick revokes its token there, or bans its user, before
// that session has ended.
func TestALogonThatWaitsIsRefusedByAKick(t *testing.T) {
	for name, kick := range map[string]func(n *member, session string) error{
		"that revokes its token": func(n *member, _ string) error {
			_, err := n.Kick(context.Background(), "bob", &usermgr.KickOptions{Devices: []uint16{7}, RevokeFor: time.Hour})
			return err
		},
		"of a session, that bans its user": func(n *member, session string) error {
			_, err := n.KickSession(context.Background(), session, &usermgr.KickOptions{BanFor: time.Hour})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3, usermgr.Config{})
				a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
				l := usermgr.Logon{UserID: "bob", Token: "secret", Device: 7}
				s := testkit.Must(w.logOn(a, l))
				w.awaitAnswers()
				let := make(chan struct{})
				w.log.Inside(func(node, event, _ string) {
					if node == "a" && event == "PushedOut" {
						<-let
					}
				})
				outcome := make(chan error, 1)
				l.Device = 8
				go func() {
					_, err := w.logOn(b, l)
					outcome <- err
				}()
				synctest.Wait()
				time.AfterFunc(5*time.Second, func() { close(let) })
				_ = kick(c, s.ID()) // the session ends for another cause
				if err := <-outcome; codeOf(err) != protocol.Unauthorized {
					t.Errorf("the logon that waited was answered %v", err)
				}
				w.settled()
				for _, n := range w.nodes {
					w.refuses(n, l, protocol.Unauthorized)
				}
			})
		})
	}
}

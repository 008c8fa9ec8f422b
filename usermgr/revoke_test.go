package usermgr_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// H2: with RevokeFor the token of a kicked session, and its ID, are refused for so long, for that user; without it, or
// afterwards, they are not.
func TestRevokedTokenIsRefusedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 9}})
		tries := func(what string, want bool, l usermgr.Logon) {
			t.Helper()
			s, err := m.Register(t.Context(), l, newLink(100))
			if err == nil {
				s.End(protocol.ClientClosed)
			} else if got := refusal(t, err); got != protocol.Unauthorized || strings.Contains(err.Error(), "x") {
				t.Errorf("%s: refused with %v", what, err)
			}
			if got := err == nil; got != want {
				t.Errorf("%s: let in: %v, want %v", what, got, want)
			}
			synctest.Wait()
		}
		first := logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: "x"}, newLink(1))
		logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: "z"}, newLink(2))
		k, err := m.KickSession(first.ID(), &usermgr.KickOptions{RevokeFor: time.Minute})
		kicked(t, k, err)
		time.Sleep(time.Minute - 1)
		j.clear()
		tries("the token", false, usermgr.Logon{UserID: "ann", Token: "x"})
		tries("the session ID as a token", false, usermgr.Logon{UserID: "ann", Token: first.ID()})
		tries("the session ID", false, usermgr.Logon{UserID: "ann", Session: first.ID()})
		j.expect(t) // and nothing was told of it
		tries("another token", true, usermgr.Logon{UserID: "ann", Token: "y"})
		tries("no token", true, usermgr.Logon{UserID: "ann"})
		tries("another user", true, usermgr.Logon{UserID: "bob", Token: "x"})
		time.Sleep(time.Nanosecond)
		tries("the token, later", true, usermgr.Logon{UserID: "ann", Token: "x"})

		third := logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: "w"}, newLink(3))
		k, err = m.KickSession(third.ID(), nil)
		kicked(t, k, err)
		tries("a token that was not revoked", true, usermgr.Logon{UserID: "ann", Token: "w"})
	})
}

// Rules 4 and 10, H2: a logon with the token that waits behind the kick is refused in its turn.
func TestRevokedTokenIsRefusedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{})
		link := newLink(1)
		s := logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: "x"}, link)
		j.clear()
		link.handlerStarts()
		k, err := m.KickSession(s.ID(), &usermgr.KickOptions{RevokeFor: time.Minute})
		refused := make(chan error, 1)
		go func() {
			_, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Token: "x"}, newLink(2))
			refused <- err
		}()
		synctest.Wait()
		link.handlerReturns()
		kicked(t, k, err)
		if got := refusal(t, <-refused); got != protocol.Unauthorized {
			t.Errorf("the logon ended with %v, want Unauthorized", got)
		}
		j.expect(t, "Disconnected ann@1 KickedOut", "Offline ann")
	})
}

// H2: a token is revoked too when its session has just ended by itself, or its user is within the grace.
func TestRevokeReachesSessionsThatAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := watched(t, usermgr.Config{OfflineGrace: time.Minute})
		s := logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: "in the grace"}, newLink(1))
		s.End(protocol.NetworkError)
		synctest.Wait()
		if _, err := m.Kick("ann", &usermgr.KickOptions{RevokeFor: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if !refusesToken(t, m, "in the grace") {
			t.Error("the token of a user within the grace is let in")
		}

		link := newLink(2)
		link.handlerStarts() // so that the end takes a while
		s = logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: "dying"}, link)
		s.End(protocol.NetworkError)
		synctest.Wait()
		k, err := m.KickSession(s.ID(), &usermgr.KickOptions{RevokeFor: time.Hour})
		link.handlerReturns()
		if got := kicked(t, k, err); len(got) != 0 {
			t.Errorf("a kick of a session that was ending by itself tells of %q", got)
		}
		if !refusesToken(t, m, "dying") {
			t.Error("the token of a session that was about to end is let in")
		}
	})
}

// H2: a kick of all of the user revokes the tokens of all the devices whose sessions have ended within the grace, whichever still live.
func TestRevokeReachesEveryDeviceThatHasLeft(t *testing.T) {
	for name, desktopLives := range map[string]bool{"both have left": false, "one lives": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, usermgr.Config{OfflineGrace: time.Minute, Devices: usermgr.Devices{MaxSessions: 3}, HeartbeatTimeout: -1})
				on := func(conn uint64) usermgr.Session {
					return logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: fmt.Sprint("token ", conn)}, newLink(conn))
				}
				leave := func(s usermgr.Session) {
					s.End(protocol.NetworkError)
					synctest.Wait()
				}
				early, phone, desktop := on(1), on(2), on(3)
				leave(early)
				time.Sleep(30 * time.Second)
				leave(phone)
				time.Sleep(31 * time.Second) // the first one's grace is over
				if !desktopLives {
					leave(desktop)
				}
				k, err := m.Kick("ann", &usermgr.KickOptions{RevokeFor: time.Hour})
				kicked(t, k, err)
				for conn, want := range map[int]bool{1: false, 2: true, 3: true} {
					if got := refusesToken(t, m, fmt.Sprint("token ", conn)); got != want {
						t.Errorf("the token of %d is refused: %v, want %v", conn, got, want)
					}
				}
			})
		})
	}
}

// H2: whether a session lives at a kick or ends in that moment, its token is revoked.
func TestRevokeReachesASessionThatEndsInThatMoment(t *testing.T) {
	m := newManager(t, usermgr.Config{OfflineGrace: time.Hour, HeartbeatTimeout: -1})
	for i := range 300 {
		token := fmt.Sprint("token ", i)
		s := logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: token}, newLink(uint64(i)))
		go s.End(protocol.NetworkError)
		for range i % 30 {
			runtime.Gosched()
		}
		k, err := m.Kick("ann", &usermgr.KickOptions{RevokeFor: time.Hour})
		kicked(t, k, err)
		if !refusesToken(t, m, token) {
			t.Fatalf("in round %d the token was let in", i)
		}
	}
}

// A client that comes and goes all the time does not fill the memory: of its logins the latest 64 are known.
func TestRevokeReachesTheLatestLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{OfflineGrace: time.Minute})
		for conn := range uint64(70) {
			s := logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: fmt.Sprint("token ", conn)}, newLink(conn))
			s.End(protocol.NetworkError)
			synctest.Wait()
		}
		k, err := m.Kick("ann", &usermgr.KickOptions{RevokeFor: time.Hour})
		kicked(t, k, err)
		for conn, want := range map[int]bool{5: false, 6: true, 69: true} {
			if got := refusesToken(t, m, fmt.Sprint("token ", conn)); got != want {
				t.Errorf("the token of %d is refused: %v, want %v", conn, got, want)
			}
		}
	})
}

// refusesToken reports whether a logon of ann with the token is refused. One that is let in ends again.
func refusesToken(t *testing.T, m *usermgr.Manager, token string) bool {
	t.Helper()
	s, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Token: token}, newLink(999))
	if err != nil {
		return refusal(t, err) == protocol.Unauthorized
	}
	s.End(protocol.KickedOut)
	return false
}

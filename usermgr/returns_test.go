package usermgr_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// comeBack logs ann on with the ID of a session, and returns the new session or the refusal.
func comeBack(t *testing.T, m *usermgr.Manager, conn uint64, l usermgr.Logon) (usermgr.Session, *protocol.CloseError) {
	t.Helper()
	l.UserID = "ann"
	s, err := m.Register(t.Context(), l, newLink(conn))
	var refused *protocol.CloseError
	if err != nil && !errors.As(err, &refused) {
		t.Fatalf("logon %d failed with %v", conn, err)
	}
	return s, refused
}

// wantRefused fails the test unless the logon was refused with this code and text.
func wantRefused(t *testing.T, refused *protocol.CloseError, code protocol.CloseCode, text string) {
	t.Helper()
	if refused == nil || refused.Code != code || refused.Text != text {
		t.Errorf("the client that came back was answered %v, want %v %q", refused, code, text)
	}
}

func wantIn(t *testing.T, refused *protocol.CloseError) {
	t.Helper()
	if refused != nil {
		t.Errorf("the client that came back was refused: %v", refused)
	}
}

// Rule 26: a client that never heard how its session ended is told when it comes back with it, where the code says that it
// should not have come. The user's newer session is not touched.
func TestAClientIsRefusedWithTheCodeOfItsSession(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(m *usermgr.Manager, s usermgr.Session)
		code protocol.CloseCode // 0: it is let in
		text string
	}{
		{"a kick", func(m *usermgr.Manager, _ usermgr.Session) {
			_, _ = m.Kick("ann", &usermgr.KickOptions{Text: "enough"})
		}, protocol.KickedOut, "enough"},
		{"a kick without a text", func(m *usermgr.Manager, s usermgr.Session) {
			_, _ = m.KickSession(s.ID(), nil)
		}, protocol.KickedOut, ""},
		{"the application's code", func(m *usermgr.Manager, _ usermgr.Session) { endUser(m, "ann", 4321, "gone") }, 4321, "gone"},
		{"a code of no class", func(m *usermgr.Manager, _ usermgr.Session) { endUser(m, "ann", 7000, "") }, 7000, ""},
		{"a broken frame", func(_ *usermgr.Manager, s usermgr.Session) { s.End(protocol.InvalidMessage) }, protocol.InvalidMessage, ""},
		{"a code after which it may return", func(m *usermgr.Manager, _ usermgr.Session) { endUser(m, "ann", 3000, "later") }, 0, ""},
		{"the network", func(_ *usermgr.Manager, s usermgr.Session) { s.End(protocol.NetworkError) }, 0, ""},
		{"the client itself", func(_ *usermgr.Manager, s usermgr.Session) { s.End(protocol.ClientClosed) }, 0, ""},
		{"a Clear", func(m *usermgr.Manager, _ usermgr.Session) { startClear(m) }, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, usermgr.Config{})
				s := logOn(t, m, "ann", newLink(1))
				c.end(m, s)
				synctest.Wait()
				_, refused := comeBack(t, m, 2, usermgr.Logon{Session: s.ID()})
				if c.code == 0 {
					wantIn(t, refused)
					return
				}
				wantRefused(t, refused, c.code, c.text)
				_, refused = comeBack(t, m, 3, usermgr.Logon{}) // a person asks
				wantIn(t, refused)
				if _, err := m.Register(t.Context(), usermgr.Logon{UserID: "bob", Session: s.ID()}, newLink(4)); err != nil {
					t.Errorf("another user, to whom the ID means nothing, was refused: %v", err)
				}
			})
		})
	}
}

// Rule 26: the notice of PushedOut is lost, and the client comes back by itself. The newer login stays.
func TestAPushedOutClientDoesNotPushOutTheNewerLogin(t *testing.T) {
	for _, returnWins := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m, j := watched(t, usermgr.Config{ReturnWins: returnWins})
			a := logOn(t, m, "ann", newLink(1))
			logOn(t, m, "ann", newLink(2))
			j.clear()
			_, refused := comeBack(t, m, 3, usermgr.Logon{Session: a.ID()})
			wantRefused(t, refused, protocol.PushedOut, "the same user logged on again")
			j.expect(t)
		})
	}
}

// Rule 26: a session ends otherwise, another client logs on, and the first one comes back by itself.
func TestAReturningClientDoesNotPushOutANewerLogin(t *testing.T) {
	const old, keep = usermgr.ReplaceOld, usermgr.IgnoreNew
	for _, c := range []struct {
		name    string
		cfg     usermgr.Config
		first   usermgr.Logon
		newer   usermgr.Logon
		back    usermgr.Logon
		refused protocol.CloseCode
		where   []uint64
	}{
		{name: "one session", refused: protocol.PushedOut, where: []uint64{2}},
		{name: "one session, ReturnWins", cfg: usermgr.Config{ReturnWins: true}, where: []uint64{3}},
		{name: "old sessions stay", cfg: usermgr.Config{RelogonMode: keep}, refused: protocol.PushedOut, where: []uint64{2}},
		{name: "old sessions stay, ReturnWins", cfg: usermgr.Config{RelogonMode: keep, ReturnWins: true},
			refused: protocol.AlreadyLoggedOn, where: []uint64{2}},
		{name: "the newer one is on another device", cfg: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}},
			newer: usermgr.Logon{Device: 2}, where: []uint64{2, 3}},
		{name: "the newer one is on the same device", cfg: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}},
			refused: protocol.PushedOut, where: []uint64{2}},
		{name: "it would be over the number", cfg: usermgr.Config{Devices: usermgr.Devices{MaxSessions: 1}}, newer: usermgr.Logon{Device: 2},
			refused: protocol.PushedOut, where: []uint64{2}},
		{name: "the newer one has the same token", first: usermgr.Logon{Token: "x"}, newer: usermgr.Logon{Token: "x"},
			back: usermgr.Logon{Token: "x"}, where: []uint64{3}},
		{name: "the newer one has another token", first: usermgr.Logon{Token: "x"}, newer: usermgr.Logon{Token: "y"},
			back: usermgr.Logon{Token: "x"}, refused: protocol.PushedOut, where: []uint64{2}},
		{name: "there are two tokens, and the newer one has neither", cfg: usermgr.Config{RelogonMode: old, Devices: usermgr.Devices{MaxSessions: 2}},
			first: usermgr.Logon{Token: "x"}, newer: usermgr.Logon{Token: "y"}, back: usermgr.Logon{Token: "z"}, where: []uint64{2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, c.cfg)
				c.first.UserID, c.newer.UserID = "ann", "ann"
				a := logOnAs(t, m, c.first, newLink(1))
				a.End(protocol.HeartbeatTimeout)
				synctest.Wait()
				logOnAs(t, m, c.newer, newLink(2))
				c.back.Session = a.ID()
				_, refused := comeBack(t, m, 3, c.back)
				if c.refused == 0 {
					wantIn(t, refused)
				} else if refused == nil || refused.Code != c.refused {
					t.Errorf("the client that came back was answered %v, want %v", refused, c.refused)
				}
				if got := connsOf(m, "ann"); !slices.Equal(got, c.where) {
					t.Errorf("ann is on connections %v, want %v", got, c.where)
				}
			})
		})
	}
}

// Rule 26: a login that is older than the session, or has gone, does not stop a returning client.
func TestAReturningClientMayPushOutAnOlderLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
		onDevice(t, m, "ann", 1, newLink(1))
		a := onDevice(t, m, "ann", 2, newLink(2))
		a.End(protocol.NetworkError)
		synctest.Wait()
		_, refused := comeBack(t, m, 3, usermgr.Logon{Session: a.ID(), Device: 1})
		wantIn(t, refused)

		b := onDevice(t, m, "ann", 3, newLink(4))
		b.End(protocol.NetworkError)
		newer := onDevice(t, m, "ann", 4, newLink(5))
		newer.End(protocol.NetworkError)
		synctest.Wait()
		_, refused = comeBack(t, m, 6, usermgr.Logon{Session: b.ID(), Device: 3})
		wantIn(t, refused)
	})
}

// Rule 26: the sessions with which a client comes back are a chain. The answer to a take-over is lost, again and again, and the
// client comes back with the ID it knows; it is its own newest session that it takes over, or continues.
func TestAnyIDOfAChainStandsForItsLastSession(t *testing.T) {
	for name, mode := range map[string]usermgr.RelogonMode{"ReplaceOld": usermgr.ReplaceOld, "IgnoreNew": usermgr.IgnoreNew} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, usermgr.Config{RelogonMode: mode})
				chain := []usermgr.Session{logOn(t, m, "ann", newLink(1))}
				comeBackWith := func(i int) *protocol.CloseError {
					t.Helper()
					s, refused := comeBack(t, m, uint64(len(chain)+1), usermgr.Logon{Session: chain[i].ID()})
					if refused == nil {
						chain = append(chain, s)
					}
					return refused
				}
				wantIn(t, comeBackWith(0)) // takes over
				wantIn(t, comeBackWith(0)) // the answer was lost: takes over the last one
				wantIn(t, comeBackWith(1))
				chain[3].End(protocol.NetworkError)
				synctest.Wait()
				wantIn(t, comeBackWith(0)) // the last one has ended by itself
				wantIn(t, comeBackWith(3))
				wantIn(t, comeBackWith(2))
				for _, s := range chain[:6] {
					if _, ok := m.Session(s.ID()); ok {
						t.Errorf("session %s of the chain still lives", s.ID())
					}
				}
				if _, err := m.Kick("ann", &usermgr.KickOptions{Text: "out"}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				logOn(t, m, "ann", newLink(100))
				for i := range chain {
					wantRefused(t, comeBackWith(i), protocol.KickedOut, "out")
				}
			})
		})
	}
}

// Rule 26: only a login outside the chain is newer.
func TestTheLastOfAChainSaysWhatIsNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
		first := onDevice(t, m, "ann", 1, newLink(1))
		onDevice(t, m, "ann", 2, newLink(2))
		last, refused := comeBack(t, m, 3, usermgr.Logon{Session: first.ID(), Device: 1})
		wantIn(t, refused)
		last.End(protocol.NetworkError)
		synctest.Wait()
		// Over the number, and in the way, is the session on 2: newer than the first of the chain, not than the last.
		onDevice(t, m, "ann", 3, newLink(4))
		if _, err := m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{3}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, refused = comeBack(t, m, 5, usermgr.Logon{Session: first.ID(), Device: 2})
		wantIn(t, refused)
	})
}

// Rule 26: a session that ends because its token comes again is continued by the one that shows it, with or without its ID.
func TestTheSameTokenContinuesASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		phone := logOnAs(t, m, usermgr.Logon{UserID: "ann", Device: 1, Token: "x"}, newLink(1))
		tablet := logOnAs(t, m, usermgr.Logon{UserID: "ann", Device: 2, Token: "y"}, newLink(2))
		logOnAs(t, m, usermgr.Logon{UserID: "ann", Device: 3, Token: "x", Session: tablet.ID()}, newLink(3)) // of both
		for i, id := range []string{phone.ID(), tablet.ID()} {
			_, refused := comeBack(t, m, uint64(4+i), usermgr.Logon{Session: id, Device: 3})
			wantIn(t, refused)
		}
		if got := connsOf(m, "ann"); !slices.Equal(got, []uint64{5}) {
			t.Errorf("ann is on connections %v, want 5 alone", got)
		}
	})
}

// Rule 26: how a session ended is remembered for an hour; then its ID means nothing any more.
func TestAnEndIsRememberedForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		a := logOn(t, m, "ann", newLink(1))
		logOn(t, m, "ann", newLink(2))
		time.Sleep(time.Hour - time.Second)
		_, refused := comeBack(t, m, 3, usermgr.Logon{Session: a.ID()})
		wantRefused(t, refused, protocol.PushedOut, "the same user logged on again")
		time.Sleep(time.Second)
		_, refused = comeBack(t, m, 4, usermgr.Logon{Session: a.ID()})
		wantIn(t, refused)
	})
}

// Rule 26: a client that takes its session over in the moment of the kick is refused, and pushes out no session.
func TestATakeOverOfASessionThatIsBeingKickedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		onDevice(t, m, "ann", 2, newLink(1))
		link := newLink(2)
		a := onDevice(t, m, "ann", 1, link)
		link.handlerStarts()
		if _, err := m.KickSession(a.ID(), &usermgr.KickOptions{Text: "out"}); err != nil {
			t.Fatal(err)
		}
		answered := make(chan *protocol.CloseError)
		go func() {
			_, refused := comeBack(t, m, 3, usermgr.Logon{Session: a.ID(), Device: 2})
			answered <- refused
		}()
		synctest.Wait()
		link.handlerReturns()
		wantRefused(t, <-answered, protocol.KickedOut, "out")
		j.expect(t, "Connected ann@1", "Connected ann@2", "Disconnected ann@2 KickedOut")
	})
}

package usermgr_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 8, H3: a session on which nothing but heartbeats has come for the idle time expires, with a code of its own. It is
// found within a sixtieth of the time, or a second; the user is there while Expired's handlers run.
func TestSessionThatSendsNothingButHeartbeatsExpires(t *testing.T) {
	for _, c := range []struct{ idle, within time.Duration }{
		{time.Hour, time.Minute}, {20 * time.Second, time.Second}, {100 * time.Millisecond, 100 * time.Millisecond},
	} {
		t.Run(c.idle.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watchedAll(t, usermgr.Config{IdleTimeout: c.idle, HeartbeatTimeout: 30 * time.Second})
				m.Subscribe(usermgr.Events{Expired: func(usermgr.SessionInfo) { j.add("online: %v", m.IsOnline("ann")) }})
				link := newLink(1)
				link.journal = j
				s := logOn(t, m, "ann", link)
				stop := beats(s)
				time.Sleep(c.idle - 1)
				synctest.Wait()
				j.expect(t, "Online ann@1", "Connected ann@1")
				time.Sleep(c.within + 1)
				synctest.Wait()
				stop()
				j.expect(t, "Expired ann@1", "online: true", "Disconnected ann@1 SessionExpired", "closed @1 SessionExpired", "Offline ann")
			})
		})
	}
}

// beats has a client send a heartbeat every 50 ms.
func beats(s usermgr.Session) (stop func()) {
	quit := make(chan struct{})
	go func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(50 * time.Millisecond):
				s.Beat()
			}
		}
	}()
	return func() { close(quit) }
}

// Rule 8, H3: messages and touches keep a session from expiring; bytes alone, and what is sent, do not.
func TestSignsThatSomebodyIsThere(t *testing.T) {
	for _, c := range []struct {
		name string
		sign func(*usermgr.Manager, usermgr.Session)
		want bool
	}{
		{"Received", func(_ *usermgr.Manager, s usermgr.Session) { s.Received(1, 1, 100) }, true},
		{"Touch", func(m *usermgr.Manager, s usermgr.Session) { m.Touch("ann") }, true},
		{"TouchSession", func(m *usermgr.Manager, s usermgr.Session) { m.TouchSession(s.ID()) }, true},
		{"Beat", func(_ *usermgr.Manager, s usermgr.Session) { s.Beat() }, false},
		{"Sent", func(_ *usermgr.Manager, s usermgr.Session) { s.Sent(1, 1, 100) }, false},
		{"SetSessionTag", func(m *usermgr.Manager, s usermgr.Session) { m.SetSessionTag(s.ID(), time.Now().String()) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, usermgr.Config{IdleTimeout: 10 * time.Second, HeartbeatTimeout: -1})
				s := logOn(t, m, "ann", newLink(1))
				for range 6 {
					time.Sleep(5 * time.Second)
					c.sign(m, s)
				}
				synctest.Wait()
				if got := m.IsOnline("ann"); got != c.want {
					t.Errorf("after 30 s with a sign every 5 s, and an idle time of 10 s: online %v, want %v", got, c.want)
				}
			})
		})
	}
}

// Rule 8, H3: each session of a user is idle by itself, and the end of one cleans up what led to it.
func TestExpiryIsOfOneSessionAndCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{IdleTimeout: 10 * time.Second, Devices: oneOnEach(1, 2)})
		idle := onDevice(t, m, "ann", 1, newLink(1))
		m.SetSessionTag(idle.ID(), "x")
		time.Sleep(8 * time.Second)
		busy := onDevice(t, m, "ann", 2, newLink(2))
		time.Sleep(4 * time.Second)
		synctest.Wait()
		j.expect(t, "Online ann@1", "Connected ann@1", `Tagged ann@1 "x", was ""`, "Connected ann@2",
			"Expired ann@1", "Disconnected ann@1 SessionExpired")
		expectGone(t, m, idle.ID(), newLink(1).Address())
		if got := m.Stats(); got.Sessions != 1 || !maps.Equal(got.Devices, map[uint16]int{1: 0, 2: 1}) || !m.IsOnline("ann") {
			t.Errorf("there are %d sessions, by device %v; ann is online: %v", got.Sessions, got.Devices, m.IsOnline("ann"))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		j.expect(t, "Expired ann@2", "Disconnected ann@2 SessionExpired", "Offline ann")
		expectGone(t, m, busy.ID(), newLink(2).Address())
		if got := m.Stats(); got.Sessions != 0 || !maps.Equal(got.Devices, map[uint16]int{1: 0, 2: 0}) || m.Count() != 0 {
			t.Errorf("there are %d sessions, by device %v, and %d users, but nobody is online", got.Sessions, got.Devices, m.Count())
		}
	})
}

// expectGone fails the test if anything leads to a session.
func expectGone(t *testing.T, m *usermgr.Manager, sessionID string, a usermgr.Address) {
	t.Helper()
	if _, ok := m.Session(sessionID); ok {
		t.Error("the session's ID still leads to it")
	}
	if s, ok := m.SessionAt(a.Conn); ok {
		t.Errorf("the address still leads to %v", s)
	}
	if m.TouchSession(sessionID) || m.SetSessionTag(sessionID, "x") {
		t.Error("the session can still be touched, or tagged")
	}
	if _, err := m.KickSession(sessionID, nil); err == nil {
		t.Error("the session can still be kicked")
	}
}

// H3: an end of whatever kind cleans every index; so does a refusal.
func TestEveryEndCleansEveryIndex(t *testing.T) {
	for name, end := range map[string]func(*usermgr.Manager, usermgr.Session){
		"End":  func(_ *usermgr.Manager, s usermgr.Session) { s.End(protocol.NetworkError) },
		"Kick": func(m *usermgr.Manager, s usermgr.Session) { endUser(m, "ann", protocol.ClientClosed, "") },
		"Kick of a device": func(m *usermgr.Manager, s usermgr.Session) {
			_, _ = m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{7}})
		},
		"Clear": func(m *usermgr.Manager, s usermgr.Session) { startClear(m) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, usermgr.Config{Devices: oneOnEach(7), RelogonMode: usermgr.IgnoreNew, HeartbeatTimeout: -1})
				s := onDevice(t, m, "ann", 7, newLink(1))
				m.SetSessionTag(s.ID(), "x")
				m.SetTag("ann", "y")
				if _, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Device: 7}, newLink(2)); err == nil {
					t.Error("the second session was not refused")
				}
				end(m, s)
				synctest.Wait()
				expectGone(t, m, s.ID(), newLink(1).Address())
				if _, ok := m.SessionAt(newLink(2).Address().Conn); ok {
					t.Error("the refused connection has a user")
				}
				if d, known := m.User("ann"); known || m.IsOnline("ann") {
					t.Errorf("ann is known: %v, %+v", known, d)
				}
				if got := m.Stats(); got.Users != 0 || got.Sessions != 0 || got.Devices[7] != 0 {
					t.Errorf("there are %d users, and %d sessions, by device %v", got.Users, got.Sessions, got.Devices)
				}
				onDevice(t, m, "ann", 7, newLink(3))
				if d, _ := m.User("ann"); d.Tag != "" || d.Sessions[0].Tag != "" {
					t.Errorf("ann is back with the tags %q and %q", d.Tag, d.Sessions[0].Tag)
				}
			})
		})
	}
}

// Rule 8: whether the session is idle is checked again in its user's turn.
func TestIdlenessIsLookedAtAgainInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{IdleTimeout: 10 * time.Second, Devices: usermgr.Devices{OnePerClass: true}})
		s := onDevice(t, m, "ann", 1, newLink(1))
		time.Sleep(9 * time.Second)
		thaw := make(chan struct{})
		unsubscribe := m.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { <-thaw }})
		go onDevice(t, m, "ann", 2, newLink(2)) // holds the turn
		time.Sleep(5 * time.Second)             // the first is found idle
		s.Received(1, 1, 10)
		unsubscribe()
		close(thaw)
		synctest.Wait()
		j.expect(t, "Online ann@1", "Connected ann@1", "Connected ann@2")
		time.Sleep(9 * time.Second)
		synctest.Wait()
		j.expect(t)
		time.Sleep(2 * time.Second) // and it is checked again afterwards
		synctest.Wait()
		j.sort()
		j.expect(t, "Disconnected ann@1 SessionExpired", "Disconnected ann@2 SessionExpired", "Expired ann@1", "Expired ann@2",
			"Offline ann")
	})
}

// Rules 5, 8 and 10: Expired waits for the last message handler; it may block and panic, and what it sends is counted.
func TestExpiredIsAnEventLikeTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{IdleTimeout: 10 * time.Second})
		var s usermgr.Session
		m.Subscribe(usermgr.Events{
			Expired: func(usermgr.SessionInfo) {
				time.Sleep(time.Hour)
				s.Sent(1, 1, 10)
				panic("oh no")
			},
			Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) { j.add("sent %d", s.Out.Bytes) },
		})
		link := newLink(1)
		s = logOn(t, m, "ann", link)
		logOn(t, m, "bob", newLink(2)).End(protocol.ClientClosed)
		synctest.Wait()
		j.clear()
		link.handlerStarts()
		time.Sleep(12 * time.Second)
		synctest.Wait()
		j.expect(t)
		link.handlerReturns()
		time.Sleep(time.Minute)
		logOn(t, m, "bob", newLink(3)).End(protocol.ClientClosed) // does not wait
		time.Sleep(time.Hour)
		synctest.Wait()
		j.expect(t, "Expired ann@1", "Online bob@3", "Connected bob@3", "Disconnected bob@3 ClientClosed", "sent 0", "Offline bob",
			"Disconnected ann@1 SessionExpired", "sent 10", "Offline ann")
		if n := m.Stats().HandlerPanics; n != 1 {
			t.Errorf("HandlerPanics is %d, want 1", n)
		}
	})
}

// Rule 8: by default no session expires.
func TestWithoutIdleTimeoutNobodyExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		j.expect(t, "Online ann@1", "Connected ann@1")
	})
}

// H4: one session a user unless more are allowed; created, changed, deleted and swept are events.
func TestLifeOfASessionIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{IdleTimeout: time.Minute})
		first := logOn(t, m, "ann", newLink(1))
		m.SetSessionTag(first.ID(), "x")
		synctest.Wait()
		logOn(t, m, "ann", newLink(2)).End(protocol.ClientClosed)
		synctest.Wait()
		logOn(t, m, "ann", newLink(3))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		j.expect(t, "Online ann@1", "Connected ann@1", `Tagged ann@1 "x", was ""`,
			"PushedOut ann@1 by @2", "Disconnected ann@1 PushedOut", "Connected ann@2", "Disconnected ann@2 ClientClosed", "Offline ann",
			"Online ann@3", "Connected ann@3", "Expired ann@3", "Disconnected ann@3 SessionExpired", "Offline ann")
	})
}

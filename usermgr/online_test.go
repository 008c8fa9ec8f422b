package usermgr_test

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// S1: a session has its login's token, device, times and metadata. Two devices of one user are one user and two sessions.
func TestTwoDevicesAreOneUserAndTwoSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: oneOnEach(1, 2)})
		began := time.Now()
		phone := logOnAs(t, m, usermgr.Logon{UserID: "ann", Device: 1, Token: "x", Fields: map[string]string{
			"app": "2.1", protocol.FieldToken: "x", protocol.FieldSession: "y"}}, newLink(1))
		tablet := onDevice(t, m, "ann", 2, newLink(2))
		if n, users := m.Count(), slices.Collect(m.Users()); n != 1 || !slices.Equal(users, []string{"ann"}) {
			t.Errorf("%d users are online: %v", n, users)
		}
		if got := m.Stats(); got.Sessions != 2 || !maps.Equal(got.Devices, map[uint16]int{1: 1, 2: 1}) {
			t.Errorf("there are %d sessions, by device %v", got.Sessions, got.Devices)
		}
		all := sessionsOf(m, "ann")
		if len(all) != 2 {
			t.Fatalf("ann has the sessions %+v", all)
		}
		want := usermgr.SessionInfo{UserID: "ann", ID: phone.ID(), Token: "x", Address: newLink(1).Address(), Device: 1,
			Fields: map[string]string{"app": "2.1"}, LogonTime: began, LastActive: began, LastMessage: began}
		got := all[0]
		for _, at := range []*time.Time{&got.LogonTime, &got.LastActive, &got.LastMessage} {
			if isAt(*at, began) {
				*at = began // without the monotonic clock they would differ
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the phone's session is\n%+v\nwant\n%+v", got, want)
		}
		if s := all[1]; s.ID != tablet.ID() || s.Token != tablet.ID() || s.Device != 2 || s.Fields != nil {
			t.Errorf("the tablet's session is %+v", s)
		}
	})
}

// S2, rule 17: one session of several leaves the user online, the last one takes it along, and unknown IDs do nothing.
func TestUserIsOnlineUntilTheLastSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		var counts []int
		m.Subscribe(usermgr.Events{UserCountChanged: func(n int) { counts = append(counts, n) }})
		first := onDevice(t, m, "ann", 1, newLink(1))
		second := onDevice(t, m, "ann", 2, newLink(2))
		synctest.Wait() // the count is told
		wait(t, endSession(m, "0190b3a2-0000-7000-8000-000000000000", protocol.ClientClosed, ""))
		wait(t, endSession(m, first.ID(), protocol.ClientClosed, ""))
		j.expect(t, "Online ann@1", "Connected ann@1", "Connected ann@2", "Disconnected ann@1 ClientClosed")
		if !m.IsOnline("ann") {
			t.Error("ann is offline, and has a session")
		}
		wait(t, endSession(m, second.ID(), protocol.ClientClosed, ""))
		synctest.Wait()
		j.expect(t, "Disconnected ann@2 ClientClosed", "Offline ann")
		if m.IsOnline("ann") || !slices.Equal(counts, []int{1, 0}) {
			t.Errorf("ann is online: %v, the counts were %v", m.IsOnline("ann"), counts)
		}
	})
}

// S2, rule 17: all sessions of a user at once.
func TestKickEndsAllSessionsOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 3}})
		for conn := range uint64(3) {
			logOn(t, m, "ann", newLink(conn))
		}
		j.clear()
		if n := wait(t, endUser(m, "ann", protocol.ClientClosed, "")); n != 3 {
			t.Errorf("%d sessions were ended, want 3", n)
		}
		j.expect(t, "Disconnected ann@0 ClientClosed", "Disconnected ann@1 ClientClosed", "Disconnected ann@2 ClientClosed",
			"Offline ann")
	})
}

// S2: a session is taken offline by its token, the Logon's or the session's own; another user's and an unknown one do
// nothing.
func TestKickByTokenEndsThatSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 3}})
		for conn, token := range []string{"t-0", "t-1", ""} {
			l := usermgr.Logon{UserID: "ann", Token: token}
			if _, err := m.Register(t.Context(), l, newLink(uint64(conn))); err != nil {
				t.Fatal(err)
			}
		}
		third := sessionsOf(m, "ann")[2]
		j.clear()
		for _, tc := range []struct {
			user, token string
			ends        int
		}{{"ann", "t-1", 1}, {"ann", "t-1", 0}, {"bob", "t-0", 0}, {"ann", "nonsense", 0}, {"ann", third.Token, 1}} {
			if n := wait(t, endToken(m, tc.user, tc.token, protocol.ClientClosed, "")); n != tc.ends {
				t.Errorf("%s of %s ended %d sessions, want %d", tc.token, tc.user, n, tc.ends)
			}
		}
		j.expect(t, "Disconnected ann@1 ClientClosed", "Disconnected ann@2 ClientClosed")
	})
}

// S3: the sessions of a user are none for who is absent, and a sign of life of one is no other's.
func TestActivityIsOneSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		onDevice(t, m, "ann", 1, newLink(1))
		second := onDevice(t, m, "ann", 2, newLink(2))
		if got := sessionsOf(m, "bob"); len(got) != 0 {
			t.Errorf("bob, who never came, has the sessions %v", got)
		}
		began := time.Now()
		time.Sleep(10 * time.Second)
		if !m.TouchSession(second.ID()) || m.TouchSession("no session") {
			t.Error("TouchSession does not tell whether the session is there")
		}
		all := sessionsOf(m, "ann")
		if !isAt(all[0].LastActive, began) || !isAt(all[0].LastMessage, began) {
			t.Errorf("the first session was active at %v", all[0].LastActive)
		}
		for _, at := range []time.Time{all[1].LastActive, all[1].LastMessage} {
			if off := time.Since(at); off > 100*time.Millisecond {
				t.Errorf("the second session was active %v ago", off)
			}
		}
		time.Sleep(10 * time.Second)
		m.Touch("ann")
		for _, s := range sessionsOf(m, "ann") {
			if time.Since(s.LastActive) > 100*time.Millisecond || time.Since(s.LastMessage) > 100*time.Millisecond {
				t.Errorf("after Touch, a session was active at %v", s.LastActive)
			}
		}
	})
}

// Rule 17: in Online lookups have the session already, in the last Disconnected the user is offline already.
func TestOnlineAndOfflineStandAroundTheSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newManager(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}), new(journal)
		look := func(event string) {
			j.add("%s: online %v, %d users, on %v", event, m.IsOnline("ann"), m.Count(), connsOf(m, "ann"))
		}
		m.Subscribe(usermgr.Events{
			Online:       func(usermgr.UserData) { look("Online") },
			Connected:    func(usermgr.SessionInfo) { look("Connected") },
			Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { look("Disconnected") },
			Offline:      func(usermgr.UserData) { look("Offline") },
		})
		first, second := onDevice(t, m, "ann", 1, newLink(1)), onDevice(t, m, "ann", 2, newLink(2))
		first.End(protocol.ClientClosed)
		synctest.Wait()
		second.End(protocol.ClientClosed)
		synctest.Wait()
		j.expect(t, "Online: online true, 1 users, on [1]", "Connected: online true, 1 users, on [1]",
			"Connected: online true, 1 users, on [1 2]", "Disconnected: online true, 1 users, on [2]",
			"Disconnected: online false, 0 users, on []", "Offline: online false, 0 users, on []")
	})
}

// Rules 10 and 17: Online and Offline delay their own user alone, and a panic in them delays no user.
func TestOnlineAndOfflineMayBlockAndPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		m.Subscribe(usermgr.Events{Online: func(usermgr.UserData) { panic("oh") }, Offline: func(usermgr.UserData) { panic("no") }})
		thaw := make(chan struct{})
		m.Subscribe(usermgr.Events{
			Online: func(u usermgr.UserData) {
				if u.UserID == "frozen" {
					<-thaw
				}
			},
			Offline: func(u usermgr.UserData) {
				if u.UserID == "frozen" {
					time.Sleep(time.Second)
				}
			},
		})
		j := new(journal)
		m.Subscribe(j.handlers())
		m.Subscribe(j.rest())
		beginLogOn(t, m, "frozen", newLink(1))
		synctest.Wait()
		logOn(t, m, "ann", newLink(2)).End(protocol.ClientClosed)
		synctest.Wait()
		j.expect(t, "Online ann@2", "Connected ann@2", "Disconnected ann@2 ClientClosed", "Offline ann")
		close(thaw)
		synctest.Wait()
		j.expect(t, "Online frozen@1", "Connected frozen@1")
		wait(t, endUser(m, "frozen", protocol.ClientClosed, ""))
		j.expect(t, "Disconnected frozen@1 ClientClosed", "Offline frozen")
		if n := m.Stats().HandlerPanics; n != 4 {
			t.Errorf("HandlerPanics is %d, want 4", n)
		}
	})
}

const grace = time.Minute

// Rule 17: a user who is back within the grace was never offline: totals and the tag go on, and there is no event.
func TestUserWhoIsBackWithinTheGraceWasNeverOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{OfflineGrace: grace})
		var counts []int
		m.Subscribe(usermgr.Events{UserCountChanged: func(n int) { counts = append(counts, n) }})
		began := time.Now()
		s := logOn(t, m, "ann", newLink(1))
		s.Received(1, 1, 10)
		m.SetTag("ann", "vip")
		s.End(protocol.NetworkError)
		time.Sleep(grace - 1)
		d, known := m.User("ann")
		if !m.IsOnline("ann") || !known || m.Count() != 1 || !slices.Equal(slices.Collect(m.Users()), []string{"ann"}) {
			t.Errorf("within the grace: online %v, known %v, %d users", m.IsOnline("ann"), known, m.Count())
		}
		if len(d.Sessions) != 0 || d.In.Bytes != 10 || d.Tag != "vip" || len(addressesOf(m, "ann")) != 0 || m.Touch("ann") {
			t.Errorf("within the grace there is %+v, at %v", d, addressesOf(m, "ann"))
		}
		logOn(t, m, "ann", newLink(2))
		time.Sleep(2 * grace)
		synctest.Wait()
		j.expect(t, "Online ann@1", "Connected ann@1", `UserTagged ann "vip", was ""`, "Disconnected ann@1 NetworkError", "Connected ann@2")
		d, _ = m.User("ann")
		if d.In.Bytes != 10 || d.Tag != "vip" || d.Since.Sub(began).Abs() > time.Millisecond || !slices.Equal(counts, []int{1}) {
			t.Errorf("back: %+v, since %v, want %v; the counts were %v", d, d.Since, began, counts)
		}
	})
}

// Rule 17: a user who is not back is offline when the grace has passed, and begins anew.
func TestUserWhoIsNotBackGoesOfflineAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{OfflineGrace: grace})
		s := logOn(t, m, "ann", newLink(1))
		s.Received(1, 1, 10)
		m.SetTag("ann", "vip")
		s.End(protocol.NetworkError)
		time.Sleep(grace - 1)
		j.expect(t, "Online ann@1", "Connected ann@1", `UserTagged ann "vip", was ""`, "Disconnected ann@1 NetworkError")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		j.expect(t, "Offline ann")
		if m.IsOnline("ann") || m.Count() != 0 {
			t.Errorf("online %v, %d users", m.IsOnline("ann"), m.Count())
		}
		logOn(t, m, "ann", newLink(2))
		j.expect(t, "Online ann@2", "Connected ann@2")
		if d, _ := m.User("ann"); d.In.Bytes != 0 || d.Tag != "" {
			t.Errorf("ann, who was offline, begins with %+v", d)
		}
	})
}

// Rule 17: each absence has the whole grace; one that came to nothing ends no later one.
func TestEveryAbsenceHasTheWholeGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{OfflineGrace: grace})
		for conn := range uint64(3) {
			s := logOn(t, m, "ann", newLink(conn))
			s.End(protocol.NetworkError)
			time.Sleep(grace * 2 / 3)
		}
		j.expect(t, "Online ann@0", "Connected ann@0", "Disconnected ann@0 NetworkError", "Connected ann@1",
			"Disconnected ann@1 NetworkError", "Connected ann@2", "Disconnected ann@2 NetworkError")
		time.Sleep(grace)
		j.expect(t, "Offline ann")
	})
}

// Rule 17: the grace begins with the last session's end, and when it is the end of one that may come back by itself.
func TestGraceIsForTheLastSessionOfAClientThatMayReconnect(t *testing.T) {
	for code, want := range map[protocol.CloseCode]time.Duration{
		protocol.NetworkError: grace, protocol.ClientClosed: grace, protocol.SlowConsumer: grace, 3001: grace,
		protocol.KickedOut: 0, protocol.WrongUserID: 0, protocol.SessionExpired: 0, protocol.ServerStopping: 0, 4001: 0,
	} {
		t.Run(code.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, usermgr.Config{OfflineGrace: grace, Devices: usermgr.Devices{OnePerClass: true}, HeartbeatTimeout: -1})
				var offline time.Time
				m.Subscribe(usermgr.Events{Offline: func(usermgr.UserData) { offline = time.Now() }})
				first, last := onDevice(t, m, "ann", 1, newLink(1)), onDevice(t, m, "ann", 2, newLink(2))
				first.End(protocol.NetworkError)
				time.Sleep(2 * grace) // no absence: there is another session
				began := time.Now()
				last.End(code)
				time.Sleep(2 * grace)
				synctest.Wait()
				if got := offline.Sub(began); got != want {
					t.Errorf("ann was offline after %v, want %v", got, want)
				}
			})
		})
	}
}

// Rules 16 and 17: a user who is kicked, or cleared, within the grace is offline at once.
func TestGraceEndsAtOnce(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *usermgr.Manager){
		"Kick": func(t *testing.T, m *usermgr.Manager) {
			k, err := m.Kick("ann", nil)
			if err != nil {
				t.Fatalf("ann, who counts as online, cannot be kicked: %v", err)
			}
			if kicked, err := k(t.Context()); len(kicked) != 0 || err != nil {
				t.Errorf("the kick ended %v, %v", kicked, err)
			}
		},
		"Kick, by a code": func(t *testing.T, m *usermgr.Manager) { wait(t, endUser(m, "ann", 4000, "")) },
		"Clear":           func(t *testing.T, m *usermgr.Manager) { clearAll(t, m) },
		"Close":           func(t *testing.T, m *usermgr.Manager) { closeManager(t, m) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watchedAll(t, usermgr.Config{OfflineGrace: grace})
				logOn(t, m, "ann", newLink(1)).End(protocol.NetworkError)
				time.Sleep(time.Second)
				j.clear()
				end(t, m)
				synctest.Wait()
				j.expect(t, "Offline ann")
				if m.IsOnline("ann") || m.Count() != 0 {
					t.Errorf("online %v, %d users", m.IsOnline("ann"), m.Count())
				}
				time.Sleep(2 * grace)
				j.expect(t)
			})
		})
	}
}

// Rules 10 and 17: what is meant for one device, one session or one that may reconnect does not end the grace.
func TestGraceGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{OfflineGrace: grace})
		s := logOn(t, m, "ann", newLink(1))
		s.End(protocol.NetworkError)
		synctest.Wait()
		j.clear()
		if _, err := m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{0}}); err != usermgr.ErrUnknownID {
			t.Errorf("Kick of a device: %v, want ErrUnknownID", err)
		}
		if _, err := m.KickSession(s.ID(), nil); err != usermgr.ErrUnknownID {
			t.Errorf("KickSession: %v, want ErrUnknownID", err)
		}
		wait(t, endUser(m, "ann", protocol.HeartbeatTimeout, ""))
		wait(t, endSession(m, s.ID(), protocol.KickedOut, ""))
		time.Sleep(grace - 1)
		j.expect(t)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		j.expect(t, "Offline ann")
	})
}

// Rules 8 and 17: a time-out leaves the grace, and a logon that is refused does not end it.
func TestGraceAfterATimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checker := newHandChecker()
		m, j := watchedAll(t, usermgr.Config{OfflineGrace: grace, HeartbeatChecker: checker})
		logOn(t, m, "ann", newLink(1))
		checker.watches[0].quiet = true
		checker.report(1)
		synctest.Wait()
		ctx := endedUnseen{t.Context()}
		if _, err := m.Register(ctx, usermgr.Logon{UserID: "ann"}, newLink(2)); err == nil {
			t.Error("a dead connection has logged on")
		}
		j.expect(t, "Online ann@1", "Connected ann@1", "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout")
		time.Sleep(grace)
		synctest.Wait()
		j.expect(t, "Offline ann")
	})
}

// Rules 16 and 17: a session that ends while the manager closes has no grace.
func TestNoGraceWhileTheManagerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{OfflineGrace: grace})
		link := newLink(1)
		s := logOn(t, m, "ann", link)
		link.handlerStarts() // holds the end up
		s.End(protocol.NetworkError)
		began := time.Now()
		time.AfterFunc(time.Second, link.handlerReturns)
		closeManager(t, m)
		if took := time.Since(began); took != time.Second {
			t.Errorf("Close took %v, want 1 s", took)
		}
		j.expect(t, "Online ann@1", "Connected ann@1", "Disconnected ann@1 NetworkError", "Offline ann")
	})
}

package usermgr_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// attempt is a logon of ann's. Her attempts are made on connections 1, 2 and so on.
type attempt struct {
	device uint16
	token  string
	takes  uint64 // the connection whose session it takes over; 0 for none
}

func on(devices ...uint16) (all []attempt) {
	for _, d := range devices {
		all = append(all, attempt{device: d})
	}
	return all
}

// Rules 17, 4, 6 and 7, S2, S7, E12: what the last of several logons does, in each policy. Evictions come the oldest first,
// each PushedOut and then Disconnected, and Connected after all of them.
func TestLogonEndsWhatItMayNotLiveBeside(t *testing.T) {
	replaced := func(by int, conns ...int) (lines []string) {
		for _, c := range conns {
			lines = append(lines, fmt.Sprintf("PushedOut ann@%d by @%d", c, by), fmt.Sprintf("Disconnected ann@%d PushedOut", c))
		}
		return append(lines, fmt.Sprintf("Connected ann@%d", by))
	}
	ignored := func(conn int) []string { return []string{fmt.Sprintf("Ignored ann@%d", conn)} }
	one, class := usermgr.Devices{}, usermgr.Devices{OnePerClass: true}
	two, three := usermgr.Devices{MaxSessions: 2}, usermgr.Devices{MaxSessions: 3}
	matrix := usermgr.Devices{OnePerClass: true, Exclusive: [][2]uint16{{1, 2}, {4, 2}}}
	const old, keep = usermgr.ReplaceOld, usermgr.IgnoreNew

	for _, c := range []struct {
		name     string
		policy   usermgr.Devices
		mode     usermgr.RelogonMode
		attempts []attempt
		want     []string // what the last one does
		where    []uint64 // where ann is then
	}{
		{"one session, another device", one, old, on(1, 2), replaced(2, 1), []uint64{2}},
		{"one session, another device, kept", one, keep, on(1, 2), ignored(2), []uint64{1}},

		{"one a device, another device", class, old, on(1, 2), replaced(2), []uint64{1, 2}},
		{"one a device, another device, either mode", class, keep, on(1, 2), replaced(2), []uint64{1, 2}},
		{"one a device, the same device", class, old, on(1, 2, 1), replaced(3, 1), []uint64{2, 3}},
		{"one a device, the same device, kept", class, keep, on(1, 2, 1), ignored(3), []uint64{1, 2}},
		{"one a device, unspecified twice", class, old, on(0, 1, 0), replaced(3, 1), []uint64{2, 3}},
		{"one a device, any number", class, old, on(1, 2, 3, 4, 5), replaced(5), []uint64{1, 2, 3, 4, 5}},

		{"up to two, room", two, old, on(1, 2), replaced(2), []uint64{1, 2}},
		{"up to two, over", two, old, on(1, 2, 3), replaced(3, 1), []uint64{2, 3}},
		{"up to two, over, kept", two, keep, on(1, 2, 3), ignored(3), []uint64{1, 2}},
		{"up to two, the same device", two, old, on(1, 2, 2), replaced(3, 2), []uint64{1, 3}},
		{"up to two, the same device, kept", two, keep, on(1, 2, 2), ignored(3), []uint64{1, 2}},
		{"up to two, unspecified side by side", two, old, on(0, 0), replaced(2), []uint64{1, 2}},
		{"up to two, unspecified, over", two, old, on(0, 0, 0), replaced(3, 1), []uint64{2, 3}},
		{"up to two, unspecified, over, kept", two, keep, on(0, 0, 0), ignored(3), []uint64{1, 2}},
		{"up to three, the oldest is not the first", three, old, on(1, 2, 3, 1, 4), replaced(5, 2), []uint64{3, 4, 5}},
		{"up to one", usermgr.Devices{MaxSessions: 1}, old, on(0, 0), replaced(2, 1), []uint64{2}},

		{"a pair", matrix, old, on(1, 3, 2), replaced(3, 1), []uint64{2, 3}},
		{"a pair, the other way round", matrix, old, on(2, 3, 1), replaced(3, 1), []uint64{2, 3}},
		{"a pair, kept", matrix, keep, on(1, 3, 2), ignored(3), []uint64{1, 2}},
		{"no pair", matrix, old, on(1, 4, 3), replaced(3), []uint64{1, 2, 3}},
		{"pairs, the same device", matrix, old, on(1, 3, 3), replaced(3, 2), []uint64{1, 3}},
		{"two pairs", matrix, old, on(3, 4, 1, 2), replaced(4, 2, 3), []uint64{1, 4}},

		{"the same token on another device", class, old, []attempt{{1, "x", 0}, {2, "y", 0}, {3, "x", 0}},
			replaced(3, 1), []uint64{2, 3}},
		{"the same token, kept", class, keep, []attempt{{1, "x", 0}, {2, "x", 0}}, ignored(2), []uint64{1}},
		{"the same token, and the same device", class, old, []attempt{{1, "x", 0}, {2, "y", 0}, {1, "y", 0}},
			replaced(3, 1, 2), []uint64{3}},
		{"the same token, with room", two, old, []attempt{{0, "x", 0}, {0, "x", 0}}, replaced(2, 1), []uint64{2}},
		{"no token is no login's name", two, old, []attempt{{0, "", 0}, {0, "", 0}}, replaced(2), []uint64{1, 2}},

		{"a take-over", class, old, []attempt{{1, "", 0}, {2, "", 0}, {3, "", 1}}, replaced(3, 1), []uint64{2, 3}},
		{"a take-over of the only one in the way", class, keep, []attempt{{1, "", 0}, {2, "", 0}, {1, "", 1}},
			replaced(3, 1), []uint64{2, 3}},
		{"a take-over of one that is in nobody's way", class, keep, []attempt{{1, "", 0}, {2, "", 1}}, replaced(2, 1), []uint64{2}},
		{"a take-over makes room", two, keep, []attempt{{0, "", 0}, {0, "", 0}, {0, "", 2}}, replaced(3, 2), []uint64{1, 3}},
		{"a take-over with another in the way", class, keep, []attempt{{1, "", 0}, {2, "", 0}, {1, "", 2}},
			ignored(3), []uint64{1, 2}},
		{"a take-over with another in the way, replaced", class, old, []attempt{{1, "", 0}, {2, "", 0}, {1, "", 2}},
			replaced(3, 1, 2), []uint64{3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watched(t, usermgr.Config{Devices: c.policy, RelogonMode: c.mode})
				ids := make(map[uint64]string)
				for i, a := range c.attempts {
					link := newLink(uint64(i + 1))
					if i == len(c.attempts)-1 {
						j.clear()
					}
					s, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Device: a.device, Token: a.token,
						Session: ids[a.takes]}, link)
					if err != nil {
						if got := refusal(t, err); got != protocol.AlreadyLoggedOn {
							t.Errorf("logon %d was refused with %v", i+1, got)
						}
						continue
					}
					ids[link.conn] = s.ID()
				}
				synctest.Wait()
				j.expect(t, c.want...)
				if got := connsOf(m, "ann"); !slices.Equal(got, c.where) {
					t.Errorf("ann is on connections %v, want %v", got, c.where)
				}
				if n := len(sessionsOf(m, "ann")); n != len(c.where) || m.Count() != 1 {
					t.Errorf("ann has %d sessions, and %d users are online; want %d and 1", n, m.Count(), len(c.where))
				}
			})
		})
	}
}

func connsOf(m *usermgr.Manager, userID string) (conns []uint64) {
	for _, a := range addressesOf(m, userID) {
		conns = append(conns, a.Conn)
	}
	return conns
}

// Rule 17: a logon may name a session's ID as its token: it is that login.
func TestSessionIDIsTheTokenOfASessionWithoutOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 5}})
		first := logOn(t, m, "ann", newLink(1))
		logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: first.ID()}, newLink(2))
		j.expect(t, "Connected ann@1", "PushedOut ann@1 by @2", "Disconnected ann@1 PushedOut", "Connected ann@2")
	})
}

// Rule 17: a token, a session ID and a number of sessions are a user's own.
func TestUsersDoNotExcludeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 1}})
		anns := logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: "x"}, newLink(1))
		logOnAs(t, m, usermgr.Logon{UserID: "bob", Token: "x", Session: anns.ID()}, newLink(2))
		synctest.Wait()
		j.expect(t, "Connected ann@1", "Connected bob@2")
	})
}

// Rules 6 and 17: when one logon ends several sessions, lookups lose them one by one, and the user is never offline.
func TestEvictionsTurnLookupsOverOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true, Exclusive: [][2]uint16{{1, 3}, {2, 3}}}})
		var counts []int
		m.Subscribe(usermgr.Events{UserCountChanged: func(n int) { counts = append(counts, n) }})
		onDevice(t, m, "ann", 1, newLink(1))
		onDevice(t, m, "ann", 2, newLink(2))
		onDevice(t, m, "ann", 4, newLink(3))
		synctest.Wait()
		var seen []string
		look := func(event string) {
			time.Sleep(time.Second) // the number of users would be told meanwhile
			seen = append(seen, fmt.Sprint(event, " ", connsOf(m, "ann")))
		}
		unsubscribe := m.Subscribe(usermgr.Events{
			PushedOut:    func(s usermgr.SessionInfo, _ usermgr.Address) { look(fmt.Sprint("PushedOut ", s.Address.Conn)) },
			Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) { look(fmt.Sprint("Disconnected ", s.Address.Conn)) },
			Connected:    func(s usermgr.SessionInfo) { look("Connected") },
			Offline:      func(usermgr.UserData) { look("Offline") },
			Online:       func(usermgr.UserData) { look("Online") },
		})
		onDevice(t, m, "ann", 3, newLink(4))
		unsubscribe()
		want := []string{"PushedOut 1 [1 2 3]", "Disconnected 1 [2 3]", "PushedOut 2 [2 3]", "Disconnected 2 [3 4]",
			"Connected [3 4]"}
		if !slices.Equal(seen, want) {
			t.Errorf("seen:\n%q\nwant:\n%q", seen, want)
		}
		if !slices.Equal(counts, []int{1}) {
			t.Errorf("UserCountChanged told %v, want [1]", counts)
		}
	})
}

// Rules 3 and 17: of several sessions in a logon's way one that ends by itself meanwhile is not pushed out.
func TestSessionThatEndsDuringTheEvictionOfAnotherIsNotPushedOut(t *testing.T) {
	for last, want := range map[bool][]string{
		false: {"Disconnected ann@2 ClientClosed", "PushedOut ann@3 by @4", "Disconnected ann@3 PushedOut", "Connected ann@4"},
		true: {"PushedOut ann@2 by @4", "Disconnected ann@2 PushedOut", "Disconnected ann@3 ClientClosed", "Offline ann",
			"Online ann@4", "Connected ann@4"},
	} {
		t.Run(fmt.Sprint("the last: ", last), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watchedAll(t, usermgr.Config{
					Devices: usermgr.Devices{OnePerClass: true, Exclusive: [][2]uint16{{1, 9}, {2, 9}, {3, 9}}}})
				var sessions []usermgr.Session
				for conn := range uint64(3) {
					sessions = append(sessions, onDevice(t, m, "ann", uint16(conn+1), newLink(conn+1)))
				}
				m.Subscribe(usermgr.Events{PushedOut: func(s usermgr.SessionInfo, _ usermgr.Address) {
					if ends := sessions[1]; !last && s.Address.Conn == 1 {
						ends.End(protocol.ClientClosed)
					}
					if ends := sessions[2]; last && s.Address.Conn == 2 {
						ends.End(protocol.ClientClosed)
					}
				}})
				j.clear()
				onDevice(t, m, "ann", 9, newLink(4))
				synctest.Wait()
				j.expect(t, append([]string{"PushedOut ann@1 by @4", "Disconnected ann@1 PushedOut"}, want...)...)
			})
		})
	}
}

// Rules 3, 7 and 17: sessions that have ended by themselves do not count, nor are they in the way.
func TestSessionsThatHaveEndedMakeRoom(t *testing.T) {
	for name, mode := range map[string]usermgr.RelogonMode{"ReplaceOld": usermgr.ReplaceOld, "IgnoreNew": usermgr.IgnoreNew} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watched(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}, RelogonMode: mode})
				logOn(t, m, "ann", newLink(1))
				link := newLink(2)
				second := logOn(t, m, "ann", link)
				link.handlerStarts() // holds the end up
				second.End(protocol.NetworkError)
				beginLogOn(t, m, "ann", newLink(3))
				synctest.Wait()
				link.handlerReturns()
				synctest.Wait()
				j.expect(t, "Connected ann@1", "Connected ann@2", "Disconnected ann@2 NetworkError", "Connected ann@3")
			})
		})
	}
}

// Rules 9 and 17: the end of one session leaves the user's others alone.
func TestEndOfOneSessionLeavesTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		var sessions []usermgr.Session
		for conn := range uint64(3) {
			sessions = append(sessions, onDevice(t, m, "ann", uint16(conn), newLink(conn)))
		}
		j.clear()
		sessions[1].End(protocol.ClientClosed)
		synctest.Wait()
		j.expect(t, "Disconnected ann@1 ClientClosed")
		if got := connsOf(m, "ann"); !slices.Equal(got, []uint64{0, 2}) {
			t.Errorf("ann is on connections %v, want [0 2]", got)
		}
	})
}

// Rule 17: what can have no effect is an error that says what to do.
func TestDevicesThatMakeNoSenseAreRefused(t *testing.T) {
	pair := [][2]uint16{{1, 2}}
	for what, c := range map[string]struct {
		d   usermgr.Devices
		say string // in the error; "" for none
	}{
		"a pair":                          {usermgr.Devices{OnePerClass: true, Exclusive: pair}, ""},
		"a pair and a number":             {usermgr.Devices{MaxSessions: 2, Exclusive: pair}, ""},
		"a pair and no limit":             {usermgr.Devices{MaxSessions: -1, Exclusive: pair}, ""},
		"a pair of known classes":         {usermgr.Devices{OnePerClass: true, Exclusive: pair, Known: []uint16{2, 1}}, ""},
		"a pair, and one session":         {usermgr.Devices{Exclusive: pair}, "set Devices.OnePerClass"},
		"a pair, and a number of one":     {usermgr.Devices{OnePerClass: true, MaxSessions: 1, Exclusive: pair}, "a larger MaxSessions"},
		"a class twice":                   {usermgr.Devices{OnePerClass: true, Exclusive: [][2]uint16{{1, 2}, {3, 3}}}, "class 3 twice"},
		"a class that may not log on":     {usermgr.Devices{OnePerClass: true, Exclusive: pair, Known: []uint16{1}}, "class 2, which Known"},
		"unspecified, which may not come": {usermgr.Devices{MaxSessions: 9, Exclusive: [][2]uint16{{0, 1}}, Known: []uint16{1}}, "class 0, which Known"},
	} {
		m, err := usermgr.New(usermgr.Config{Devices: c.d, HeartbeatTimeout: -1})
		if c.say == "" && err != nil || c.say != "" && (err == nil || !strings.Contains(err.Error(), c.say)) {
			t.Errorf("%s: the error is %v, want %q in it", what, err, c.say)
		}
		if err == nil {
			closeManager(t, m)
		}
	}
}

// Rule 12: a user's totals are those of all sessions since Online, of those that have ended too.
func TestTotalsAreOfAllSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		began := time.Now()
		first := onDevice(t, m, "ann", 1, newLink(1))
		time.Sleep(time.Second)
		second := onDevice(t, m, "ann", 2, newLink(2))
		first.Received(1, 1, 10)
		second.Received(2, 2, 20)
		first.Sent(3, 3, 30)
		second.Sent(4, 4, 40)
		first.Dropped(5, 5, 50)
		second.Dropped(6, 6, 60)
		check := func(when string) {
			d, _ := m.User("ann")
			if d.In.Messages != 3 || d.In.Bytes != 30 || d.Out.Messages != 7 || d.Out.Bytes != 70 ||
				d.Dropped.Messages != 11 || d.Dropped.Bytes != 110 {
				t.Errorf("%s: in %+v, out %+v, dropped %+v", when, d.In, d.Out, d.Dropped)
			}
			if d.Since.Sub(began).Abs() > time.Millisecond {
				t.Errorf("%s: online since %v, want %v", when, d.Since, began)
			}
		}
		check("both live")
		first.End(protocol.ClientClosed)
		synctest.Wait()
		check("the first has ended")
		third := onDevice(t, m, "ann", 3, newLink(3))
		second.End(protocol.ClientClosed)
		synctest.Wait()
		check("both have ended, and a third lives")
		var last usermgr.UserData
		unsubscribe := m.Subscribe(usermgr.Events{Offline: func(d usermgr.UserData) { last = d }})
		third.Received(9, 1, 1)
		third.End(protocol.ClientClosed)
		synctest.Wait()
		unsubscribe()
		if last.In.Messages != 4 || last.In.Bytes != 31 || last.In.LastType != 9 || last.Out.Bytes != 70 || last.Sessions != nil {
			t.Errorf("Offline had %+v", last)
		}
	})
}

// S7: being logged out, kicked out, replaced and refused are outcomes of their own.
func TestEndsAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		out := onDevice(t, m, "ann", 1, newLink(1))
		thrown := onDevice(t, m, "ann", 2, newLink(2))
		onDevice(t, m, "ann", 3, newLink(3))
		j.clear()
		out.End(protocol.ClientClosed)
		synctest.Wait()
		if _, err := m.KickSession(thrown.ID(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		onDevice(t, m, "ann", 3, newLink(4))
		j.expect(t, "Disconnected ann@1 ClientClosed", "Disconnected ann@2 KickedOut",
			"PushedOut ann@3 by @4", "Disconnected ann@3 PushedOut", "Connected ann@4")
	})
}

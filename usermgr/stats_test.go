package usermgr_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func TestStatsCountUsersSessionsAndWhyTheyEnd(t *testing.T) {
	devices := usermgr.Devices{OnePerClass: true, Known: []uint16{1, 2, 3, 4}}
	m := newManager(t, usermgr.Config{Devices: devices, HeartbeatTimeout: -1})
	register := func(userID string, device uint16, conn uint64) error {
		l := newLink(conn)
		_, err := m.Register(t.Context(), usermgr.Logon{UserID: userID, Device: device, Address: l.Address()}, l)
		return err
	}
	for i, device := range []uint16{1, 2, 3} {
		if err := register("ann", device, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := register("bob", 1, 10); err != nil {
		t.Fatal(err)
	}
	if err := register("ann", 1, 11); err != nil { // pushes out the first
		t.Fatal(err)
	}
	s := m.Stats()
	if s.Users != 2 || s.Sessions != 4 || !maps.Equal(s.Devices, map[uint16]int{1: 2, 2: 1, 3: 1, 4: 0}) || s.Logons != 5 {
		t.Errorf("online: %+v", s)
	}
	wait(t, endUser(m, "bob", 3001, ""))
	clearAll(t, m)
	s = m.Stats()
	if want := map[protocol.CloseCode]uint64{protocol.PushedOut: 1, 3001: 1, protocol.ServerStopping: 3}; !maps.Equal(s.Disconnected, want) {
		t.Errorf("disconnected %v, want %v", s.Disconnected, want)
	}
	if s.Users != 0 || s.Sessions != 0 || !maps.Equal(s.Devices, map[uint16]int{1: 0, 2: 0, 3: 0, 4: 0}) || s.Logons != 5 {
		t.Errorf("when all have gone: %+v", s)
	}
}

// A client chooses its device class. Stats has those that the application names, and so no more of them than that.
func TestStatsHaveTheDeviceClassesThatTheApplicationNames(t *testing.T) {
	matrix := usermgr.Devices{OnePerClass: true, Exclusive: [][2]uint16{{7, 9}}, MaxSessions: -1}
	any := usermgr.Devices{OnePerClass: true, MaxSessions: -1}
	for _, c := range []struct {
		devices usermgr.Devices
		want    map[uint16]int
	}{
		{any, map[uint16]int{0: 1}},
		{matrix, map[uint16]int{0: 1, 7: 0, 9: 1}}, // 9 ends the session on 7
	} {
		m := newManager(t, usermgr.Config{Devices: c.devices, HeartbeatTimeout: -1})
		for device := range uint16(1000) {
			onDevice(t, m, "ann", device, newLink(uint64(device)))
		}
		if s := m.Stats(); !maps.Equal(s.Devices, c.want) || s.Sessions < 999 {
			t.Errorf("%d sessions, of which %v; want %v", s.Sessions, s.Devices, c.want)
		}
	}
}

func TestStatsCountRefusedLogons(t *testing.T) {
	m := newManager(t, usermgr.Config{RelogonMode: usermgr.IgnoreNew, HeartbeatTimeout: -1})
	logOn(t, m, "ann", newLink(1))
	for i := range uint64(3) {
		l := newLink(i + 2)
		_, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Address: l.Address()}, l)
		var ce *protocol.CloseError
		if !errors.As(err, &ce) || ce.Code != protocol.AlreadyLoggedOn {
			t.Fatalf("Register returned %v", err)
		}
	}
	if _, err := m.Register(t.Context(), usermgr.Logon{}, newLink(9)); err == nil {
		t.Fatal("nobody could log on")
	}
	closeManager(t, m)
	if _, err := m.Register(t.Context(), usermgr.Logon{UserID: "bob"}, newLink(10)); err == nil {
		t.Fatal("a closed manager lets in")
	}
	want := map[protocol.CloseCode]uint64{protocol.AlreadyLoggedOn: 3, protocol.InternalError: 1, protocol.ServerStopping: 1}
	if s := m.Stats(); !maps.Equal(s.Refused, want) || s.Logons != 1 {
		t.Errorf("%d logons, refused %v, want %v", s.Logons, s.Refused, want)
	}
}

// Manager.Closed has the sessions that have ended, with their codes and final counters, the latest first; a Disconnected
// handler finds its own there; the Token, a secret, is not kept.
func TestClosedRemembersSessions(t *testing.T) {
	m := newManager(t, usermgr.Config{HeartbeatTimeout: -1})
	seen := make(chan int, 2)
	m.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { seen <- len(m.Closed()) }})
	if all := m.Closed(); len(all) != 0 {
		t.Errorf("at first there are %v", all)
	}
	began := time.Now()
	l := newLink(1)
	ann, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Device: 7, Token: "secret", Address: l.Address()}, l)
	if err != nil {
		t.Fatal(err)
	}
	bob := logOn(t, m, "bob", newLink(2))
	ann.Received(5, 3, 300)
	ann.Sent(6, 2, 200)
	ann.Dropped(6, 1, 100)
	wait(t, endUser(m, "ann", protocol.KickedOut, ""))
	bob.End(protocol.NetworkError)
	if first, second := <-seen, <-seen; first != 1 || second != 2 {
		t.Errorf("the handlers saw %d and %d closed sessions", first, second)
	}
	all := m.Closed()
	if len(all) != 2 || all[0].UserID != "bob" || all[0].Code != protocol.NetworkError {
		t.Fatalf("closed: %+v", all)
	}
	got := all[1]
	if got.UserID != "ann" || got.ID != ann.ID() || got.Device != 7 || got.Address.Conn != 1 || got.Code != protocol.KickedOut ||
		got.In != (protocol.Traffic{Messages: 3, Bytes: 300, LastType: 5}) || got.Out != (protocol.Traffic{Messages: 2, Bytes: 200, LastType: 6}) ||
		got.Dropped != (protocol.Traffic{Messages: 1, Bytes: 100, LastType: 6}) || got.Token != "" {
		t.Errorf("of ann is remembered: %+v", got)
	}
	if got.At.Before(began) || got.At.After(all[0].At) || all[0].At.After(time.Now()) {
		t.Errorf("ended at %v and %v", got.At, all[0].At)
	}
}

// Manager.Closed remembers no more than Config.ClosedHistory: the latest.
func TestClosedRemembersSoMany(t *testing.T) {
	for _, tc := range []struct{ config, sessions, want int }{
		{0, 999, 999}, {0, 1000, 1000}, {0, 1001, 1000}, {0, 2345, 1000}, {3, 2, 2}, {3, 3, 3}, {3, 7, 3}, {1, 2, 1}, {-1, 5, 0},
	} {
		m := newManager(t, usermgr.Config{ClosedHistory: tc.config, HeartbeatTimeout: -1})
		for i := range tc.sessions {
			id := fmt.Sprint("user", i)
			logOn(t, m, id, newLink(uint64(i+1)))
			wait(t, endUser(m, id, protocol.KickedOut, ""))
		}
		all := m.Closed()
		if len(all) != tc.want {
			t.Errorf("ClosedHistory %d: of %d sessions %d are remembered, want %d", tc.config, tc.sessions, len(all), tc.want)
		}
		for i, s := range all {
			if want := fmt.Sprint("user", tc.sessions-1-i); s.UserID != want {
				t.Fatalf("ClosedHistory %d, %d sessions: place %d has %s, want %s", tc.config, tc.sessions, i, s.UserID, want)
			}
		}
	}
}

package usermgr_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// answer is the code with which ann's logon is refused, 0 when she is let in.
func answer(t *testing.T, m *usermgr.Manager, conn uint64, l usermgr.Logon) protocol.CloseCode {
	t.Helper()
	if _, refused := comeBack(t, m, conn, l); refused != nil {
		return refused.Code
	}
	return 0
}

// Rule 26, H2: a user who is banned is kept out whatever the logon shows, for as long as the ban lasts.
func TestABannedUserIsKeptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a := logOnAs(t, m, usermgr.Logon{UserID: "ann", Device: 1, Token: "x"}, newLink(1))
		logOnAs(t, m, usermgr.Logon{UserID: "ann", Device: 2, Token: "y"}, newLink(2))
		k, err := m.Kick("ann", &usermgr.KickOptions{Text: "out", BanFor: time.Hour})
		if n := len(kicked(t, k, err)); n != 2 {
			t.Errorf("%d sessions were kicked", n)
		}
		j.clear()
		attempts := []usermgr.Logon{{Token: "x", Device: 1}, {Token: "z", Device: 3}, {}, {Session: a.ID()}}
		time.Sleep(time.Hour - 1)
		for i, l := range attempts {
			if got := answer(t, m, uint64(10+i), l); got != protocol.Unauthorized {
				t.Errorf("banned, with %+v: %v", l, got)
			}
		}
		j.expect(t) // and nothing was told of it
		logOn(t, m, "bob", newLink(20))
		if until, banned := m.BannedUntil("ann"); !banned || time.Until(until) != time.Nanosecond {
			t.Errorf("in the ban's last nanosecond: until %v", until)
		}
		time.Sleep(time.Nanosecond)
		if until, banned := m.BannedUntil("ann"); banned || !until.IsZero() {
			t.Errorf("after the ban: until %v", until)
		}
		if got := answer(t, m, 30, usermgr.Logon{}); got != 0 {
			t.Errorf("after the ban: %v", got)
		}
	})
}

// Rule 26: a ban needs no session; it can be taken back; of several the longest counts; a BanFor of 0 or less bans no user.
func TestWhoIsBanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		if k, err := m.Kick("ann", &usermgr.KickOptions{BanFor: math.MaxInt64}); err != nil || len(kicked(t, k, err)) != 0 {
			t.Errorf("the ban of a user who is offline: %v", err)
		}
		if k, err := m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{1}, BanFor: time.Second}); err != nil || len(kicked(t, k, err)) != 0 {
			t.Errorf("the ban of a user who is offline, with a device: %v", err)
		}
		time.Sleep(2 * time.Hour) // the clock ticks meanwhile, so that more would take its time
		if got := answer(t, m, 1, usermgr.Logon{}); got != protocol.Unauthorized {
			t.Errorf("banned for ever: %v", got)
		}
		if until, banned := m.BannedUntil("ann"); !banned || time.Until(until) < 100*365*24*time.Hour {
			t.Errorf("banned for ever: until %v", until)
		}
		if !m.Unban("ann") || m.Unban("ann") || m.Unban("bob") {
			t.Error("Unban does not say whom it let in")
		}
		if got := answer(t, m, 2, usermgr.Logon{Device: 1}); got != 0 {
			t.Errorf("after Unban: %v", got)
		}
		for _, o := range []usermgr.KickOptions{{}, {BanFor: -1}} {
			if _, err := m.Kick("bob", &o); !errors.Is(err, usermgr.ErrUnknownID) {
				t.Errorf("%+v, of a user who is offline: %v", o, err)
			}
		}
		if _, err := m.Kick("", &usermgr.KickOptions{BanFor: time.Hour}); !errors.Is(err, usermgr.ErrBlankID) {
			t.Errorf("the ban of nobody: %v", err)
		}
		if _, err := m.KickSession("unknown", &usermgr.KickOptions{BanFor: time.Hour}); !errors.Is(err, usermgr.ErrUnknownID) {
			t.Errorf("the ban of an unknown session's user: %v", err)
		}

		onDevice(t, m, "ann", 2, newLink(3))
		k, err := m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{1}, BanFor: time.Minute})
		kicked(t, k, err)
		if got := connsOf(m, "ann"); !slices.Equal(got, []uint64{3}) {
			t.Errorf("after a kick of device 1 ann is on connections %v, want 3", got)
		}
		if got := answer(t, m, 4, usermgr.Logon{Device: 3}); got != protocol.Unauthorized {
			t.Errorf("a logon on another device: %v", got)
		}
	})
}

// Rules 4 and 26: a logon that waits behind the kick is refused in its turn, or ended.
func TestALogonThatWaitsBehindABanDoesNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		link := newLink(1)
		logOn(t, m, "ann", link)
		link.handlerStarts()
		answered := make(chan protocol.CloseCode, 2)
		for conn := range uint64(2) {
			go func() { answered <- answer(t, m, 2+conn, usermgr.Logon{}) }()
		}
		synctest.Wait()
		k, err := m.Kick("ann", &usermgr.KickOptions{BanFor: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		link.handlerReturns()
		kicked(t, k, err)
		<-answered
		<-answered
		synctest.Wait()
		if m.IsOnline("ann") {
			t.Error("ann is online, and banned")
		}
	})
}

// Rules 19 and 26: a session that the kick does not mean lives on, but its token is not renewed while the user is banned.
func TestABannedUserRenewsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		onDevice(t, m, "ann", 1, newLink(1))
		s := logOnAs(t, m, usermgr.Logon{UserID: "ann", Device: 2, Token: "x"}, newLink(2))
		bob := logOnAs(t, m, usermgr.Logon{UserID: "bob", Token: "x"}, newLink(3))
		renew := func(s usermgr.Session, token string) error {
			return s.(seam.Renewer).Renew(t.Context(), token)
		}
		k, err := m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{1}, BanFor: time.Hour})
		kicked(t, k, err)
		for _, token := range []string{"y", "x", ""} {
			if got := refusal(t, renew(s, token)); got != protocol.Unauthorized {
				t.Errorf("the renewal with the token %q was refused with %v, want Unauthorized", token, got)
			}
		}
		if i, lives := m.Session(s.ID()); !lives || i.Token != "x" {
			t.Errorf("the session lives: %v, with the token %q", lives, i.Token)
		}
		if err := renew(bob, "y"); err != nil {
			t.Errorf("another user's renewal: %v", err)
		}
		m.Unban("ann")
		if err := renew(s, "y"); err != nil {
			t.Errorf("the renewal after Unban: %v", err)
		}
	})
}

// Rule 17: a logon on a device class that the application does not know is refused, without an event.
func TestAnUnknownDeviceClassIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		devices := usermgr.Devices{OnePerClass: true, Known: []uint16{1, 3}}
		m, j := watched(t, usermgr.Config{Devices: devices})
		devices.Known[0] = 9 // the manager has its own
		for device, want := range []protocol.CloseCode{protocol.DeviceNotAllowed, 0, protocol.DeviceNotAllowed, 0, protocol.DeviceNotAllowed} {
			if got := answer(t, m, uint64(device), usermgr.Logon{Device: uint16(device)}); got != want {
				t.Errorf("device %d: %v, want %v", device, got, want)
			}
		}
		j.expect(t, "Connected ann@1", "Connected ann@3")
	})
}

// Rule 17: how many sessions a user may have: what is given, or 16 where several device classes may live side by side.
func TestAUserHasNoMoreSessionsThanTheNumber(t *testing.T) {
	with := func(d usermgr.Devices, n int) usermgr.Devices {
		d.MaxSessions = n
		return d
	}
	class, matrix := usermgr.Devices{OnePerClass: true}, usermgr.Devices{OnePerClass: true, Exclusive: [][2]uint16{{100, 101}}}
	for _, c := range []struct {
		name string
		d    usermgr.Devices
		want int
	}{
		{"no policy", usermgr.Devices{}, 1},
		{"a number alone", usermgr.Devices{MaxSessions: 5}, 5},
		{"any number alone", usermgr.Devices{MaxSessions: -1}, 40},
		{"one a class", class, 16},
		{"one a class, a number", with(class, 3), 3},
		{"one a class, a larger number", with(class, 30), 30},
		{"one a class, any number", with(class, -1), 40},
		{"pairs", matrix, 16},
		{"pairs, a number", with(matrix, 20), 20},
		{"pairs, a number without one a class", usermgr.Devices{MaxSessions: 20, Exclusive: matrix.Exclusive}, 20},
	} {
		for _, mode := range []usermgr.RelogonMode{usermgr.ReplaceOld, usermgr.IgnoreNew} {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, usermgr.Config{Devices: c.d, RelogonMode: mode})
				const logons = 40
				var want []uint64
				for i := range uint64(logons) {
					code := answer(t, m, i, usermgr.Logon{Device: uint16(i)})
					if refused := mode == usermgr.IgnoreNew && int(i) >= c.want; refused != (code == protocol.AlreadyLoggedOn) {
						t.Errorf("%s: logon %d was answered %v", c.name, i, code)
					}
					if mode == usermgr.IgnoreNew && int(i) < c.want || mode == usermgr.ReplaceOld && int(i) >= logons-c.want {
						want = append(want, i)
					}
				}
				if got := connsOf(m, "ann"); !slices.Equal(got, want) {
					t.Errorf("%s: ann is on connections %v, want %v", c.name, got, want)
				}
			})
		}
	}
}

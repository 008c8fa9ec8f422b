package usermgr_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// E2: user and address are one to one, looked up both ways.
func TestUserAndAddressAreFoundBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		link := newLink(1)
		s := logOn(t, m, "ann", link)
		if got := addressesOf(m, "ann"); !slices.Equal(got, []usermgr.Address{link.Address()}) {
			t.Errorf("ann is at %v, want %v", got, link.Address())
		}
		if got, ok := m.SessionAt(1); got.UserID != "ann" || !ok {
			t.Errorf("connection 1 has %v, %v", got, ok)
		}
		s.End(protocol.ClientClosed)
		synctest.Wait()
		if got := addressesOf(m, "ann"); got != nil {
			t.Errorf("ann has left, and is at %v", got)
		}
		if got, ok := m.SessionAt(link.Address().Conn); ok {
			t.Errorf("ann has left, and connection 1 has %v", got)
		}
	})
}

// E3, E9: of who is offline there is nothing to know, and that is no error.
func TestThereIsNothingOfWhoIsOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		gone := logOn(t, m, "gone", newLink(1))
		gone.End(protocol.ClientClosed)
		synctest.Wait()
		for _, userID := range []string{"gone", "never seen", ""} {
			d, known := m.User(userID)
			if known || d.Sessions != nil || m.IsOnline(userID) || addressesOf(m, userID) != nil || m.SetTag(userID, "tag") {
				t.Errorf("of %q there is something: %+v", userID, d)
			}
		}
		for _, sessionID := range []string{gone.ID(), "no UUID", ""} {
			if s, ok := m.Session(sessionID); ok {
				t.Errorf("of session %q there is something: %+v", sessionID, s)
			}
		}
		if n := m.Count(); n != 0 {
			t.Errorf("%d are online", n)
		}
	})
}

// E3: UserData has when the user came online, which a replacement does not start anew, and the session's own time.
func TestUserDataHasLogonTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		online := time.Now()
		logOn(t, m, "ann", newLink(1))
		time.Sleep(10 * time.Second)
		replaced := time.Now()
		s := logOn(t, m, "ann", newLink(2))
		time.Sleep(10 * time.Second)
		active := time.Now()
		s.Beat()
		time.Sleep(10 * time.Second)

		d, _ := m.User("ann")
		if !isAt(d.Since, online) || len(d.Sessions) != 1 || !isAt(d.Sessions[0].LogonTime, replaced) {
			t.Errorf("online since %v, want %v; sessions %+v, want one since %v", d.Since, online, d.Sessions, replaced)
		}
		if off := active.Sub(d.LastActive).Abs(); off > 100*time.Millisecond {
			t.Errorf("LastActive is %v off, more than 100 ms", off)
		}
		if s := d.Sessions[0]; s.ID == "" || s.UserID != "ann" || s.Address != newLink(2).Address() {
			t.Errorf("the session is %+v", s)
		}
	})
}

// E3: the list of those online, and their number.
func TestUsersAndCountTellWhoIsOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		want := map[string]bool{}
		for i := range uint64(1000) {
			userID := fmt.Sprint("user", i)
			s := logOn(t, m, userID, newLink(i))
			if i%3 == 0 {
				s.End(protocol.ClientClosed)
			} else {
				want[userID] = true
			}
		}
		synctest.Wait()
		got := slices.Sorted(m.Users())
		if !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("%d are listed, want %d, each once", len(got), len(want))
		}
		if n, stats := m.Count(), m.Stats().Users; n != len(want) || stats != len(want) {
			t.Errorf("Count is %d and Stats().Users %d, want %d", n, stats, len(want))
		}
	})
}

// A loop over the users may stop, and may change them on the way: it delays no user.
func TestRangingOverUsersHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		for i := range uint64(10) {
			logOn(t, m, fmt.Sprint("user", i), newLink(i))
		}
		seen := 0
		for userID := range m.Users() {
			wait(t, endUser(m, userID, protocol.KickedOut, ""))
			logOn(t, m, userID+" again", newLink(100))
			if seen++; seen == 3 {
				break
			}
		}
		if n := m.Count(); n != 10 {
			t.Errorf("%d are online, want 10", n)
		}
	})
}

// Tag: a text of the application's on a user, through a replacement, until the user goes offline.
func TestTagStaysUntilTheUserGoesOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1))
		if !m.SetTag("ann", "vip") {
			t.Fatal("SetTag says that ann is not online")
		}
		s := logOn(t, m, "ann", newLink(2))
		if d, _ := m.User("ann"); d.Tag != "vip" || d.Sessions[0].UserTag != "vip" {
			t.Errorf("after a replacement the tags are %q and %q", d.Tag, d.Sessions[0].UserTag)
		}
		var atTheEnd string
		unsubscribe := m.Subscribe(usermgr.Events{Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) {
			atTheEnd = s.UserTag
			if m.SetTag("ann", "too late") {
				t.Error("SetTag says that ann is online when Disconnected runs")
			}
			beginLogOn(t, m, "ann", newLink(3)) // comes back at once
			time.Sleep(time.Second)
		}})
		s.End(protocol.ClientClosed)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		unsubscribe()
		if atTheEnd != "vip" {
			t.Errorf("Disconnected had the tag %q", atTheEnd)
		}
		if d, online := m.User("ann"); d.Tag != "" || !online {
			t.Errorf("ann, online: %v, was offline, and has the tag %q", online, d.Tag)
		}
	})
}

// E2: one connection may carry one session after another; the end of the first does not hide the second.
func TestConnectionMayCarryOneSessionAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		link := newLink(1)
		logOn(t, m, "ann", link)
		logOn(t, m, "ann", link)
		if s, ok := m.SessionAt(1); s.UserID != "ann" || !ok {
			t.Errorf("connection 1 has %v, %v", s, ok)
		}
	})
}

// Rule 12: sessions whose clients have lost messages are found by a filter, and by no other.
func TestSessionsThatHaveLostMessagesAreFound(t *testing.T) {
	m := newManager(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
	logOn(t, m, "ann", newLink(1))
	logOn(t, m, "ann", newLink(2)).Dropped(1, 1, 100)
	logOn(t, m, "bob", newLink(3))
	var found []uint64
	for s := range m.Sessions(usermgr.Filter{Dropped: true}) {
		found = append(found, s.Conn)
	}
	if !slices.Equal(found, []uint64{2}) {
		t.Errorf("the sessions on connections %v were found, want 2", found)
	}
	p, err := m.SessionPage(usermgr.PageQuery{Filter: usermgr.Filter{Dropped: true}, Page: 1})
	if err != nil || len(p.Items) != 1 || p.Total != 1 || p.Items[0].Conn != 2 {
		t.Errorf("the page is %+v, %v", p, err)
	}
}

package usermgr_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// many are the sessions of one user, each on a device of its own.
type many struct {
	*usermgr.Manager
	sessions []usermgr.Session
}

func newMany(t testing.TB) *many {
	devices := usermgr.Devices{OnePerClass: true, MaxSessions: -1}
	return &many{Manager: newManager(t, usermgr.Config{Devices: devices, HeartbeatTimeout: -1, ClosedHistory: -1})}
}

// logOn adds sessions until there are n.
func (m *many) logOn(t testing.TB, n int) {
	for i := len(m.sessions); i < n; i++ {
		m.sessions = append(m.sessions, onDevice(t, m.Manager, "ann", uint16(i), newLink(uint64(i))))
	}
}

// The links of a user with several sessions are made when one came or left, and not for each message.
func TestLinksAreMadeOnceAfterAChange(t *testing.T) {
	m := newMany(t)
	m.logOn(t, 100)
	m.Links("ann")
	if n := testing.AllocsPerRun(1000, func() { m.Links("ann") }); n != 0 {
		t.Errorf("Links allocates %v times", n)
	}
}

// Rules 6 and 17: whatever sessions of many come and leave, the look-ups have those that live, the oldest first.
func TestManySessionsAreKnownInTheirOrder(t *testing.T) {
	m := newMany(t)
	var want []uint64
	check := func(after string) {
		t.Helper()
		if got := connsOf(m.Manager, "ann"); !slices.Equal(got, want) {
			t.Fatalf("after %s ann is on connections %v, want %v", after, got, want)
		}
		var sessions []uint64
		for _, s := range sessionsOf(m, "ann") {
			sessions = append(sessions, s.Address.Conn)
		}
		if !slices.Equal(sessions, want) {
			t.Fatalf("after %s ann's sessions are on %v, want %v", after, sessions, want)
		}
	}
	rounds := [][]int{{0}, {39}, {1, 2, 3, 4, 5}, {38, 20, 10, 30, 21, 11, 31}, {6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 19}, {37, 36}}
	next := uint64(0)
	more := func(n int) {
		for range n {
			m.sessions = append(m.sessions, onDevice(t, m.Manager, "ann", uint16(next), newLink(next)))
			want = append(want, next)
			next++
			check("a logon")
		}
	}
	more(40)
	for _, round := range rounds {
		for _, i := range round {
			id := m.sessions[i].ID()
			wait(t, endSession(m, id, protocol.KickedOut, ""))
			want = slices.DeleteFunc(want, func(conn uint64) bool { return conn == uint64(i) })
			check("an end")
			if m.SetSessionTag(id, "x") {
				t.Errorf("session %d has left, and is given a tag", i)
			}
		}
		more(3)
		if !m.SetSessionTag(m.sessions[next-1].ID(), "x") {
			t.Error("a session that lives is given no tag")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(want) > 0 {
		s := sessionsOf(m, "ann")[len(want)/2]
		k, err := m.KickSession(s.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k(ctx); err != nil {
			t.Fatal(err)
		}
		want = slices.Delete(want, len(want)/2, len(want)/2+1)
		check("a kick")
	}
}

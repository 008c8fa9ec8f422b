//go:build !race

package usermgr_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// BenchmarkPastLogins reports what is kept of 64 logons a user, each with a token of its own of 3.9 KB, while
// Config.OfflineGrace has not passed since and three times later. The user is online all the time.
func BenchmarkPastLogins(b *testing.B) {
	const users, logons, grace = 200, 64, 3 * time.Second
	padding := strings.Repeat("x", 3900)
	for b.Loop() {
		b.StopTimer()
		m := newManager(b, usermgr.Config{OfflineGrace: grace, Devices: usermgr.Devices{OnePerClass: true}, HeartbeatTimeout: -1, ClosedHistory: -1})
		for i := range users {
			onDevice(b, m, fmt.Sprint(i), 1, newLink(uint64(i)))
		}
		before := testkit.Heap().HeapAlloc
		b.StartTimer()
		for i := range users * logons {
			l := usermgr.Logon{UserID: fmt.Sprint(i % users), Device: 2, Token: fmt.Sprint(i, padding)}
			s := logOnAs(b, m, l, newLink(uint64(users+i)))
			wait(b, endSession(m, s.ID(), protocol.NetworkError, ""))
		}
		b.StopTimer()
		b.ReportMetric(kept(before)/users, "B/user")
		time.Sleep(3 * grace)
		b.ReportMetric(kept(before)/users, "B/user-later")
		closeManager(b, m)
		b.StartTimer()
	}
}

// BenchmarkRevoked reports what a token takes that KickOptions.RevokeFor refuses, and after its time, when no other has come.
func BenchmarkRevoked(b *testing.B) {
	const tokens, last = 20_000, 3 * time.Second
	for b.Loop() {
		b.StopTimer()
		m := newManager(b, usermgr.Config{HeartbeatTimeout: -1, ClosedHistory: -1})
		before := testkit.Heap().HeapAlloc
		b.StartTimer()
		for i := range uint64(tokens) {
			logOnAs(b, m, usermgr.Logon{UserID: "ann", Token: fmt.Sprint("token ", i)}, newLink(i))
			k, err := m.Kick("ann", &usermgr.KickOptions{RevokeFor: last})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := k(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		b.ReportMetric(kept(before)/tokens, "B/token")
		time.Sleep(2 * last)
		b.ReportMetric(kept(before)/tokens, "B/token-later")
		closeManager(b, m)
		b.StartTimer()
	}
}

// kept returns how much more the heap has than before.
func kept(before uint64) float64 { return float64(int64(testkit.Heap().HeapAlloc) - int64(before)) }

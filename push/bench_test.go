//go:build !race

package push_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// pushes runs a benchmark of pushes to a target among so many users.
func pushes(b *testing.B, users int, to push.Target, confirm bool, receivers int) {
	service := push.New()
	srv := rollcalltest.NewServer(b, rollcalltest.Config{Setup: func(s *rollcalltest.Server) {
		service.Register("engine", push.NewEngine(s.Bridge))
	}})
	var got atomic.Int64
	for i := range users {
		srv.Client(b, fmt.Sprintf("user-%d", i), client.Config{OnPush: func(*client.Client, *protocol.PushMessage) { got.Add(1) }})
	}
	sent := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		m := push.Binary(make([]byte, 64))
		m.Confirm = confirm
		r := service.Push(b.Context(), to, m)
		if n := r.Sessions(); n != receivers || confirm && r.Confirmed() != n {
			b.Fatalf("a push went to %d sessions of %d, and %d confirmed it", n, receivers, r.Confirmed())
		}
		sent += int64(receivers)
		rollcalltest.Eventually(b, func() bool { return sent-got.Load() < 50_000 }, "the clients keep up")
	}
	rollcalltest.Eventually(b, func() bool { return got.Load() == sent }, "all is received")
}

// BenchmarkPushToUser is a push to one of a thousand users.
func BenchmarkPushToUser(b *testing.B) { pushes(b, 1000, push.ToUsers("user-7"), false, 1) }

// BenchmarkPushConfirmed is a push to a user, and the confirmation.
func BenchmarkPushConfirmed(b *testing.B) { pushes(b, 1000, push.ToUsers("user-7"), true, 1) }

// BenchmarkPushToEveryone is a push to a thousand users; the broadcast of bench/ has ten thousand.
func BenchmarkPushToEveryone(b *testing.B) { pushes(b, 1000, push.ToEveryone(), false, 1000) }

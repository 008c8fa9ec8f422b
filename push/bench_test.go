//go:build !race

package push_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

func benchServer(b *testing.B) (*rollcalltest.Server, *push.Service) {
	var service *push.Service
	srv := rollcalltest.NewServer(b, rollcall.Config{}, func(s *rollcall.Server) { service = push.New(s.Bridge) })
	return srv, service
}

// pushes runs a benchmark of pushes to a target among so many users.
func pushes(b *testing.B, users int, to push.Target, confirm bool, receivers int) {
	srv, service := benchServer(b)
	var got atomic.Int64
	for i := range users {
		srv.Client(b, fmt.Sprintf("user-%d", i), client.Config{OnPush: func(*client.Client, *protocol.PushMessage) { got.Add(1) }})
	}
	sent := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		r, err := service.Push(b.Context(), to, push.Binary(make([]byte, 64)), &push.Options{Confirm: confirm})
		if n := r.Sessions(); err != nil || n != receivers || confirm && r.Confirmed() != n {
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

// BenchmarkGoConfirmed is what one goroutine pushes to a user with Go, up to 500 under way, each confirmed and told.
func BenchmarkGoConfirmed(b *testing.B) { goes(b, &push.Options{Confirm: true}) }

// BenchmarkGoKept is BenchmarkGoConfirmed of messages that are kept.
func BenchmarkGoKept(b *testing.B) { goes(b, &push.Options{Confirm: true, Keep: time.Hour}) }

func goes(b *testing.B, o *push.Options) {
	srv, service := benchServer(b)
	for i := range 1000 {
		srv.Client(b, fmt.Sprintf("user-%d", i), client.Config{OnPush: func(*client.Client, *protocol.PushMessage) {}})
	}
	underWay := make(chan struct{}, 500)
	b.ReportAllocs()
	for b.Loop() {
		underWay <- struct{}{}
		service.Go(push.ToUsers("user-7"), push.Binary(make([]byte, 64)), o, func(r push.Result, _ error) {
			if r.Confirmed() != 1 {
				b.Errorf("a message has %+v", r)
			}
			<-underWay
		})
	}
	for range cap(underWay) {
		underWay <- struct{}{}
	}
}

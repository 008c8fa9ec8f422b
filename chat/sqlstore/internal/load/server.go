package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// BenchmarkServer measures a whole server on loopback, with a heap of 64 MB: 50 groups of 20 users, each with a connection, and messages of 200 bytes, to
// a group or to one user each. It reports messages that were stored and answered in a second, frames that were delivered, and the time from a message to
// its answer: half, and 99 of 100. Clients and server are a process each, and share the processors. With so many in flight each client sends when it has
// its answer. With so many a second they come when their time has come, and count from then. The targets in docs/benchmarks.md are messages/s of at least
// 10,000 for SQLite, to a group, and 20,000 for PostgreSQL, to one user each, and with half of SQLite's p99-ms of at most 50.
func BenchmarkServer(b *testing.B, store chat.Store) {
	const groups, places = 50, 20
	var messages *chat.Service
	var cfg rollcall.Config
	cfg.Users.HeartbeatTimeout = -1 // some clients have nothing to send for long
	srv := rollcalltest.NewServer(b, cfg, func(s *rollcall.Server) {
		var err error
		if messages, err = chat.New(s.Bridge, chat.Config{Store: store, Strangers: true}); err != nil {
			b.Fatal(err)
		}
	})
	b.Cleanup(func() {
		srv.Stop()
		if err := messages.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	var members []member
	for g := range groups {
		id := chat.GroupID(0)
		for m := range places {
			user := fmt.Sprintf("user%d-%d", g, m)
			if m == 0 {
				var err error
				if id, err = messages.CreateGroup(b.Context(), user, chat.Group{Open: true}); err != nil {
					b.Fatal(err)
				}
			} else if _, err := messages.Join(b.Context(), id, user); err != nil {
				b.Fatal(err)
			}
			members = append(members, member{user, id})
		}
	}
	b.Cleanup(withHeap())
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	clients := startClients(b, srv.Addr, members)
	run := func(name string, x exchange) {
		b.Run(name, func(b *testing.B) {
			before := messages.Stats()
			b.ResetTimer()
			took := clients.exchange(b, x)
			elapsed, after := b.Elapsed().Seconds(), messages.Stats()
			b.ReportMetric(float64(b.N)/elapsed, "messages/s")
			b.ReportMetric(float64(after.Delivered-before.Delivered)/elapsed, "deliveries/s")
			b.ReportMetric(float64(after.Stored-before.Stored)/float64(max(after.Batches-before.Batches, 1)), "messages/commit")
			report(b, took, time.Millisecond, "ms")
		})
	}
	for _, inFlight := range []int{20, 800} {
		run(fmt.Sprintf("%d in flight", inFlight), exchange{InFlight: inFlight})
	}
	run("800 in flight, to one user each", exchange{InFlight: 800, ToUsers: true})
	const rate = 5000
	run(fmt.Sprintf("%d a second", rate), exchange{InFlight: len(members), Rate: rate})
}

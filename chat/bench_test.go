//go:build unix && !race

package chat_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// BenchmarkReceiver is the processor time of the server, the system's included, for one receiver of a stored message: a group of 200 members who
// are all online, messages of 200 bytes, a store in memory, sockets on loopback. The clients are another process, whose time does not count.
// With 1 in flight a message is sent when all have the one before. The target in docs/benchmarks.md is cpu-ns/receiver of at most 7,000.
func BenchmarkReceiver(b *testing.B) {
	messages, c := benched(b, 200, 1)
	for _, inFlight := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d in flight", inFlight), func(b *testing.B) { c.measure(b, messages, inFlight) })
	}
}

// BenchmarkLargeGroup is the time of a message to a group of 10,000 members, the largest that there is, of whom 100 are online: from the moment
// when a client sends it until the last of the other 99 has it. The second time the program is told of the members who are offline. The target
// in docs/benchmarks.md is ms/message of at most 10.
func BenchmarkLargeGroup(b *testing.B) {
	messages, c := benched(b, 10_000, 100)
	b.Run("no handler", func(b *testing.B) { c.measure(b, messages, 1) })
	messages.Subscribe(chat.Handlers{Offline: func(*chat.Message, []string) {}})
	b.Run("handler of Offline", func(b *testing.B) { c.measure(b, messages, 1) })
}

// benched starts a server with a group, of whose members one of so many is online.
func benched(b *testing.B, members, oneOf int) (messages *chat.Service, c *crowd) {
	store := chat.NewMemory()
	all := make([]string, members)
	online := make([]string, 0, members/oneOf)
	for i := range all {
		all[i] = fmt.Sprintf("user%05d", i)
		if i%oneOf == 0 {
			online = append(online, all[i])
		}
	}
	const group = 1
	g := chat.Group{ID: group, Owner: all[0], MaxMembers: members}
	if err := store.CreateGroup(b.Context(), g, func(int) error { return nil }); err != nil {
		b.Fatal(err)
	}
	_, err := store.UpdateGroup(b.Context(), group, all[1:], func(_ *chat.Group, users []chat.Member) error {
		for i := range users {
			users[i].In = true
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	srv := rollcalltest.NewServer(b, rollcall.Config{}, func(s *rollcall.Server) {
		messages = testkit.Must(chat.New(s.Bridge, chat.Config{Store: store}))
	})
	b.Cleanup(func() {
		srv.Stop()
		if err := messages.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return messages, startCrowd(b, crowdConfig{srv.Addr, group, online})
}

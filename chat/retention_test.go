package chat_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// P31: with Retention the service removes what is older, a little at a time, but for each conversation's last message. A store that fails is asked
// again. Without it all messages stay.
func TestMessagesAreKeptForTheirRetention(t *testing.T) {
	for _, retention := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprint(retention), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &faultyStore{Memory: chat.NewMemory(), only: "Prune", fault: func(context.Context, func() error) error { return errStore }}
				s := notServing(t, bridge.Config{}, chat.Config{Store: store, Retention: retention})
				group := testkit.Must(s.CreateGroup(t.Context(), "ann", chat.Group{Open: true}))
				quiet := testkit.Must(s.CreateGroup(t.Context(), "ann", chat.Group{Open: true}))
				say := func(to chat.GroupID, n int) {
					for range n {
						testkit.Must(s.Send(t.Context(), "ann", chat.ToGroup(to), 0x0100, []byte("hi"), chat.SendOptions{}))
					}
				}
				first := func(of chat.GroupID) uint64 {
					return testkit.Must(s.History(t.Context(), "ann", chat.ToGroup(of), chat.Range{Limit: 1})).First
				}
				want := func(when string, in, inQuiet uint64) {
					t.Helper()
					if retention == 0 {
						in, inQuiet = 1, 1
					}
					if a, b := first(group), first(quiet); a != in || b != inQuiet {
						t.Errorf("rule P31: %s the histories begin with %d and %d, not %d and %d", when, a, b, in, inQuiet)
					}
				}
				say(group, 1200)
				say(quiet, 2)
				time.Sleep(30 * time.Minute)
				say(group, 1)
				time.Sleep(30*time.Minute + 30*time.Second)
				want("before they are looked for", 1, 1)
				store.arm(2)
				time.Sleep(2 * time.Minute)
				want("when the first are old", 1201, 2)
				if retention != 0 && s.Stats().Failures != 1 {
					t.Errorf("%d failures are counted", s.Stats().Failures)
				}
				time.Sleep(2 * time.Hour)
				want("when all are old", 1201, 2)
				say(group, 1)
				time.Sleep(time.Minute)
				want("when there is a newer one", 1202, 2)
			})
		})
	}
}

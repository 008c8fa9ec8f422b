package presence_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
)

// inBubble runs a test with a service whose engine does not run, in a bubble of package synctest. ask asks the service for users, and returns when they were
// last seen, in hours of their records, and the users that the store was asked for meanwhile.
func inBubble(t *testing.T, c presence.Cache, test func(t *testing.T, s *store, ask func(ids ...string) (hours []int, loads []string))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := testkit.Must(rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"}))
		s := &store{Memory: presence.NewMemory()}
		states := presence.New(server.Bridge, presence.Config{Store: s, Cache: c})
		test(t, s, func(ids ...string) (hours []int, loads []string) {
			t.Helper()
			all, err := states.Get(t.Context(), "", ids...)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range all {
				hours = append(hours, p.LastSeen.Hour())
			}
			loads, _ = s.calls()
			return hours, loads
		})
		if err := server.Users.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := states.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// letPass has the bubble's time pass.
func letPass(d time.Duration) { time.Sleep(d) }

// seenAt stores records of users who were last seen at an hour.
func (s *store) seenAt(t *testing.T, hour int, ids ...string) {
	t.Helper()
	var all []presence.Record
	for _, id := range ids {
		day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.Local)
		all = append(all, presence.Record{UserID: id, LastOnline: day, LastSeen: day.Add(time.Duration(hour) * time.Hour)})
	}
	if err := s.Memory.SavePresence(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

// Rule P27: what another process stores is seen within Cache.TTL, and until then the store is not asked again.
func TestTheCacheForgetsAfterItsTTL(t *testing.T) {
	const ttl = 10 * time.Minute
	inBubble(t, presence.Cache{TTL: ttl}, func(t *testing.T, s *store, ask func(...string) ([]int, []string)) {
		want := func(hour int, loads ...string) {
			t.Helper()
			hours, got := ask("bob")
			if !slices.Equal(hours, []int{hour}) || !slices.Equal(got, loads) {
				t.Errorf("rule P27: bob was seen at %v, and the store was asked for %q; not at %d and %q", hours, got, hour, loads)
			}
		}
		s.seenAt(t, 1, "bob")
		want(1, "bob")
		s.seenAt(t, 2, "bob") // another process does this
		letPass(ttl - time.Nanosecond)
		want(1)
		letPass(time.Nanosecond)
		want(2, "bob")
		letPass(ttl / 2)
		want(2)
	})
}

// Rule P27: users whom the store does not know are remembered as long.
func TestTheCacheForgetsUnknownUsersToo(t *testing.T) {
	inBubble(t, presence.Cache{}, func(t *testing.T, s *store, ask func(...string) ([]int, []string)) {
		for _, loads := range [][]string{{"bob"}, nil} {
			if hours, got := ask("bob"); len(hours) != 0 || !slices.Equal(got, loads) {
				t.Errorf("rule P27: bob was seen at %v, and the store was asked for %q", hours, got)
			}
		}
		s.seenAt(t, 3, "bob")
		letPass(time.Minute) // the default
		if hours, got := ask("bob"); !slices.Equal(hours, []int{3}) || !slices.Equal(got, []string{"bob"}) {
			t.Errorf("rule P27: then bob was seen at %v, and the store was asked for %q", hours, got)
		}
	})
}

// Cache.Size is the largest number of users that are remembered: of as many as that, or more, only the last ones cost no call of the store. Half
// of them at least are.
func TestTheCacheIsNoLargerThanItsSize(t *testing.T) {
	for _, size := range []int{1, 2, 3, 4, 7, 10} {
		inBubble(t, presence.Cache{Size: size}, func(t *testing.T, s *store, ask func(...string) ([]int, []string)) {
			var ids []string
			for i := range 3*size + 1 {
				ids = append(ids, fmt.Sprint("user", i))
				s.seenAt(t, 4, ids[i])
				if _, loads := ask(ids[i]); !slices.Equal(loads, ids[i:]) {
					t.Errorf("the store was asked for %q", loads)
				}
			}
			_, loads := ask(ids...)
			asked := strings.Fields(loads[0]) // there are more calls where this one's users have taken the places of others
			remembered := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(asked, id) })
			if n := len(remembered); n > size || n < max(size/2, 1) {
				t.Errorf("of %d users a cache of %d remembers %q", len(ids), size, remembered)
			}
			if !slices.Equal(remembered, ids[len(ids)-len(remembered):]) {
				t.Errorf("a cache of %d remembers %q, which are not the last", size, remembered)
			}
		})
	}
}

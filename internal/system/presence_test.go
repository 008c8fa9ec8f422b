package system_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// A presence list has at most 1,000 users and 256 KiB; what does not fit is left for the next one.
func TestAPresenceListIsNoLongerThanItsLimits(t *testing.T) {
	for _, c := range []struct{ users, id, want int }{
		{1000, 10, 1000}, {1001, 10, 1000}, {1000, 255, (system.MaxListBytes - 2) / (1 + 255 + 17)}, {0, 10, 0},
	} {
		var all []protocol.Presence
		for i := range c.users {
			id := fmt.Sprint("user", i)
			all = append(all, protocol.Presence{UserID: id + strings.Repeat("x", c.id-len(id))})
		}
		list, rest, err := system.AppendPresences([]byte("x"), all)
		if err != nil || len(rest) != c.users-c.want || len(list) > 1+system.MaxListBytes {
			t.Errorf("of %d users with IDs of %d bytes %d are left, want %d, in %d bytes, %v", c.users, c.id, len(rest), c.users-c.want, len(list), err)
		}
		if got, err := protocol.ParsePresences(list[1:]); err != nil || len(got) != c.want {
			t.Errorf("the list has %d users, want %d, %v", len(got), c.want, err)
		}
	}
	for _, bad := range []protocol.Presence{{}, {UserID: "a\n"}, {UserID: "ann", State: 4}} {
		if list, rest, err := system.AppendPresences(nil, []protocol.Presence{{UserID: "bob"}, bad}); err == nil || len(list) != 0 || len(rest) != 2 {
			t.Errorf("a list with %+v is written: %x", bad, list)
		}
	}
}

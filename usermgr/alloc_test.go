//go:build !race

package usermgr_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 12, E9: what stands in the message path allocates nothing.
func TestMessagePathAllocatesNothing(t *testing.T) {
	m := newManager(t, usermgr.Config{})
	s := logOn(t, m, "ann", newLink(1))
	s.Dropped(1, 1, 100) // the first makes the counter
	for name, f := range map[string]func(){
		"Beat":     s.Beat,
		"Received": func() { s.Received(1, 1, 100) },
		"Sent":     func() { s.Sent(1, 1, 100) },
		"Dropped":  func() { s.Dropped(1, 1, 100) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// Looking up allocates nothing, because a relay looks up for every message.
func TestLookUpsAllocateNothing(t *testing.T) {
	m := newManager(t, usermgr.Config{})
	link := newLink(1)
	logOn(t, m, "ann", link)
	at, deviceAt := link.Address().Conn, seam.DeviceAtOf(m)
	for what, look := range map[string]func(){
		"IsOnline": func() { m.IsOnline("ann") },
		"Links":    func() { m.Links("ann") },
		"deviceAt": func() { deviceAt(at) },
		"nobody":   func() { m.Links("bob") },
	} {
		if n := testing.AllocsPerRun(1000, look); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

package cluster_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 20: a replacement on another node has the order of one in one process.
func TestReplacementOnAnotherNodeIsPushedOutThenDisconnectedThenConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		old := w.mustLogOn(a, "ann", 0)
		w.mustLogOn(b, "ann", 0)
		want := []string{"Connected ann@a", "PushedOut ann@a", "Disconnected ann@a PushedOut", "Connected ann@b"}
		if got := w.log.events(); !slices.Equal(got, want) {
			t.Errorf("it happened:\n%s", strings.Join(got, "\n"))
		}
		if _, ok := a.users.Session(old.ID()); ok {
			t.Error("the old session is still found")
		}
		w.settled()
		if got := w.at(a, "ann"); got != "b" {
			t.Errorf("ann is at %q, want b", got)
		}
	})
}

package cluster_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 26 over nodes: bars that are over leave the record of a user who is offline within minutes, and bars that are not stay; also where the answers of
// the store are lost, or the store is silent at that time.
func TestBarsThatAreOverLeaveTheRecordOfAUserWhoIsOffline(t *testing.T) {
	for _, fails := range []string{"", "Swap", "Look", "Remove"} {
		t.Run(fmt.Sprint("lost ", fails), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, usermgr.Config{})
				a, b := w.nodes[0], w.nodes[1]
				w.mustLogOn(b, "bob", 0)
				w.mustLogOn(b, "eve", 0)
				w.settled()
				var lost atomic.Bool
				a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
					if op == fails && lost.CompareAndSwap(false, true) {
						return errCut
					}
					return nil
				}})
				ban := func(n *member, user string, d time.Duration) {
					testkit.Must(n.Kick(context.Background(), user, &usermgr.KickOptions{BanFor: d}))
				}
				ban(a, "tom", 5*time.Minute) // who has no record
				ban(b, "bob", 5*time.Minute) // whose session's end leaves another bar, for ten minutes
				ban(b, "eve", 30*time.Minute)
				w.settled()
				audits := a.Audits() + b.Audits()
				time.Sleep(8 * time.Minute)
				if r := w.record("tom"); r.Version != 0 {
					t.Errorf("tom's record is there: %s", cluster.DecodeText(r))
				}
				time.Sleep(5 * time.Minute)
				if r := w.record("bob"); r.Version != 0 {
					t.Errorf("bob's record is there: %s", cluster.DecodeText(r))
				}
				if r := w.record("eve"); r.Version == 0 || cluster.Bars(r) == 0 {
					t.Errorf("the ban of eve is not in the store: %s", cluster.DecodeText(r))
				}
				w.refuses(a, usermgr.Logon{UserID: "eve"}, protocol.Unauthorized)
				if a.Audits()+b.Audits() != audits {
					t.Error("there was an audit")
				}
			})
		})
	}
}

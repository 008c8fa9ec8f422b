package cluster_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 17: a session that was to give way, and lives on because another one has ended by itself meanwhile, counts towards the number.
func TestASessionThatIsSparedCountsTowardsTheNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 1)
		second := w.mustLogOn(a, "ann", 2)
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" {
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		}})
		time.AfterFunc(30*time.Millisecond, func() { second.End(protocol.ClientClosed) })
		w.mustLogOn(a, "ann", 3)
		a.setFaults(memory.Faults{})
		w.settled()
		if _, ending := cluster.Decode(testkit.Must(w.store.Look(context.Background(), "ann"))[0]); len(ending) != 2 || ending[0] || ending[1] {
			t.Errorf("ending are %v, want two sessions that live", ending)
		}
		w.mustLogOn(b, "ann", 2)
		w.settled()
		w.log.CheckNoRivals(t, 2)
	})
}

package cluster_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 17: a session that begins while another one of the user on its node ends has a grace of its own. It goes on when the store's slow
// answer shows that the other's is over.
func TestTheGraceOfALaterSessionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{OfflineGrace: time.Minute, Devices: usermgr.Devices{OnePerClass: true}})
		a := w.nodes[0]
		first := w.mustLogOn(a, "ann", 1)
		var swaps atomic.Int64
		a.setFaults(memory.Faults{Before: func(_ context.Context, op string) error {
			if op == "Swap" {
				switch swaps.Add(1) {
				case 2: // the later session, beside the first
					time.Sleep(10 * time.Millisecond)
				case 3: // the first one's grace
					time.Sleep(time.Second)
				}
			}
			return nil
		}})
		time.AfterFunc(5*time.Millisecond, func() { first.End(protocol.ClientClosed) })
		w.mustLogOn(a, "ann", 2).End(protocol.ClientClosed)
		time.Sleep(5 * time.Second) // for long after the store's slow answers
		if !a.users.IsOnline("ann") {
			t.Error("the grace is over")
		}
		w.mustLogOn(a, "ann", 1).End(protocol.ClientClosed)
		w.wantPresence("ann", `offline after 0 messages, tag ""`)
	})
}

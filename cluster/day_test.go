package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 21: after a day with faults, and the audit that follows, the store has nothing that no node knows, and nothing is missing.
func TestADayOfFaultsLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}, OfflineGrace: 10 * time.Second})
		r := rand.New(rand.NewPCG(24, 0))
		var all []usermgr.Session
		for began, next := time.Now(), time.Duration(0); time.Since(began) < 24*time.Hour; {
			time.Sleep(time.Duration(r.IntN(60)) * time.Second)
			n := w.nodes[r.IntN(len(w.nodes))]
			s, err := w.logOn(n, usermgr.Logon{UserID: fmt.Sprint("user", r.IntN(20)), Device: uint16(r.IntN(2))})
			if err == nil {
				all = append(all, s)
			}
			if len(all) > 15 {
				all[0].End([]protocol.CloseCode{protocol.ClientClosed, protocol.HeartbeatTimeout}[r.IntN(2)])
				all = all[1:]
			}
			if time.Since(began) > next {
				next += 20 * time.Minute
				w.dayFault(r)
			}
		}
		w.awaitNodes()
		time.Sleep(time.Hour + 10*renew) // an audit
		w.settled()
		w.entries(func(user string, node *member) {
			if node == nil {
				t.Errorf("the record of %s has an entry of a dead node", user)
			}
		})
		for _, m := range testkit.Must(w.store.Table(context.Background())).Members {
			if m.Dead && !m.Swept {
				t.Errorf("dead node %d is not swept", m.Incarnation)
			}
		}
	})
}

// dayFault does something bad for some seconds, or for longer than a lease.
func (w *world) dayFault(r *rand.Rand) {
	n := w.nodes[r.IntN(len(w.nodes))]
	while := time.Duration(r.IntN(60)) * time.Second
	switch r.IntN(5) {
	case 0:
		w.store.Restart()
	case 1:
		before := w.store.Snapshot()
		time.Sleep(time.Duration(r.IntN(20)) * time.Second)
		w.store.Promote(before)
	case 2:
		n.cut()
		time.Sleep(while)
	case 3: // answers are lost: what was asked for has been done
		count := 0
		n.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			if count++; count%3 == 0 && op != "Renew" {
				return errCut
			}
			return nil
		}})
		_, _ = w.logOn(n, usermgr.Logon{UserID: fmt.Sprint("user", r.IntN(20))})
		time.Sleep(while)
	case 4:
		n.setFaults(refusing("Swap", "Remove", "Walk"))
		_, _ = w.logOn(n, usermgr.Logon{UserID: fmt.Sprint("user", r.IntN(20))})
		time.Sleep(while)
	}
	n.setFaults(memory.Faults{})
}

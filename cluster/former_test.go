package cluster_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 20: a node that was fenced answers those that ask for its sessions: a logon elsewhere waits until the handlers of Disconnected have
// returned, and need not wait until the node is taken for dead.
func TestALogonWaitsForTheHandlersOfALifeThatIsOver(t *testing.T) {
	const handler = time.Second // Margin is 2 s
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.log.Inside(func(n, event, _ string) {
			if n == a.name && event == "Disconnected" {
				time.Sleep(handler)
			}
		})
		w.mustLogOn(a, "ann", 0)
		life := a.Incarnation()
		a.setFaults(refusing("Renew", "Table"))
		w.await("the node is fenced", func() bool { return !a.May() })
		time.Sleep(handler / 4) // its sessions are quiet, and it tries to join
		began := time.Now()
		w.mustLogOn(b, "ann", 0)
		if took := time.Since(began); took < handler/2 { // it runs already
			t.Errorf("the logon took %v, and the old session's handler %v", took, handler)
		}
		if b.TakesForDead(life) {
			t.Error("the logon has waited until the node was taken for dead")
		}
		w.happened("Connected ann@a", "Disconnected ann@a NodeLost", "Connected ann@b")
		a.setFaults(memory.Faults{})
		w.awaitNodes()
		w.settled()
	})
}

// Rule 20: a session counts as one of the node from before it is written: a logon elsewhere that finds it in the store waits for its end,
// although its own node has not heard yet that it was written.
func TestALogonWaitsForASessionWhoseNodeWaitsForTheStoresAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		var late atomic.Bool
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Swap" && !late.Swap(true) {
				time.Sleep(time.Second)
			}
			return nil
		}})
		go func() { _, _ = w.logOn(a, usermgr.Logon{UserID: "ann"}) }()
		w.await("the session is in the store", func() bool { return w.records() == 1 })
		w.mustLogOn(b, "ann", 0)
		w.happened("Connected ann@a", "PushedOut ann@a", "Disconnected ann@a PushedOut", "Connected ann@b")
		w.settled()
	})
}

package cluster_test

import (
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 21: the generation of a user's session is greater than that of the one before, also when the record was removed meanwhile, the store
// was restarted with a clock that was set back, and the node that wrote the record is dead: the other nodes have heard of its versions.
func TestVersionsDoNotGoBackWithTheStoresClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		generation := func(n *member) uint64 {
			d, _ := n.users.User("ann")
			return d.Sessions[0].Generation
		}
		s := w.mustLogOn(a, "ann", 0)
		before := generation(a)
		s.End(protocol.ClientClosed)
		w.settled()
		renewals := b.Stats().Renewals
		w.await("b has heard of it by its renewals", func() bool { return b.Stats().Renewals >= renewals+2 })
		a.cut()
		w.store.RestartAt(0)
		w.awaitLogOn(b, "ann")
		if now := generation(b); now <= before {
			t.Errorf("generation %d after %d", now, before)
		}
		w.log.CheckPresence(t)
		a.setFaults(memory.Faults{})
		w.awaitNodes()
	})
}

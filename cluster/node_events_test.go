package cluster_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/usermgr"
)

// nodeEvents has what the nodes of a world tell of each other.
type nodeEvents struct {
	mu   sync.Mutex
	told map[string][]string            // by the name of the node that tells it
	hold map[string]chan struct{}       // has a node's calls wait until it is closed
	busy map[string]bool                // a call of the node runs
	rows map[string]cluster.MemberState // of nodes that are gone
}

// hearNodes returns a world without nodes, and what the nodes will tell that are added to it.
func hearNodes(t *testing.T) (*world, *nodeEvents) {
	w := newWorld(t, 0, usermgr.Config{})
	e := &nodeEvents{
		told: make(map[string][]string), hold: make(map[string]chan struct{}), busy: make(map[string]bool), rows: make(map[string]cluster.MemberState),
	}
	w.change = func(cfg *cluster.Config) {
		name := cfg.Name
		cfg.Events.NodeJoined = func(m cluster.MemberState) {
			e.tell(t, name, fmt.Sprint("+", m.Member.Name, m.Incarnation))
			if m.Dead {
				t.Errorf("%s tells that %s has joined, and that it is dead", name, m.Member.Name)
			}
		}
		cfg.Events.NodeGone = func(m cluster.MemberState) {
			e.tell(t, name, fmt.Sprint("-", m.Member.Name, m.Incarnation))
			e.mu.Lock()
			defer e.mu.Unlock()
			e.rows[m.Member.Name] = m
		}
	}
	return w, e
}

func (e *nodeEvents) tell(t *testing.T, name, what string) {
	e.mu.Lock()
	if e.busy[name] {
		t.Errorf("%s makes two calls at once", name)
	}
	e.busy[name] = true
	e.told[name] = append(e.told[name], what)
	hold := e.hold[name]
	e.mu.Unlock()
	if hold != nil {
		<-hold
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.busy[name] = false
}

// are fails the test unless the node has told this since the last call.
func (e *nodeEvents) are(t *testing.T, n *member, want ...string) {
	t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := e.told[n.name]; !slices.Equal(got, want) {
		t.Errorf("%s has told %q, want %q", n.name, got, want)
	}
	e.told[n.name] = nil
}

// joins and leaves return what is told of a node's present life.
func (n *member) joins() string  { return fmt.Sprint("+", n.name, n.Incarnation()) }
func (n *member) leaves() string { return fmt.Sprint("-", n.name, n.Incarnation()) }

// Rule 22: each node tells which others join, die, come back with another life, and leave in order; and nothing of itself.
func TestNodesTellWhoJoinsAndWhoIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, told := hearNodes(t)
		a := w.addNode()
		w.awaitNodes()
		b := w.addNode()
		w.awaitNodes()
		time.Sleep(renew)
		told.are(t, a, b.joins())
		told.are(t, b, a.joins())
		c := w.addNode()
		w.awaitNodes()
		time.Sleep(renew)
		told.are(t, a, c.joins())
		told.are(t, b, c.joins())
		told.are(t, c, a.joins(), b.joins())

		former := b.leaves()
		b.cut()
		w.await("b is fenced", func() bool { return !b.May() })
		time.Sleep(lease)
		told.are(t, a, former)
		told.are(t, c, former)
		told.are(t, b)
		b.setFaults(memory.Faults{})
		w.awaitNodes()
		time.Sleep(renew)
		told.are(t, a, b.joins())
		told.are(t, c, b.joins())
		told.are(t, b)

		former = c.leaves()
		b.cut()
		w.await("b is fenced", func() bool { return !b.May() })
		c.stop(t)
		time.Sleep(2 * lease)
		gone := b.leaves()
		told.are(t, a, former, gone)
		told.are(t, b)
		told.are(t, c)
		if row := told.rows["c"]; !row.Dead || row.Member.Name != "c" {
			t.Errorf("c is gone with %+v", row)
		}
		b.setFaults(memory.Faults{})
		w.await("b is back", b.May)
		time.Sleep(renew)
		told.are(t, a, b.joins())
		told.are(t, b, former)
	})
}

// Rule 22: of a node that joins anew while it still counts as alive, the former life is told gone first.
func TestAFormerLifeIsGoneBeforeTheNextJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, told := hearNodes(t)
		a, b := w.addNode(), w.addNode()
		w.awaitNodes()
		time.Sleep(renew)
		told.are(t, a, b.joins())
		former := b.leaves()
		b.setFaults(refusing("Renew"))
		w.await("b is fenced", func() bool { return !b.May() })
		told.are(t, a)
		b.setFaults(memory.Faults{})
		w.awaitNodes()
		time.Sleep(renew)
		told.are(t, a, former, b.joins())
	})
}

// A call that blocks holds up no renewal. What has come and gone meanwhile is not told; the rest is, in order.
func TestACallThatBlocksHoldsUpNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, told := hearNodes(t)
		a := w.addNode()
		w.awaitNodes()
		hold := make(chan struct{})
		told.hold[a.name] = hold
		b := w.addNode()
		w.awaitNodes()
		time.Sleep(renew)
		told.are(t, a, b.joins())
		c := w.addNode()
		w.awaitNodes()
		c.stop(t)
		d := w.addNode()
		w.await("d is in the cluster", d.May)
		b.stop(t)
		time.Sleep(2 * lease)
		told.are(t, a)
		if !a.May() || a.Stats().Fences > 0 {
			t.Error("a has lost its lease")
		}
		close(hold)
		told.are(t, a, b.leaves(), d.joins())
	})
}

// Run waits for the call that runs when it ends.
func TestRunWaitsForTheCallThatTellsOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, told := hearNodes(t)
		a := w.addNode()
		w.awaitNodes()
		hold := make(chan struct{})
		told.hold[a.name] = hold
		w.addNode()
		w.awaitNodes()
		time.Sleep(renew)
		a.end()
		time.Sleep(lease)
		select {
		case err := <-a.ended:
			t.Errorf("Run has returned while a call runs: %v", err)
			a.ended <- err
		default:
		}
		close(hold)
		synctest.Wait()
		if len(a.ended) != 1 {
			t.Error("Run has not returned")
		}
	})
}

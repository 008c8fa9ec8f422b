package cluster_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/usermgr"
)

// hearing notes what services of two names on a node hear.
type hearing struct {
	mu     sync.Mutex
	got    []string
	others []uint32
}

func hear(n *member) *hearing {
	h := &hearing{}
	for _, service := range []string{"one", "two"} {
		n.Hear(service, func(from uint32, body []byte) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.got = append(h.got, fmt.Sprint(service, " ", from, " ", string(body)))
		}, func(others []uint32) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.others = others
		})
	}
	return h
}

func (h *hearing) is(t *testing.T, others []uint32, want ...string) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.got, want) {
		t.Errorf("the services have heard %q, want %q", h.got, want)
	}
	if !slices.Equal(slices.Sorted(slices.Values(h.others)), slices.Sorted(slices.Values(others))) {
		t.Errorf("the services know of the nodes %v, want %v", h.others, others)
	}
	h.got = nil
}

// Services of one name on all nodes tell each other something, in order and once, and know which nodes live.
func TestServicesOfOneNameTellEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		heardA, heardB := hear(a), hear(b)
		var want []string
		for i := range 100 { // in one order
			a.Tell("one", 0, fmt.Append(nil, i))
			want = append(want, fmt.Sprint("one ", a.Incarnation(), " ", i))
		}
		idA, idB := uint32(a.Incarnation()), uint32(b.Incarnation())
		heardB.is(t, []uint32{idA}, want...)
		heardA.is(t, []uint32{idB})

		c := w.addNode()
		heardC := hear(c)
		w.awaitNodes()
		idC := uint32(c.Incarnation())
		b.Tell("two", 0, []byte("all"))
		b.Tell("two", idC, []byte("c"))
		b.Tell("three", 0, []byte("none"))
		heardA.is(t, []uint32{idB, idC}, fmt.Sprint("two ", idB, " all"))
		heardC.is(t, []uint32{idA, idB}, fmt.Sprint("two ", idB, " all"), fmt.Sprint("two ", idB, " c"))

		b.stop(t)
		time.Sleep(2 * renew)
		c.Tell("one", 0, []byte("bye"))
		heardA.is(t, []uint32{idC}, fmt.Sprint("one ", idC, " bye"))
		heardC.is(t, []uint32{idA})
		heardB.is(t, heardB.others)
	})
}

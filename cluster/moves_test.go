package cluster_test

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// held is a mesh that holds back the messages to a node.
type held struct {
	cluster.Mesh

	mu     sync.Mutex
	hold   cluster.Incarnation // 0 for none
	frames []func() error
}

func (m *held) Send(to cluster.Incarnation, frame []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if to != m.hold || !cluster.IsMessage(frame) {
		return m.Mesh.Send(to, frame)
	}
	frame = bytes.Clone(frame)
	m.frames = append(m.frames, func() error { return m.Mesh.Send(to, frame) })
	return nil
}

// holds has the messages to a node wait from now on.
func (m *held) holds(to cluster.Incarnation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hold = to
}

// release sends what waits.
func (m *held) release() {
	m.mu.Lock()
	frames := m.frames
	m.hold, m.frames = 0, nil
	m.mu.Unlock()
	for _, send := range frames {
		_ = send()
	}
	synctest.Wait()
}

// newHeldWorld is newWorld with a mesh that can hold messages back.
func newHeldWorld(t *testing.T, nodes int, cfg usermgr.Config) (*world, *held) {
	w := newWorld(t, 0, cfg)
	m := &held{Mesh: w.mesh}
	w.way = m
	for range nodes {
		w.addNode()
	}
	w.awaitNodes()
	return w, m
}

// Rule 23: a message that comes back goes to where the user is then: a look into the store that began before does not count.
func TestAMessageThatComesBackIsNotSentByAnOlderLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, mesh := newHeldWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.mustLogOn(b, "bob", 0)
		var told outcome
		send := func(body string) {
			if err := a.send("bob", body, told.note); err != nil {
				t.Fatal(err)
			}
		}
		send("1")
		want(t, b.sessions.take(), "bob@b: 1")
		mesh.holds(b.Incarnation())
		send("2")
		time.Sleep(10 * time.Second) // the location is not believed any more
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Look" {
				time.Sleep(time.Second)
			}
			return nil
		}})
		send("3")
		synctest.Wait() // the store has answered that bob is at b, and the answer is on its way
		w.mustLogOn(c, "bob", 0)
		mesh.release() // 2 comes back
		var got []string
		w.await("both come", func() bool {
			got = append(got, c.sessions.take()...)
			return len(got) >= 2
		})
		slices.Sort(got)
		want(t, got, "bob@c: 2", "bob@c: 3")
		told.is(t)
	})
}

// Rule 23: a message that comes late to a former life of a node goes back, and is not taken for one that comes twice.
func TestAMessageToAFormerLifeComesBackAfterLaterOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, mesh := newHeldWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.log.Inside(func(_, event, user string) { // so the former life can still be asked
			if user == "eve" && event == "Disconnected" {
				time.Sleep(time.Minute)
			}
		})
		w.mustLogOn(b, "eve", 0)
		w.mustLogOn(b, "bob", 0)
		former := b.Incarnation()
		if err := a.send("bob", "1", nil); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 1")
		mesh.holds(former)
		if err := a.send("bob", "2", nil); err != nil {
			t.Fatal(err)
		}
		b.cut()
		w.await("the node is fenced", func() bool { return !b.May() })
		b.setFaults(memory.Faults{})
		w.awaitNodes()
		w.mustLogOn(b, "bob", 0)
		w.await("the node knows it", func() bool { return w.at(a, "bob") == "b" })
		if err := a.send("bob", "3", nil); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 3")
		mesh.release()
		want(t, b.sessions.take(), "bob@b: 2")
	})
}

// A sender whose node leaves the cluster is not told that a message was not delivered: it may have been.
func TestTheSenderOfADeliveredMessageIsToldNothingWhenTheNodeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "bob", 0)
		var told outcome
		if err := a.send("bob", "1", told.note); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 1")
		a.stop(t)
		told.is(t)
	})
}

// Rule 23: a node whose lease is over delivers no message that has waited for the store.
func TestAMessageThatHasWaitedForTheStoreIsNotDeliveredAfterTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		a := w.nodes[0]
		looked := make(chan struct{})
		a.setFaults(memory.Faults{After: func(_ context.Context, op string) error {
			if op == "Look" {
				<-looked
			}
			return nil
		}})
		s := w.mustLogOn(a, "bob", 0)
		var told outcome
		if err := a.send("bob", "1", told.note); err != nil { // as if it had been sent just before
			t.Fatal(err)
		}
		synctest.Wait()
		a.EndLease()
		close(looked)
		want(t, a.sessions.take())
		told.is(t, protocol.InternalError)
		s.End(protocol.ClientClosed)
	})
}

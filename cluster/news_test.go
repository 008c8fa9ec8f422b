package cluster_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

var onePerClass = usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}

// Rule 23: a session that has come in beside others of its user gets the messages of nodes that have sent to those.
func TestASessionThatJoinsOthersGetsTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, onePerClass)
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		beside := func(n *member, body string) {
			if err := n.Send("bob", &protocol.Message{Type: 1, DestUserID: "bob", Body: []byte(body)}, nil, true, nil); err != nil {
				t.Fatal(err)
			}
		}
		w.mustLogOn(b, "bob", 1)
		if err := a.send("bob", "1", nil); err != nil {
			t.Fatal(err)
		}
		beside(b, "2")
		want(t, b.sessions.take(), "bob@b: 1")
		two := w.mustLogOn(c, "bob", 2)
		synctest.Wait() // the frames have come
		if err := a.send("bob", "3", nil); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 3")
		want(t, c.sessions.take(), "bob@c: 3")
		beside(b, "4")
		want(t, c.sessions.take(), "bob@c: 4")

		two.End(protocol.ClientClosed) // and again
		synctest.Wait()
		if err := a.send("bob", "5", nil); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 5")
		w.mustLogOn(c, "bob", 2)
		synctest.Wait()
		if err := a.send("bob", "6", nil); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 6")
		want(t, c.sessions.take(), "bob@c: 6")
	})
}

// Rule 23: also where a node had looked for the user before, and its message comes after.
func TestASenderThatLookedBeforeASessionJoinedLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, mesh := newHeldWorld(t, 3, onePerClass)
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.mustLogOn(b, "bob", 1)
		mesh.holds(b.Incarnation())
		if err := a.send("bob", "1", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.mustLogOn(c, "bob", 2)
		mesh.release()
		want(t, b.sessions.take(), "bob@b: 1")
		if err := a.send("bob", "2", nil); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 2")
		want(t, c.sessions.take(), "bob@c: 2")
	})
}

// Rule 23: that a user's sessions were all on the sender's node says nothing when there is none there any more.
func TestAMessageFollowsAUserWhoHasLeftTheSendersNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, onePerClass)
		a, b := w.nodes[0], w.nodes[1]
		one := w.mustLogOn(a, "bob", 1)
		if err := a.Send("bob", &protocol.Message{Type: 1}, nil, true, nil); err != nil {
			t.Fatal(err)
		}
		one.End(protocol.ClientClosed)
		synctest.Wait() // the store has no session of bob, and so a hears nothing of the next one
		w.mustLogOn(b, "bob", 1)
		if err := a.send("bob", "1", nil); err != nil { // there is no session here any more
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 1")
	})
}

// A node that may act may send messages.
func TestANodeThatHasJoinedSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0, usermgr.Config{})
		mesh := &routed{Mesh: w.mesh}
		w.way = mesh
		var node atomic.Pointer[member]
		sent := false
		mesh.route = func() {
			a := node.Load()
			if a == nil || !a.May() || sent {
				return
			}
			sent = true
			if err := a.send("bob", "1", nil); err != nil {
				t.Error(err)
			}
		}
		node.Store(w.addNode())
		w.awaitNodes()
	})
}

// routed calls a function when a node tells it where the others are.
type routed struct {
	cluster.Mesh
	route func()
}

func (m *routed) Addr() string                         { return "" }
func (m *routed) Route(map[cluster.Incarnation]string) { m.route() }

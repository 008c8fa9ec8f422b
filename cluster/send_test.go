package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// sessions stand for a bridge: they note what the users on a node get.
type sessions struct {
	users *usermgr.Manager
	node  string

	mu   sync.Mutex
	got  []string
	late bool // sessions that have ended still get messages
}

// LogonDeadline implements seam.LocalSessions.
func (s *sessions) LogonDeadline() time.Duration { return 10 * time.Second }

// Deliver implements seam.LocalSessions.
func (s *sessions) Deliver(userID string, m *protocol.Message, policy uint8, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.late && len(s.users.Links(userID)) == 0 {
		return protocol.Errorf(protocol.UserOffline, "%s is offline", userID)
	}
	if string(m.Body) == "too large" {
		return protocol.Errorf(protocol.MessageTooLarge, "for %s", userID)
	}
	how := ""
	if policy != 0 || key != "" {
		how = fmt.Sprintf(", policy %d, key %q", policy, key)
	}
	s.got = append(s.got, fmt.Sprintf("%s@%s: %s%s", userID, s.node, m.Body, how))
	return nil
}

// take returns what the users have got since the last call.
func (s *sessions) take() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

func (n *member) send(user, body string, undelivered func(error)) error {
	return n.Send(user, &protocol.Message{Type: 1, UserID: "ann", DestUserID: user, Body: []byte(body)}, nil, false, undelivered)
}

// outcome collects what senders are told.
type outcome struct {
	mu   sync.Mutex
	errs []error
}

func (o *outcome) note(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.errs = append(o.errs, err)
}

func (o *outcome) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.errs)
}

func (o *outcome) is(t *testing.T, codes ...protocol.CloseCode) {
	t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	ok := len(o.errs) == len(codes)
	for i := 0; ok && i < len(codes); i++ {
		ok = errors.Is(o.errs[i], codes[i])
	}
	if !ok {
		t.Errorf("the senders were told %v, want %v", o.errs, codes)
	}
	o.errs = nil
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("delivered:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A message's options go along to another node.
func TestOptionsGoAlongToAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "bob", 0)
		for _, o := range []*engine.SendOptions{nil, {Policy: engine.SlowLatest, Key: "k"}, {Unreliable: true}, {Policy: engine.SlowDropNewest, Unreliable: true}} {
			if err := a.Send("bob", &protocol.Message{Type: 1, Body: []byte("hi")}, o, false, nil); err != nil {
				t.Fatal(err)
			}
		}
		want(t, b.sessions.take(), "bob@b: hi", `bob@b: hi, policy 4, key "k"`, `bob@b: hi, policy 128, key ""`, `bob@b: hi, policy 130, key ""`)
	})
}

// Rule 23: messages to a user on another node come in the order in which they were sent, and the store is asked once.
func TestMessagesReachAUserOnAnotherNodeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "bob", 0)
		var looks atomic.Int64
		a.setFaults(memory.Faults{Before: func(ctx context.Context, op string) error {
			if op == "Look" {
				looks.Add(1)
				time.Sleep(50 * time.Millisecond)
			}
			return nil
		}})
		var all []string
		for i := range 300 {
			if err := a.send("bob", fmt.Sprint(i), nil); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				time.Sleep(time.Millisecond)
			}
			all = append(all, fmt.Sprint("bob@b: ", i))
		}
		want(t, b.sessions.take(), all...)
		if looks.Load() != 1 {
			t.Errorf("the store was asked %d times", looks.Load())
		}
	})
}

// Rule 23: a message that comes to a node that the user has left goes where the user is now, once.
func TestAMessageFollowsAUserWhoHasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.mustLogOn(b, "bob", 0)
		var told outcome
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(a.send("bob", "1", told.note))
		want(t, b.sessions.take(), "bob@b: 1")
		w.mustLogOn(c, "bob", 0)
		must(a.send("bob", "2", told.note))
		must(a.send("bob", "3", told.note))
		want(t, c.sessions.take(), "bob@c: 2", "bob@c: 3")
		w.mustLogOn(a, "bob", 0)
		must(a.send("bob", "4", told.note)) // as if it had been sent just before
		want(t, a.sessions.take(), "bob@a: 4")
		want(t, b.sessions.take())
		told.is(t)
	})
}

// Rule 23: the sender of a message to a user who is offline is told so, when the node knows it.
func TestSendersAreToldThatAUserIsOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		var told outcome
		if err := a.send("bob", "1", told.note); err != nil {
			t.Fatal(err)
		}
		told.is(t, protocol.UserOffline)
		s := w.mustLogOn(b, "bob", 0)
		if err := a.send("bob", "too large", told.note); err != nil {
			t.Fatal(err)
		}
		told.is(t, protocol.MessageTooLarge)
		s.End(protocol.ClientClosed)
		synctest.Wait()
		if err := a.send("bob", "2", told.note); err != nil {
			t.Fatal(err)
		}
		told.is(t, protocol.UserOffline)
		want(t, b.sessions.take())
		a.setFaults(refusing("Look"))
		if err := a.send("bob", "3", told.note); err != nil {
			t.Fatal(err)
		}
		told.is(t, protocol.InternalError)
	})
}

// Rule 23: a message reaches each of a user's sessions once, on whichever nodes they are, and its sender is told that there are none only
// when there are none.
func TestAMessageReachesTheSessionsOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		one := w.mustLogOn(b, "bob", 1)
		two := w.mustLogOn(c, "bob", 2)
		var told outcome
		send := func(body string) {
			if err := a.send("bob", body, told.note); err != nil {
				t.Fatal(err)
			}
		}
		send("1")
		want(t, b.sessions.take(), "bob@b: 1")
		want(t, c.sessions.take(), "bob@c: 1")
		send("2") // b has told a to look again, because of bob's second session
		want(t, b.sessions.take(), "bob@b: 2")
		want(t, c.sessions.take(), "bob@c: 2")
		one.End(protocol.ClientClosed)
		synctest.Wait()
		send("3") // a still takes bob to be at both, so this one comes back from b
		want(t, b.sessions.take())
		want(t, c.sessions.take(), "bob@c: 3")
		told.is(t)
		two.End(protocol.ClientClosed)
		synctest.Wait()
		send("4")
		told.is(t, protocol.UserOffline)
	})
}

// Where a user may have several sessions, messages to one who has sessions on this node alone cost one look into the store in LocationTTL,
// and no allocation.
func TestMessagesToAUserWhoIsHereAloneAskTheStoreOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, onePerClass)
		a := w.nodes[0]
		count, looks := counting("Look")
		a.setFaults(count)
		w.mustLogOn(a, "eve", 1)
		m := &protocol.Message{Type: 1, Body: []byte("hi")}
		send := func() {
			if err := a.Send("eve", m, nil, true, nil); err != nil {
				t.Fatal(err)
			}
		}
		send()
		synctest.Wait()
		if n := testing.AllocsPerRun(50, send); n > 0 || looks.Load() != 1 {
			t.Errorf("a message allocates %v times; the store was asked %d times", n, looks.Load())
		}
		want(t, a.sessions.take())
	})
}

// Rule 23: a frame that comes twice is one message.
func TestAFrameThatComesTwiceIsDeliveredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		w.way = &twice{Mesh: w.mesh}
		a, b := w.addNode(), w.nodes[0]
		w.awaitNodes()
		w.mustLogOn(b, "bob", 0)
		var all []string
		for i := range 5 {
			if err := a.send("bob", fmt.Sprint(i), nil); err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprint("bob@a: ", i))
		}
		want(t, b.sessions.take(), all...)
	})
}

// twice sends each frame once more, behind the next.
type twice struct {
	*memory.Mesh
	mu   sync.Mutex
	last []byte
}

func (m *twice) Send(to cluster.Incarnation, frame []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := m.last
	m.last = bytes.Clone(frame)
	err := m.Mesh.Send(to, frame)
	if last != nil {
		_ = m.Mesh.Send(to, last)
	}
	return err
}

// Rule 23: what was sent while the way between two nodes was cut is lost, and what is sent later comes.
func TestMessagesAreLostWhileTheMeshIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "bob", 0)
		for i, cut := range []bool{false, true, false} {
			w.mesh.Lose(func(cluster.Incarnation, []byte) bool { return cut })
			if err := a.send("bob", fmt.Sprint(i), nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		want(t, b.sessions.take(), "bob@b: 0", "bob@b: 2")
	})
}

// Rules 21 and 23: a node whose lease is over delivers nothing that other nodes send, and sends nothing.
func TestANodeOutsideTheClusterDeliversNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(b, "bob", 0)
		w.log.Inside(func(_, event, user string) { // the node joins anew while a session's handler runs
			if user == "eve" && event == "Disconnected" {
				time.Sleep(time.Minute)
			}
		})
		w.mustLogOn(b, "eve", 0)
		b.sessions.late = true // they have not been ended yet
		b.cut()
		w.await("the node is fenced", func() bool { return !b.May() })
		var told outcome
		if err := a.send("bob", "late", told.note); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want(t, b.sessions.take())
		told.is(t, protocol.UserOffline)
		if err := b.send("ann", "1", nil); !errors.Is(err, protocol.InternalError) {
			t.Errorf("a node outside the cluster answered a sender with %v", err)
		}
		b.sessions.late = false
		b.setFaults(memory.Faults{})
		w.awaitNodes()
		w.mustLogOn(b, "bob", 0)
		if err := a.send("bob", "now", told.note); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: now")
	})
}

// What waits for the store is bounded, and senders are told when there is no room.
func TestWhatWaitsForAUserToBeFoundIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, usermgr.Config{})
		a := w.nodes[0]
		a.setFaults(memory.Faults{Before: func(ctx context.Context, op string) error {
			if op != "Look" {
				return nil
			}
			<-ctx.Done()
			return errCut
		}})
		var told outcome
		body := strings.Repeat("x", 1<<20)
		sent := 0
		for ; sent < 100; sent++ {
			if err := a.send("bob", body, told.note); err != nil {
				if !errors.Is(err, cluster.ErrPeerSlow) {
					t.Error(err)
				}
				break
			}
		}
		if sent != 15 {
			t.Errorf("%d messages of 1 MiB wait, want 15", sent)
		}
		w.await("the senders are told", func() bool { return told.count() >= sent })
		told.is(t, slices.Repeat([]protocol.CloseCode{protocol.InternalError}, sent)...)
		if err := a.send("bob", body, told.note); err != nil {
			t.Errorf("there is room again, and a sender was told %v", err)
		}
	})
}

// A user's sessions are looked for again when the node that had them is dead, however long that place would be believed.
func TestAMessageDoesNotGoToADeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0, usermgr.Config{})
		w.change = func(c *cluster.Config) { c.LocationTTL = time.Hour }
		for range 3 {
			w.addNode()
		}
		w.awaitNodes()
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		w.mustLogOn(b, "bob", 0)
		if err := a.send("bob", "1", nil); err != nil {
			t.Fatal(err)
		}
		want(t, b.sessions.take(), "bob@b: 1")
		life := b.Incarnation()
		b.cut()
		w.mesh.Lose(func(to cluster.Incarnation, _ []byte) bool { return to == life })
		w.awaitLogOn(c, "bob")
		w.await("a knows that b is dead", func() bool { return a.TakesForDead(life) })
		if err := a.send("bob", "2", nil); err != nil {
			t.Fatal(err)
		}
		want(t, c.sessions.take(), "bob@c: 2")
		b.setFaults(memory.Faults{})
	})
}

// Rule 23: who is online is asked of all nodes, with one look into the store.
func TestOnlineFindsUsersOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, usermgr.Config{})
		a, b := w.nodes[0], w.nodes[1]
		w.mustLogOn(a, "ann", 0)
		w.mustLogOn(b, "bob", 0)
		count, looks := counting("Look")
		a.setFaults(count)
		got, err := a.Online(context.Background(), "bob", "eve", "ann")
		if err != nil || !slices.Equal(got, []string{"bob", "ann"}) || looks.Load() != 1 {
			t.Errorf("online are %v, %v; the store was asked %d times", got, err, looks.Load())
		}
		if _, err := a.Online(context.Background(), "ann"); err != nil || looks.Load() != 1 {
			t.Errorf("for a user who is here the store was asked: %v", err)
		}
		a.cut()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if got, err := a.Online(ctx, "bob"); err == nil {
			t.Errorf("without the store online are %v", got)
		}
		if got, err := a.Online(ctx, "ann"); err != nil || len(got) != 1 {
			t.Errorf("without the store online here are %v, %v", got, err)
		}
	})
}

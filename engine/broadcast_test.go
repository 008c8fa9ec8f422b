package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// A broadcast takes its place in each connection's order, whatever the wire format.
func TestABroadcastReachesEveryConnectionInOrder(t *testing.T) {
	e := newEngine(engine.Config{Loops: 2})
	var once sync.Once
	const conns, rounds = 20, 50
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
		once.Do(func() {
			go func() {
				for i := range rounds {
					for other := range e.Conns() {
						_ = other.Send(3, fmt.Appendf(nil, "own %d", i))
					}
					n, err := e.Broadcast(e.Conns(), &protocol.Message{Type: 3, Body: fmt.Appendf(nil, "all %d", i)}, nil)
					if n != conns || err != nil {
						t.Errorf("Broadcast returned %d, %v", n, err)
					}
				}
			}()
		})
		return nil
	})
	r := serve(t, e)
	peers := make([]*peer, conns)
	for i := range peers {
		peers[i] = dial(t, r.addr)
		peers[i].ask(1, 1, "hello")
	}
	peers[0].send(protocol.Message{Type: 2})
	for _, p := range peers {
		for i := range rounds {
			for _, want := range []string{fmt.Sprint("own ", i), fmt.Sprint("all ", i)} {
				m, err := p.next()
				if err != nil || string(m.Body) != want {
					t.Fatalf("got %v, %v; want %q", m, err, want)
				}
			}
		}
	}
}

// Conns yields each connection once, one event loop's after another's, each loop's in the order in which they came.
func TestConnsComeALoopAtATimeInOrder(t *testing.T) {
	const conns = 300
	for _, loops := range []int{1, 3} {
		e := newEcho(engine.Config{Loops: loops})
		r := serve(t, e)
		for range conns {
			dial(t, r.addr).ask(1, 1, "")
		}
		runs, last := 1, uint64(0)
		seen := map[uint64]bool{}
		for c := range e.Conns() {
			if c.ID() <= last {
				runs++
			}
			last, seen[c.ID()] = c.ID(), true
		}
		if len(seen) != conns || runs != loops {
			t.Errorf("there are %d connections in %d rising runs, want %d in %d", len(seen), runs, conns, loops)
		}
	}
}

// A broadcast that cannot be encoded goes to no connection.
func TestABroadcastThatCannotBeEncodedIsAnError(t *testing.T) {
	e := newEcho(engine.Config{})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.ask(1, 1, "")
	if n, err := e.Broadcast(e.Conns(), &protocol.Message{Type: 0}, nil); n != 0 || err == nil {
		t.Errorf("Broadcast returned %d, %v", n, err)
	}
	p.ask(1, 2, "")
}

// Who does not want to know who was left out says so with nil, and learns it by the number.
func TestABroadcastLeavesOutWithoutAnybodyToTell(t *testing.T) {
	e := newEcho(engine.Config{Limits: engine.Limits{MaxOutbound: 1 << 10}})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.ask(1, 1, "")
	large := &protocol.Message{Type: 7, Body: make([]byte, 1<<10)}
	if n, err := e.Broadcast(e.Conns(), large, &engine.SendOptions{}); n != 0 || !errors.Is(err, protocol.MessageTooLarge) {
		t.Errorf("Broadcast returned %d, %v", n, err)
	}
	p.ask(1, 2, "")
}

// A sequence that blocks holds up the last of its connections alone, not what was sent to the others.
func TestABroadcastThatBlocksHoldsUpItsLastConnectionsAlone(t *testing.T) {
	e := newEcho(engine.Config{Loops: 1})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.ask(1, 1, "") // otherwise the next may come before it
	last := dial(t, r.addr)
	last.ask(1, 1, "")
	conns := slices.Collect(e.Conns())
	blocked, release, ended := make(chan struct{}), make(chan struct{}), make(chan int)
	go func() {
		n, _ := e.Broadcast(func(yield func(*engine.Conn) bool) {
			yield(conns[0])
			for range 1000 {
				yield(conns[1])
			}
			close(blocked)
			<-release
		}, &protocol.Message{Type: 3}, nil)
		ended <- n
	}()
	<-blocked
	if m := p.read(); m.Type != 3 {
		t.Errorf("got %v", m)
	}
	p.ask(1, 2, "meanwhile")
	close(release)
	if n := receive(t, "the end of the broadcast", ended); n != 1001 {
		t.Errorf("sent to %d", n)
	}
	for range 1001 - 1 {
		last.read()
	}
}

// What Conns yields has another version when a connection was let in, and when one has begun to end.
func TestConnsVersionChangesWithTheConnections(t *testing.T) {
	e := newEcho(engine.Config{Loops: 2})
	if hidden(e).ConnsVersion() != 0 {
		t.Error("there is a version before the engine runs")
	}
	r := serve(t, e)
	seen := map[uint64]bool{hidden(e).ConnsVersion(): true}
	changed := func(what string) {
		t.Helper()
		v := hidden(e).ConnsVersion()
		if seen[v] {
			t.Errorf("the version is an earlier one: %s", what)
		}
		seen[v] = true
	}
	peers := []*peer{dial(t, r.addr), dial(t, r.addr), dial(t, r.addr)}
	for _, p := range peers {
		p.ask(1, 1, "")
		changed("a connection was let in")
	}
	peers[0].ask(1, 2, "")
	if !seen[hidden(e).ConnsVersion()] {
		t.Error("a message has changed the version")
	}
	for c := range e.Conns() {
		c.Close(protocol.KickedOut)
		changed("one is closing")
		break
	}
	for _, p := range peers { // the one that is closing waits for its client, whichever it is
		_ = p.Close()
	}
	eventually(t, "all have gone", func() bool { return len(slices.Collect(e.Conns())) == 0 })
	changed("they have gone")
}

package engine_test

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// With Workers each connection's messages are handled one at a time and in order, whichever worker takes them.
func TestWorkersKeepEachConnectionsOrder(t *testing.T) {
	const conns, messages = 20, 500
	e := newEngine(engine.Config{Workers: 8})
	type state struct {
		inside atomic.Int32
		next   uint32 // a race, unless the handlers of a connection run one at a time
	}
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		s, _ := c.Value("state").(*state)
		if s == nil {
			s = new(state)
			c.SetValue("state", s)
		}
		if s.inside.Add(1) != 1 {
			t.Error("two handlers of one connection at a time")
		}
		if got := binary.BigEndian.Uint32(m.Body); got != s.next {
			t.Errorf("message %d came, want %d", got, s.next)
		}
		s.next++
		s.inside.Add(-1)
		return c.Reply(m, nil)
	})
	r := serve(t, e)
	peers := make([]*peer, conns)
	for i := range peers {
		peers[i] = dial(t, r.addr)
		var ms []protocol.Message
		for n := range uint32(messages) {
			ms = append(ms, protocol.Message{Type: 1, ID: n + 1, Body: binary.BigEndian.AppendUint32(nil, n)})
		}
		peers[i].send(ms...)
	}
	for _, p := range peers {
		for n := range uint32(messages) {
			if m := p.read(); m.ID != n+1 {
				t.Fatalf("message %d was answered, want %d", m.ID, n+1)
			}
		}
	}
}

// A handler that blocks holds up its own connection alone: the others' handlers run, in parallel, and heartbeats are
// answered.
func TestABlockedWorkerHoldsUpItsConnectionAlone(t *testing.T) {
	const workers = 4
	e := newEngine(engine.Config{Workers: workers, Loops: 1})
	entered, release := make(chan struct{}, workers), make(chan struct{})
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		entered <- struct{}{}
		<-release
		return c.Reply(m, nil)
	})
	e.Handle(2, echo)
	r := serve(t, e)
	blocked := make([]*peer, workers-1)
	for i := range blocked {
		blocked[i] = dial(t, r.addr)
		blocked[i].send(protocol.Message{Type: 1, ID: 1}, protocol.Message{Type: 2, ID: 2})
	}
	for range blocked {
		receive(t, "a handler, beside the others", entered)
	}
	other := dial(t, r.addr)
	for id := range uint32(100) {
		other.ask(2, id+1, "")
	}
	for _, p := range blocked {
		p.send(protocol.Message{Type: protocol.TypeHeartbeat, ID: 3})
		if m := p.read(); m.Type != protocol.TypeHeartbeat {
			t.Errorf("before the handler returned %v was answered", m)
		}
	}
	close(release)
	for _, p := range blocked {
		if a, b := p.read(), p.read(); a.ID != 1 || b.ID != 2 {
			t.Errorf("%d and %d were answered", a.ID, b.ID)
		}
	}
}

// Rule 15: what waits for a connection's handlers is bounded, and one that sends more is RateLimited.
func TestInboundLimit(t *testing.T) {
	eachTransportThat(t, (*transport).buffers, inboundLimit)
}

func inboundLimit(t *testing.T) {
	const limit = 256 << 10
	e := newEngine(engine.Config{Workers: 2, Limits: engine.Limits{MaxInbound: limit}})
	entered, release := make(chan struct{}, 1), make(chan struct{})
	var handled atomic.Int32
	e.Handle(1, func(*engine.Conn, *protocol.Message) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	e.Handle(2, func(*engine.Conn, *protocol.Message) error { handled.Add(1); return nil })
	e.Handle(9, echo)
	g := newGate(t, e)
	r := serve(t, e)
	check := healthy(t, r.addr)
	receive(t, "the healthy connection", g.arrived)
	p, b := g.enter(t, r.addr)
	receive(t, "the handler", entered)
	for range 3 * limit >> 10 {
		_, _ = p.Write(frame(t, protocol.Message{Type: 2, Body: make([]byte, 1<<10)}))
	}
	b.wantEnd(t, protocol.RateLimited)
	p.wantClose(protocol.RateLimited)
	close(release)
	_ = p.Close()
	check()
	if err := r.stop(t); err != nil { // waits for the workers
		t.Error(err)
	}
	if n := handled.Load(); n != 0 {
		t.Errorf("%d messages were delivered after the close", n)
	}
}

// A message that is larger than the limit is no more than one message: who sends one at a time is served.
func TestInboundLimitBelowOneMessage(t *testing.T) {
	r := serve(t, newEcho(engine.Config{Workers: 1, Limits: engine.Limits{MaxInbound: 16}}))
	p := dial(t, r.addr)
	for id := range uint32(10) {
		p.ask(1, id+1, "more than may wait for a handler")
	}
}

// With Workers, messages that a client sent before it ended its side are still handled, and then its end is told.
func TestWhatAClientSentBeforeItsEndIsHandled(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"a close":         func(p *peer) { _ = p.Close() },
		"half a close":    func(p *peer) { p.endSide() },
		"a Close message": func(p *peer) { p.send(protocol.Message{Type: protocol.TypeClose}) },
	} {
		t.Run(name, func(t *testing.T) {
			const messages = 500
			e := newEngine(engine.Config{Workers: 2})
			g := newGate(t, e)
			entered, release := make(chan struct{}), make(chan struct{})
			e.Handle(1, func(*engine.Conn, *protocol.Message) error {
				close(entered)
				<-release
				return nil
			})
			var handled atomic.Int32
			e.Handle(2, func(*engine.Conn, *protocol.Message) error { handled.Add(1); return nil })
			r := serve(t, e)
			p, b := g.enter(t, r.addr)
			receive(t, "the handler", entered)
			var ms []protocol.Message
			for range messages {
				ms = append(ms, protocol.Message{Type: 2})
			}
			p.send(ms...)
			end(p)
			eventually(t, "the messages", func() bool { return b.received.Load() == messages+1 })
			if len(b.codes()) != 0 {
				t.Error("the end was told before the messages were handled")
			}
			close(release)
			b.wantEnd(t, protocol.ClientClosed)
			if n := handled.Load(); n != messages {
				t.Errorf("when the end was told %d messages had been handled, want %d", n, messages)
			}
			_ = p.Close()
		})
	}
}

// Replies of a connection's handlers and its pushes keep their order with many workers, also over turns.
func TestWorkersAnswerInOrder(t *testing.T) {
	e := newEcho(engine.Config{Workers: 4})
	r := serve(t, e)
	peers := make([]*peer, 10)
	for i := range peers {
		peers[i] = dial(t, r.addr)
		for n := range uint32(300) {
			peers[i].send(protocol.Message{Type: 1, ID: n + 1, Body: fmt.Append(nil, i)})
		}
	}
	for i, p := range peers {
		for n := range uint32(300) {
			if m := p.read(); m.ID != n+1 || string(m.Body) != fmt.Sprint(i) {
				t.Fatalf("peer %d: got %v, want %d", i, m, n+1)
			}
		}
	}
}

package engine_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: a client that sends more than it may is closed with RateLimited, and no other. A burst is allowed.
func TestAClientOverItsRateIsClosedAlone(t *testing.T) {
	eachTransport(t, aClientOverItsRateIsClosedAlone)
}

func aClientOverItsRateIsClosedAlone(t *testing.T) {
	const burst, hour = 100, 1
	for name, c := range map[string]struct {
		cfg engine.Config
		m   protocol.Message
	}{
		"messages": {engine.Config{Limits: engine.Limits{MaxMessageRate: hour, MessageBurst: burst}}, protocol.Message{Type: 1}},
		"heartbeats": {engine.Config{Limits: engine.Limits{MaxMessageRate: hour, MessageBurst: burst}},
			protocol.Message{Type: protocol.TypeHeartbeat}},
		"bytes": {engine.Config{Limits: engine.Limits{MaxByteRate: hour, ByteBurst: burst * (layout.HeaderLen + 100)}},
			protocol.Message{Type: 1, Body: make([]byte, 100)}},
		"messages, with Workers": {engine.Config{Limits: engine.Limits{MaxMessageRate: hour, MessageBurst: burst}, Workers: 1},
			protocol.Message{Type: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Loops = 1
			e := newEngine(c.cfg)
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
				if m.ID != 0 {
					_ = c.Reply(m, nil)
				}
				return nil
			})
			r := serve(t, e)
			frugal, p := dial(t, r.addr), dial(t, r.addr)
			frugal.ask(1, 1, "")
			p.ask(1, 1, "")
			p.send(slices.Repeat([]protocol.Message{c.m}, burst-5)...)
			p.ask(1, 2, "") // the burst was allowed
			flood := bytes.Repeat(frame(t, c.m), burst)
			go func() { _, _ = p.Write(flood) }() // the end may come in between
			p.wantClose(protocol.RateLimited)
			frugal.ask(1, 2, "")
		})
	}
}

// A request that is one too many is answered Refused, and the connection stays. A request waits until it is answered, also
// after its handler has returned.
func TestMaxRequestsRefusesOneTooMany(t *testing.T) {
	eachTransport(t, maxRequestsRefusesOneTooMany)
}

func maxRequestsRefusesOneTooMany(t *testing.T) {
	for name, workers := range map[string]int{"on the loop": 0, "with Workers": 2} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(engine.Config{Limits: engine.Limits{MaxRequests: 2}, Workers: workers})
			waiting := make(chan *protocol.Message, 10)
			conns := make(chan *engine.Conn, 10)
			e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { waiting <- m.Clone(); conns <- c; return nil })
			e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
			e.Handle(3, func(c *engine.Conn, m *protocol.Message) error { return c.ReplyError(m, protocol.Errorf(7000, "no")) })
			e.Handle(4, func(*engine.Conn, *protocol.Message) error { return nil })
			r := serve(t, e)
			other, p := dial(t, r.addr), dial(t, r.addr)
			for id := range uint32(20) { // those that are answered, in whatever way, do not count
				p.ask(2, id+1, "a")
				p.send(protocol.Message{Type: 3, ID: id + 1})
				p.wantError(id+1, 7000)
				p.send(protocol.Message{Type: 77, ID: id + 1})
				p.wantError(id+1, protocol.NoHandler)
				p.send(protocol.Message{Type: 4}) // nor does one without an ID
			}
			p.send(protocol.Message{Type: 1, ID: 8}, protocol.Message{Type: 1, ID: 8}, protocol.Message{Type: 1, ID: 9})
			p.wantError(9, protocol.Refused)
			p.send(protocol.Message{Type: 2, ID: 10})
			p.wantError(10, protocol.Refused)
			p.ask(protocol.TypeHeartbeat, 8, "") // upkeep goes on, and is no answer to a request with its ID
			p.send(protocol.Message{Type: 2, ID: 10})
			p.wantError(10, protocol.Refused)
			other.ask(2, 1, "another client's")

			m, c := receive(t, "a request", waiting), receive(t, "a connection", conns)
			if err := c.Reply(m, []byte("later")); err != nil {
				t.Fatal(err)
			}
			if got := p.read(); got.ID != 8 || string(got.Body) != "later" {
				t.Errorf("got %v", got)
			}
			p.ask(2, 12, "there is room again")
			if n := len(waiting); n != 1 {
				t.Errorf("%d more requests reached the handler, want 1", n)
			}
		})
	}
}

// A request whose answer cannot be sent, because of its size or its bytes, waits no more: the client is told, once.
func TestAnAnswerThatCannotBeSentEndsItsRequest(t *testing.T) {
	const limit = 64 << 10
	for name, workers := range map[string]int{"on the loop": 0, "with Workers": 2} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(engine.Config{Limits: engine.Limits{MaxRequests: 1, MaxOutbound: limit}, Workers: workers, Listeners: []engine.Listener{{Codec: &panickyCodec{encode: true, fail: func() { panic("in Append") }}}}})
			large, bad := make([]byte, limit), []byte("panic")
			e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, large) })
			e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, bad) })
			e.Handle(3, func(c *engine.Conn, m *protocol.Message) error {
				m = m.Clone()
				go func() { _ = c.Reply(m, large) }()
				return nil
			})
			e.Handle(4, engine.Typed(engine.JSON, func(*engine.Conn, *protocol.Message, int) ([]byte, error) { return large, nil }))
			e.Handle(5, echo)
			r := serve(t, e)
			p := dial(t, r.addr)
			for id := uint32(1); id < 20; id += 5 {
				for typ := range uint16(4) {
					p.send(protocol.Message{Type: typ + 1, ID: id, Body: []byte("1")})
					p.wantError(id, protocol.HandlerFailed)
					p.ask(5, id+1, "there is room again")
				}
			}
		})
	}
}

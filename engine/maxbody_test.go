package engine_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: what the receiver must refuse is an error at the sender, whichever way it is sent, and the connection stays.
func TestABodyOverTheLimitIsNotSent(t *testing.T) {
	const limit = 1000
	large := make([]byte, limit+1)
	for name, cfg := range map[string]engine.Config{
		"on the loop":      {},
		"with Workers":     {Workers: 2},
		"drops":            {SlowPolicy: engine.SlowDropOldest},
		"counts":           {Limits: engine.Limits{MaxRequests: 100}},
		"a line a message": {Listeners: []engine.Listener{{Codec: protocol.Line}}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Limits.MaxBody = limit
			e := newEngine(cfg)
			outcomes := make(chan map[string]error, 1)
			e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
				_, broadcast := e.Broadcast(slices.Values([]*engine.Conn{c}), &protocol.Message{Type: 2, Body: large}, nil)
				var missed error
				_, _ = e.Broadcast(slices.Values([]*engine.Conn{c}), &protocol.Message{Type: 2, Body: large},
					&engine.SendOptions{Policy: engine.SlowDropNewest, Report: func(_ *engine.Conn, err error) { missed = err }})
				outcomes <- map[string]error{
					"Send":                      c.Send(2, large),
					"SendMessage":               c.SendMessage(&protocol.Message{Type: 2, UserID: "bob", Body: large}, nil),
					"SendMessage with a policy": c.SendMessage(&protocol.Message{Type: 2, Body: large}, &engine.SendOptions{Policy: engine.SlowLatest}),
					"a push":                    c.SendMessage(&protocol.Message{Type: protocol.TypePush, Body: large}, nil),
					"Request":                   c.RequestFunc(2, large, time.Minute, func(*protocol.Message, error) { t.Error("the outcome of a request that was not sent") }),
					"Broadcast":                 broadcast,
					"a Report":                  missed,
					"Reply":                     c.Reply(m, large),
					"another Reply":             c.Reply(m.Clone(), large),
				}
				return c.Reply(m, large[:limit])
			})
			r := serve(t, e)
			p := dial(t, r.addr)
			p.sendRaw(inClientsWords(t, cfg.Listeners, 1, 7))
			for what, err := range receive(t, "the outcomes", outcomes) {
				if !errors.Is(err, protocol.MessageTooLarge) {
					t.Errorf("%s: %v, want MessageTooLarge", what, err)
				}
			}
			if cfg.Listeners != nil { // this test does not read its words
				return
			}
			p.wantError(7, protocol.HandlerFailed)
			p.wantError(7, protocol.HandlerFailed)
			if m := p.read(); len(m.Body) != limit || !m.IsReply() {
				t.Errorf("the answer is %d bytes of type %d", len(m.Body), m.Type)
			}
		})
	}
}

// inClientsWords is a first message with an ID.
func inClientsWords(t *testing.T, at []engine.Listener, typ uint16, id uint32) []byte {
	if at == nil {
		return frame(t, protocol.Message{Type: typ, ID: id})
	}
	return []byte("alice\n/1:7\n")
}

// Rule 15: a client that asks never waits for ever for an answer that cannot be sent: one over MaxBody, or over what may wait at all.
func TestTheAskerIsToldThatTheAnswerIsTooLarge(t *testing.T) {
	eachLayer(t, theAskerIsToldThatTheAnswerIsTooLarge)
}

func theAskerIsToldThatTheAnswerIsTooLarge(t *testing.T) {
	const limit = 512 << 10
	body, outbound := engine.Limits{MaxBody: limit}, engine.Limits{MaxBody: -1, MaxOutbound: limit}
	for name, cfg := range map[string]engine.Config{
		"over MaxBody":                           {Limits: body},
		"over MaxBody, with Workers":             {Limits: body, Workers: 1},
		"over Limits.MaxOutbound":                {Limits: outbound},
		"over Limits.MaxOutbound, with Workers":  {Limits: outbound, Workers: 1},
		"over Limits.MaxOutbound, with a policy": {Limits: outbound, SlowPolicy: engine.SlowLatest},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(cfg)
			large := make([]byte, limit+1)
			e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, large) })
			e.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
				m = m.Clone()
				go func() { _ = c.Reply(m, large) }()
				return nil
			})
			e.Handle(9, echo)
			p := dial(t, serve(t, e).addr)
			for id := uint32(1); id < 5; id++ {
				p.send(protocol.Message{Type: 1 + uint16(id%2), ID: id})
				p.wantError(id, protocol.HandlerFailed)
				p.ask(9, 100+id, "the connection stays")
			}
			p.send(protocol.Message{Type: 1}, protocol.Message{Type: 9, ID: 200}) // the first expects no answer
			if m := p.read(); m.ID != 200 {
				t.Errorf("got %v", m)
			}
		})
	}
}

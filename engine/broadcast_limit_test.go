package engine_test

import (
	"errors"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// A broadcast that alone is larger than the outbound limit is refused, and closes no connection.
func TestABroadcastOverTheOutboundLimitIsTooLarge(t *testing.T) {
	eachTransport(t, aBroadcastOverTheOutboundLimitIsTooLarge)
}

func aBroadcastOverTheOutboundLimitIsTooLarge(t *testing.T) {
	const limit = 64 << 10
	e := newEcho(engine.Config{Limits: engine.Limits{MaxOutbound: limit}})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.ask(1, 1, "")
	if n, err := e.Broadcast(e.Conns(), &protocol.Message{Type: 3, Body: make([]byte, limit)}, nil); n != 0 || !errors.Is(err, protocol.MessageTooLarge) {
		t.Errorf("Broadcast returned %d, %v", n, err)
	}
	p.ask(1, 2, "")
}

// mappedCodec is a codec whose values cannot be compared.
type mappedCodec struct {
	protocol.Codec
	_ map[string]int
}

func TestABroadcastToACodecThatCannotBeCompared(t *testing.T) {
	e := newEcho(engine.Config{Listeners: []engine.Listener{{Codec: mappedCodec{Codec: protocol.Binary}}}})
	r := serve(t, e)
	peers := []*peer{dial(t, r.addr), dial(t, r.addr)}
	for _, p := range peers {
		p.ask(1, 1, "")
	}
	if n, err := e.Broadcast(e.Conns(), &protocol.Message{Type: 3}, nil); n != 2 || err != nil {
		t.Errorf("Broadcast returned %d, %v", n, err)
	}
	for _, p := range peers {
		if m := p.read(); m.Type != 3 {
			t.Errorf("got %v", m)
		}
	}
}

package engine_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// What a handler does to the message that it was given does not show in the next one of the same read.
func TestAHandlerMayChangeItsMessage(t *testing.T) {
	e := newEngine(engine.Config{})
	newGate(t, e)
	seen := make(chan protocol.Message, 100)
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		seen <- *m.Clone()
		*m = protocol.Message{Type: 7, Flags: 3, ID: 8, Device: 9, UserID: "eve", DestUserID: "mallory", Body: []byte("changed")}
		return nil
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
	receive(t, "the first message", seen)
	p.send(protocol.Message{Type: 1}, protocol.Message{Type: 2}, protocol.Message{Type: 2, ID: 3, Device: 4, Body: []byte("body")},
		protocol.Message{Type: 2, DestUserID: "bob"}, protocol.Message{Type: 2})
	for _, want := range []protocol.Message{{Type: 1}, {Type: 2}, {Type: 2, ID: 3, Device: 4, Body: []byte("body")},
		{Type: 2, DestUserID: "bob"}, {Type: 2}} {
		m := receive(t, "a message", seen)
		if m.Type != want.Type || m.Flags != 0 || m.ID != want.ID || m.Device != want.Device || m.UserID != "ann" ||
			m.DestUserID != want.DestUserID || string(m.Body) != string(want.Body) {
			t.Errorf("got %+v, want %+v of ann", m, want)
		}
	}
}

package engine_test

import (
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// While a broadcast goes to thousands on one event loop, what a client asks is read after the next turn of the loop at the latest.
func TestABystanderIsReadBetweenTwoTurnsOfABroadcast(t *testing.T) {
	const clients = 1000
	e := newEngine(engine.Config{Loops: 1})
	var bystander *peer
	var conn *engine.Conn      // the bystander's
	turns, askedAfter := 0, 0  // of the loop's
	reads := make(chan int, 1) // after how many turns more
	e.WatchTurns(func(run func(), bulkLeft func() int) {
		turns++
		if run(); askedAfter == 0 && bulkLeft() > 0 {
			askedAfter = turns
			bystander.send(protocol.Message{Type: 2, ID: 2}) // it is there when the loop asks for input next
		}
	})
	e.Handle(1, echo)
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
		if conn = c; m.ID == 2 {
			reads <- turns - askedAfter
		}
		echo(c, m)
		return nil
	})
	r := serve(t, e)
	bystander = dial(t, r.addr)
	bystander.ask(2, 1, "")
	var peers []*peer
	for range clients {
		p := dial(t, r.addr)
		p.send(protocol.Message{Type: 1, ID: 1})
		peers = append(peers, p)
	}
	for _, p := range peers {
		if m := p.read(); m.ID != 1 {
			t.Fatalf("got %v", m)
		}
	}
	all := slices.DeleteFunc(slices.Collect(r.Conns()), func(c *engine.Conn) bool { return c == conn })
	if n, err := r.Broadcast(slices.Values(all), &protocol.Message{Type: 3}, nil); n != clients || err != nil {
		t.Fatalf("Broadcast returned %d, %v", n, err)
	}
	if later := receive(t, "the bystander's request", reads); later > 1 {
		t.Errorf("it was read %d turns later", later)
	}
	if m := bystander.read(); m.ID != 2 {
		t.Errorf("the bystander got %v", m)
	}
	for _, p := range peers {
		if m := p.read(); m.Type != 3 {
			t.Fatalf("got %v", m)
		}
	}
}

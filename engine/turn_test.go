package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// While a broadcast goes to thousands on one event loop, what a client asks is read after the next turn of the loop at the latest;
// where turns do not go on that is when a few others more have been written to.
func TestABystanderIsReadBetweenTwoTurnsOfABroadcast(t *testing.T) {
	for _, turn := range []time.Duration{0, engine.TurnTime} {
		t.Run(turn.String(), func(t *testing.T) { aBystanderIsReadBetweenTwoTurns(t, turn) })
	}
}

func aBystanderIsReadBetweenTwoTurns(t *testing.T, turn time.Duration) {
	const clients = 1000
	e := newEngine(engine.Config{Loops: 1})
	var bystander *peer
	var conn *engine.Conn // the bystander's
	var left func() int
	turns, askedAfter, askedAt := 0, 0, 0 // of the loop's, and how many were left then
	type read struct{ turns, written int }
	reads := make(chan read, 1) // what came in between
	e.WatchTurns(turn, func(run func(), bulkLeft func() int) {
		turns++
		if run(); askedAfter == 0 && bulkLeft() > 0 {
			left, askedAfter, askedAt = bulkLeft, turns, bulkLeft()
			bystander.send(protocol.Message{Type: 2, ID: 2}) // it is there when the loop asks for input next
		}
	})
	e.Handle(1, echo)
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
		if conn = c; m.ID == 2 {
			reads <- read{turns - askedAfter, askedAt - left()}
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
	if got := receive(t, "the bystander's request", reads); got.turns > 1 || turn == 0 && got.written > engine.OutputsATime {
		t.Errorf("it was read %d turns later, when %d of the others more were written to", got.turns, got.written)
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

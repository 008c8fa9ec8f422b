package engine_test

import (
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 25: what has come from a client is looked at before the client is ended for a deadline, whatever the event loop is at: also
// where it has a handler to run before it comes to what other goroutines have asked for.
func TestWhatHasComeIsLookedAtBeforeWhatIsAskedForAfterIt(t *testing.T) {
	const typeBlocks, typeCounts = 2, 3
	e := newEcho(engine.Config{Loops: 1})
	entered, release := make(chan *engine.Conn), make(chan struct{})
	e.Handle(typeBlocks, func(c *engine.Conn, _ *protocol.Message) error {
		entered <- c
		<-release
		return nil
	})
	var seen atomic.Int32
	e.Handle(typeCounts, func(*engine.Conn, *protocol.Message) error { seen.Add(1); return nil })
	r := serve(t, e)
	first, second, third := dial(t, r.addr), dial(t, r.addr), dial(t, r.addr)
	for _, p := range []*peer{first, second, third} {
		p.ask(1, 1, "here")
	}
	for n := range int32(10) {
		first.send(protocol.Message{Type: typeBlocks})
		c := receive(t, "the first handler", entered)
		second.send(protocol.Message{Type: typeBlocks})
		if err := c.Send(1, nil); err != nil { // the loop is woken behind the second
			t.Fatal(err)
		}
		release <- struct{}{}
		c = receive(t, "the second handler", entered)
		third.send(protocol.Message{Type: typeCounts})
		looked := make(chan int32, 1)
		seam.ConnOf(c).Look(func(bool) { looked <- seen.Load() })
		release <- struct{}{}
		if got := receive(t, "the look", looked); got != n+1 {
			t.Fatalf("%d of %d messages that had come were looked at", got, n+1)
		}
		first.read()
	}
}

package engine_test

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 14: the notice is the last thing that a peer gets, also when the close comes while the loop is looking after a
// connection whose peer did not keep up.
func TestTheNoticeIsNotLostWhileThePeerCatchesUp(t *testing.T) {
	eachLayer(t, theNoticeIsNotLostWhileThePeerCatchesUp)
}

func theNoticeIsNotLostWhileThePeerCatchesUp(t *testing.T) {
	e := newEngine(engine.Config{})
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		_ = c.Reply(m, make([]byte, 1<<20)) // more than the socket takes at once
		pause := time.Duration(rand.IntN(12_000)) * time.Microsecond
		time.AfterFunc(pause, func() {
			_ = c.Send(2, []byte("last words"))
			c.Close(protocol.KickedOut)
		})
		return nil
	})
	r := serve(t, e)
	for range 60 / lighter {
		p := dial(t, r.addr)
		p.send(protocol.Message{Type: 1, ID: 1})
		for _, want := range []uint16{1, 2} {
			m, err := p.next()
			if err != nil || m.Type != want {
				t.Fatalf("got type %#x, %v; want %#x", m.Type, err, want)
			}
		}
		p.wantClose(protocol.KickedOut)
		_ = p.Close()
	}
}

// With Workers, a client that has ended the connection keeps its place while what it sent is handled; rule 16: a stopping
// engine does not handle the rest.
func TestABacklogKeepsItsPlaceUntilTheEngineStops(t *testing.T) {
	eachTransport(t, aBacklogKeepsItsPlaceUntilTheEngineStops)
}

func aBacklogKeepsItsPlaceUntilTheEngineStops(t *testing.T) {
	const messages = 2000
	var handled atomic.Int32
	step := make(chan struct{})
	e := newEngine(engine.Config{Workers: 1})
	e.Handle(1, func(*engine.Conn, *protocol.Message) error {
		handled.Add(1)
		<-step
		return nil
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	ms := make([]protocol.Message, messages)
	for i := range ms {
		ms[i].Type = 1
	}
	p.send(ms...)
	_ = p.Close()
	for range 3 {
		step <- struct{}{}
	}
	eventually(t, "the fourth message", func() bool { return handled.Load() == 4 })
	if n := e.Stats().Conns.Open; n != 1 {
		t.Errorf("%d connections have a place, while one has messages that wait", n)
	}
	r.cancel()
	eventually(t, "the end of the others", func() bool {
		select {
		case step <- struct{}{}:
		default:
		}
		return e.Stats().Conns.Open == 0
	})
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if n := handled.Load(); n > messages/2 {
		t.Errorf("%d messages were handled", n)
	}
}

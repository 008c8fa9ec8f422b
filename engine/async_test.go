package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: a handler's error is its answer: a code from 3000 on with its text, HandlerFailed without a text for what is not for
// clients to read. On the loop, by the short way and not, and with Workers. Who expects no answer gets none.
func TestAHandlersErrorAnswersTheMessage(t *testing.T) {
	for _, workers := range []int{0, 2} {
		e := newEngine(engine.Config{Workers: workers})
		e.Handle(1, func(*engine.Conn, *protocol.Message) error { return protocol.Errorf(protocol.Refused, "not you") })
		e.Handle(2, func(*engine.Conn, *protocol.Message) error { return errors.New("the database's password is wrong") })
		e.Handle(3, engine.Async(func(*engine.Conn, *protocol.Message) error { return protocol.Errorf(3001, "later") }))
		r := serve(t, e)
		p := dial(t, r.addr)
		p.send(protocol.Message{Type: 1}, protocol.Message{Type: 1, ID: 7}, protocol.Message{Type: 2, ID: 8})
		p.wantError(7, protocol.Refused)
		p.wantError(8, protocol.HandlerFailed)
		p.send(protocol.Message{Type: 3, ID: 9, UserID: "a user ID is not the short way"})
		p.wantError(9, 3001)
		if n := e.Stats().HandlerErrors; n != 4 {
			t.Errorf("%d errors are counted, want 4", n)
		}
	}
}

// A reply that cannot be sent has told the client so: a handler that returns Reply's error is not a second answer.
func TestAReplyThatFailedIsAnsweredOnce(t *testing.T) {
	e := newEngine(engine.Config{Limits: engine.Limits{MaxBody: 100}})
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, 101)) })
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, nil) })
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1, ID: 7}, protocol.Message{Type: 2, ID: 8})
	p.wantError(7, protocol.HandlerFailed)
	if m := p.read(); m.ID != 8 {
		t.Errorf("the next answer is to %d, want 8", m.ID)
	}
}

// Async: a handler that blocks holds up neither its connection nor the loop, a panic in it closes its connection alone, and Run
// returns when it has.
func TestAsyncHandlersMayBlockAndRunWaitsForThem(t *testing.T) {
	e := newEngine(engine.Config{Loops: 1})
	block, entered := make(chan struct{}), make(chan struct{})
	var returned bool // Run orders it: with -race, it is seen if Run does not wait
	e.Handle(1, engine.Async(func(c *engine.Conn, m *protocol.Message) error {
		close(entered)
		<-block
		testkit.BeSlow() // a Run that does not wait returns now
		returned = true
		return nil
	}))
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	e.Handle(3, engine.Async(func(*engine.Conn, *protocol.Message) error { panic("no") }))
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1}, protocol.Message{Type: 2, ID: 5})
	receive(t, "the handler", entered)
	if m := p.read(); m.ID != 5 {
		t.Errorf("an answer to %d", m.ID)
	}
	other := dial(t, r.addr)
	other.send(protocol.Message{Type: 3})
	other.wantClose(protocol.InternalError)
	r.cancel()
	_ = p.Close()
	eventually(t, "the handler is all that Run waits for", func() bool { return e.Stats().Conns.Open == 0 })
	close(block)
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if !returned {
		t.Error("Run has returned before the handler")
	}
}

// An Async handler that never returns is given up on at Timeouts.Stop, and named.
func TestAnAsyncHandlerThatIsStuckIsNamed(t *testing.T) {
	e := newEngine(engine.Config{Timeouts: engine.Timeouts{Stop: 100 * time.Millisecond}})
	block, entered := make(chan struct{}), make(chan struct{})
	defer close(block)
	e.Handle(1, engine.Async(func(*engine.Conn, *protocol.Message) error { close(entered); <-block; return nil }))
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	p := dial(t, e.Addrs()[0].String())
	p.send(protocol.Message{Type: 1})
	receive(t, "the handler", entered)
	cancel()
	if err := receive(t, "Run", ran); !errors.Is(err, engine.ErrStopTimeout) || !strings.Contains(err.Error(), "Async") {
		t.Errorf("Run returned %v", err)
	}
}

// Rule 15, and Handler: an error is an answer, also one that the handler has from another connection, which is closed or was told
// itself. Otherwise the client waits for ever, and its requests count as in flight.
func TestAnErrorOfAnotherConnectionIsAnswered(t *testing.T) {
	for _, workers := range []int{0, 2} {
		e := newEngine(engine.Config{Workers: workers, Limits: engine.Limits{MaxRequests: 1, MaxBody: 100}})
		type held struct {
			c *engine.Conn
			m *protocol.Message
		}
		var other atomic.Pointer[held]
		e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { other.Store(&held{c, m.Clone()}); return nil })
		e.Handle(2, func(*engine.Conn, *protocol.Message) error {
			return other.Load().c.Reply(other.Load().m, make([]byte, 101))
		})
		e.Handle(3, func(*engine.Conn, *protocol.Message) error { return other.Load().c.Send(9, nil) })
		r := serve(t, e)
		p, gone := dial(t, r.addr), dial(t, r.addr)
		gone.send(protocol.Message{Type: 1, ID: 7})
		eventually(t, "the message", func() bool { return other.Load() != nil })
		p.send(protocol.Message{Type: 2, ID: 8})
		gone.wantError(7, protocol.HandlerFailed)
		p.wantError(8, protocol.HandlerFailed)
		other.Load().c.Close(protocol.KickedOut)
		gone.wantClose(protocol.KickedOut)
		for id := range uint32(3) {
			p.send(protocol.Message{Type: 3, ID: 10 + id})
			p.wantError(10+id, protocol.HandlerFailed)
		}
	}
}

// Limits.MaxInbound: a client that sends faster than Async handlers return takes no more than that, and is then told why it goes.
func TestAsyncHandlersHaveSoMuchInHand(t *testing.T) {
	e := newEngine(engine.Config{Limits: engine.Limits{MaxInbound: 10 << 10}})
	block := make(chan struct{})
	defer close(block)
	var running atomic.Int32
	e.Handle(1, engine.Async(func(*engine.Conn, *protocol.Message) error { running.Add(1); <-block; return nil }))
	e.Handle(2, engine.Async(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, nil) }))
	r := serve(t, e)
	p, other := dial(t, r.addr), dial(t, r.addr)
	other.ask(2, 1, "")
	other.send(protocol.Message{Type: 2, ID: 1, Body: make([]byte, 20<<10)}) // alone a message may be as large as it likes
	if m := other.read(); m.ID != 1 {
		t.Errorf("got %v", m)
	}
	p.send(slices.Repeat([]protocol.Message{{Type: 1}}, 1000)...)
	p.wantClose(protocol.RateLimited)
	if n := running.Load(); n > 10<<10/150+1 {
		t.Errorf("%d handlers run", n)
	}
	for id := range uint32(1000) {
		other.ask(2, 2+id, "")
	}
}

// Rule 14: what a client has asked before it ended its sending side is answered, also by Async handlers, and then the connection ends.
func TestAsyncHandlersAnswerAHalfClosedClient(t *testing.T) {
	eachTransportThat(t, (*transport).halfCloses, func(t *testing.T) {
		for _, workers := range []int{0, 2} {
			e := newEngine(engine.Config{Workers: workers, Timeouts: engine.Timeouts{Close: time.Minute}})
			answer := make(chan struct{})
			e.Handle(1, engine.Async(func(c *engine.Conn, m *protocol.Message) error { <-answer; return c.Reply(m, m.Body) }))
			conns := make(chan *engine.Conn, 1)
			e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error { conns <- c; return nil })
			r := serve(t, e)
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: 2})
			c := receive(t, "the connection", conns)
			p.send(protocol.Message{Type: 1, ID: 2}, protocol.Message{Type: 1, ID: 3})
			p.endSide()
			eventually(t, "the client is half-closed", func() bool { return errors.Is(c.Send(9, nil), engine.ErrClosed) })
			close(answer)
			ids := uint32(0)
			for answers := 0; answers < 2; {
				if m := p.read(); m.IsReply() { // or what was sent above
					answers++
					ids += m.ID
				}
			}
			if ids != 5 {
				t.Error("one request was answered twice")
			}
			p.wantEOF()
			eventually(t, "the connection has left", func() bool { return e.Stats().Conns.Open == 0 })
		}
	})
}

package engine_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// quiescing is an engine whose handlers of type 2 block until they are released.
type quiescing struct {
	*running
	gate             *gate
	entered, release chan struct{}
	returned         atomic.Bool
	after            atomic.Int32 // messages of type 3 that were delivered
}

func runQuiescing(t *testing.T, workers int) *quiescing { return runQuiescingWith(t, workers, 0) }

// runQuiescingWith has a Timeouts.Close: a peer that ends while its session is quiesced is waited for so long, where nothing tells
// that it takes nothing any more, as on a pipe.
func runQuiescingWith(t *testing.T, workers int, within time.Duration) *quiescing {
	e := newEngine(engine.Config{Workers: workers, Timeouts: engine.Timeouts{Close: within}})
	q := &quiescing{gate: newGate(t, e), entered: make(chan struct{}, 1), release: make(chan struct{}, 1)}
	e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
	e.Handle(2, func(*engine.Conn, *protocol.Message) error {
		q.entered <- struct{}{}
		<-q.release
		q.returned.Store(true)
		return nil
	})
	e.Handle(3, func(*engine.Conn, *protocol.Message) error { q.after.Add(1); return nil })
	q.running = serve(t, e)
	return q
}

// quiesce calls Quiesce and returns a channel that gets done's call; a second call fails the test.
func quiesce(t *testing.T, c *engine.Conn) <-chan struct{} {
	done := make(chan struct{}, 1)
	var calls atomic.Int32
	engine.ControlOf(c).Quiesce(func() {
		if calls.Add(1) > 1 {
			t.Error("done was called twice")
		}
		done <- struct{}{}
	})
	return done
}

func bothModes(t *testing.T, f func(t *testing.T, workers int)) {
	for _, workers := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) { f(t, workers) })
	}
}

// Rule 5: done is not called before the message handler at work has returned, and nothing is delivered after it. Rule 6:
// nothing is delivered from the call on, but what is sent still goes out, the notice last.
func TestQuiesceWaitsForTheHandlerAtWork(t *testing.T) {
	eachTransportThat(t, (*transport).buffers, quiesceWaitsForTheHandlerAtWork)
}

func quiesceWaitsForTheHandlerAtWork(t *testing.T) {
	bothModes(t, func(t *testing.T, workers int) {
		q := runQuiescing(t, workers)
		p, b := q.gate.enter(t, q.addr)
		p.send(protocol.Message{Type: 2}, protocol.Message{Type: 3}, protocol.Message{Type: 3})
		receive(t, "the handler", q.entered)
		first, second := quiesce(t, b.conn), quiesce(t, b.conn)
		p.send(protocol.Message{Type: 3})
		select {
		case <-first:
			t.Error("done was called while the handler was at work")
		case <-time.After(50 * time.Millisecond):
		}
		q.release <- struct{}{}
		receive(t, "done", first)
		if !q.returned.Load() {
			t.Error("done was called before the handler returned")
		}
		receive(t, "the second done", second)
		p.send(protocol.Message{Type: 3})
		receive(t, "a third done", quiesce(t, b.conn))

		if err := b.conn.Send(4, []byte("goodbye")); err != nil {
			t.Errorf("Send after Quiesce: %v", err)
		}
		b.conn.Close(protocol.PushedOut)
		if m := p.read(); m.Type != 4 {
			t.Errorf("got type %#x, want the goodbye", m.Type)
		}
		p.wantClose(protocol.PushedOut)
		_ = p.Close()
		eventually(t, "the end", func() bool { return q.Stats().Conns.Open == 0 })
		receive(t, "done on a connection that is gone", quiesce(t, b.conn))
		if n := q.after.Load(); n != 0 {
			t.Errorf("%d messages were delivered after Quiesce", n)
		}
	})
}

func TestQuiesceOnAnIdleConnection(t *testing.T) { eachTransport(t, quiesceOnAnIdleConnection) }

func quiesceOnAnIdleConnection(t *testing.T) {
	bothModes(t, func(t *testing.T, workers int) {
		q := runQuiescingWith(t, workers, 300*time.Millisecond)
		p, b := q.gate.enter(t, q.addr)
		p.send(protocol.Message{Type: 3})
		eventually(t, "the message", func() bool { return q.after.Load() == 1 })
		receive(t, "done", quiesce(t, b.conn))
		p.send(protocol.Message{Type: 3})
		_ = p.Close()
		eventually(t, "the end", func() bool { return q.Stats().Conns.Open == 0 })
		if n := q.after.Load(); n != 1 {
			t.Errorf("%d messages were delivered after Quiesce", n-1)
		}
	})
}

// Rule 5: done is called also when the connection ends first, once, and still not before the handler has returned.
func TestQuiesceWhenTheConnectionEndsFirst(t *testing.T) {
	eachTransport(t, quiesceWhenTheConnectionEndsFirst)
}

func quiesceWhenTheConnectionEndsFirst(t *testing.T) {
	for name, end := range map[string]func(p *peer, b *binding){
		"by a reset":    func(p *peer, _ *binding) { p.reset() },
		"by the peer":   func(p *peer, _ *binding) { _ = p.Close() },
		"by the server": func(_ *peer, b *binding) { b.conn.Close(protocol.KickedOut) },
	} {
		t.Run(name, func(t *testing.T) {
			bothModes(t, func(t *testing.T, workers int) {
				q := runQuiescingWith(t, workers, 300*time.Millisecond)
				p, b := q.gate.enter(t, q.addr)
				p.send(protocol.Message{Type: 2})
				receive(t, "the handler", q.entered)
				done := quiesce(t, b.conn)
				end(p, b)
				if workers > 0 && name != "by the server" { // the loop is free to see the end
					eventually(t, "the end", func() bool { return q.Stats().Conns.Open == 0 })
				}
				select {
				case <-done:
					t.Error("done was called while the handler was at work")
				case <-time.After(20 * time.Millisecond):
				}
				q.release <- struct{}{}
				receive(t, "done", done)
				if !q.returned.Load() {
					t.Error("done was called before the handler returned")
				}
				_ = p.Close()
			})
		})
	}
}

// Rule 5: Quiesce from within a message handler of the connection itself waits for that handler.
func TestQuiesceInsideAHandler(t *testing.T) { eachTransport(t, quiesceInsideAHandler) }

func quiesceInsideAHandler(t *testing.T) {
	bothModes(t, func(t *testing.T, workers int) {
		e := newEngine(engine.Config{Workers: workers})
		g := newGate(t, e)
		var returned atomic.Bool
		done := make(chan bool, 1)
		e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
		e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error {
			engine.ControlOf(c).Quiesce(func() { done <- returned.Load() })
			c.Close(protocol.KickedOut)
			testkit.BeSlow() // a done that does not wait comes now
			returned.Store(true)
			return nil
		})
		r := serve(t, e)
		for range 3 {
			returned.Store(false)
			p, _ := g.enter(t, r.addr)
			p.send(protocol.Message{Type: 2})
			if !receive(t, "done", done) {
				t.Error("done was called before the handler returned")
			}
			p.wantClose(protocol.KickedOut)
			_ = p.Close()
		}
	})
}

// Rule 5: nothing is delivered after done, however the calls fall; the messages flow all the while.
func TestNothingIsDeliveredAfterDone(t *testing.T) {
	eachTransportThat(t, (*transport).resets, nothingIsDeliveredAfterDone)
}

func nothingIsDeliveredAfterDone(t *testing.T) {
	bothModes(t, func(t *testing.T, workers int) {
		for range 20 {
			e := newEngine(engine.Config{Workers: workers})
			g := newGate(t, e)
			var quiet, late atomic.Bool
			var handled atomic.Int32
			e.HandleDefault(func(*engine.Conn, *protocol.Message) error {
				handled.Add(1)
				if quiet.Load() {
					late.Store(true)
				}
				return nil
			})
			r := serve(t, e)
			p, b := g.enter(t, r.addr)
			quit, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				f := frame(t, protocol.Message{Type: 1})
				for {
					select {
					case <-quit:
						return
					default:
						_, _ = p.Write(f)
					}
				}
			}()
			eventually(t, "messages", func() bool { return handled.Load() > 10 })
			done := make(chan struct{})
			b.Quiesce(func() {
				quiet.Store(true)
				close(done)
			})
			receive(t, "done", done)
			close(quit)
			<-ended
			p.reset() // a peer that only ends its side would still be told why its session ends
			eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
			if late.Load() {
				t.Error("a message was delivered after done")
			}
			if err := r.stop(t); err != nil {
				t.Error(err)
			}
		}
	})
}

package engine_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// What gnet leaves behind when the goroutine of a loop ends: a connection that was being given to the loop in the same round,
// of which the loop was told by an event that comes once.
func TestALoopThatIsRunOnDoesTheTasksOfTheRoundBefore(t *testing.T) {
	e := newEngine(engine.Config{Loops: 1})
	entered, release := make(chan struct{}, 1), make(chan struct{})
	e.Handle(1, func(*engine.Conn, *protocol.Message) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	e.Handle(2, func(*engine.Conn, *protocol.Message) error { runtime.Goexit(); return nil })
	e.Handle(9, echo)
	r := serve(t, e)
	blocker, bad := dial(t, r.addr), dial(t, r.addr)
	blocker.ask(9, 1, "")
	bad.ask(9, 1, "")
	for range 10 {
		blocker.send(protocol.Message{Type: 1})
		receive(t, "the handler", entered)
		bad.send(protocol.Message{Type: 2})
		before := e.Stats().Accepted
		next := dial(t, r.addr)
		eventually(t, "the acceptor", func() bool { return e.Stats().Accepted > before })
		release <- struct{}{}
		bad.wantClose(protocol.InternalError)
		next.ask(9, 1, "")
		bad = next
	}
}

// Rule 15: handlers that call Goexit, again and again, on connections with and without TLS, while others are served: what was
// answered before goes out, what was posted to the loop is done, every connection is told, and the engine stops well.
func TestGoexitsOnALoopEndTheirConnectionsAlone(t *testing.T) {
	sec := newSecurity(t)
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d loops", loops), func(t *testing.T) {
			e := newEngine(engine.Config{Loops: loops, Limits: engine.Limits{MaxMemory: 1 << 30}, Listeners: []engine.Listener{
				{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", TLS: sec.server}}})
			e.Handle(1, echo)
			e.Handle(2, func(*engine.Conn, *protocol.Message) error { runtime.Goexit(); return nil })
			e.Handle(3, func(c *engine.Conn, _ *protocol.Message) error {
				_ = c.Send(1, []byte("sent"))
				func() {
					defer runtime.Goexit() // a second one, in a deferred function
					runtime.Goexit()
				}()
				return nil
			})
			e.Handle(9, echo)
			r := serve(t, e)
			check := healthy(t, r.addr)
			var all sync.WaitGroup
			for i := range 4 {
				all.Add(1)
				go func() {
					defer all.Done()
					for range 25 {
						var p *peer
						if i < 2 {
							p = dial(t, r.addr)
						} else {
							p = dialTLS(t, e.Addrs()[1].String(), sec.client)
						}
						p.send(protocol.Message{Type: 1, ID: 7}, protocol.Message{Type: uint16(2 + i%2)}, protocol.Message{Type: 1, ID: 8})
						if m := p.read(); m.ID != 7 {
							t.Errorf("got %v", m)
						}
						if i%2 == 1 {
							if m := p.read(); string(m.Body) != "sent" {
								t.Errorf("got %v", m)
							}
						}
						p.wantClose(protocol.InternalError)
						_ = p.Close()
					}
				}()
			}
			all.Wait()
			eventually(t, "the end of the connections", func() bool { return e.Stats().Conns.Open == 1 })
			check()
			if n := e.Stats().HandlerPanics; n != 100 {
				t.Errorf("%d were counted, want 100", n)
			}
		})
	}
}

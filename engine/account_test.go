package engine_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: every message that was accepted is counted as sent or as dropped, by whichever way it went, while connections die in
// every way, and when the engine stops in the middle of it.
func TestWhatWasAcceptedIsSentOrDroppedHoweverConnectionsEnd(t *testing.T) {
	sec := newSecurity(t)
	e := newEngine(engine.Config{Loops: 2, Limits: engine.Limits{MaxOutbound: 1 << 30}, Timeouts: engine.Timeouts{Close: 50 * time.Millisecond},
		Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", TLS: sec.server}}})
	var accepted atomic.Uint64
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		for range 3 {
			if c.Reply(m, m.Body) == nil {
				accepted.Add(1)
			}
			if c.Send(2, m.Body) == nil {
				accepted.Add(1)
			}
		}
		return nil
	})
	g := newGate(t, e)
	r := serve(t, e)
	enter := func(i int) (*peer, *binding) {
		if i%4 > 0 {
			return g.enterSlow(t, r.addr)
		}
		p := dialTLS(t, e.Addrs()[1].String(), sec.client)
		p.send(protocol.Message{Type: 1, UserID: "ann"})
		return p, receive(t, "a connection", g.arrived)
	}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for size := 1; ; size = size*3%300_007 + 1 {
				select {
				case <-quit:
					return
				default:
				}
				n, err := e.Broadcast(e.Conns(), &protocol.Message{Type: 3, Body: make([]byte, size)}, nil)
				if err != nil {
					t.Error(err)
				}
				accepted.Add(uint64(n))
				for c := range e.Conns() {
					if c.Send(4, make([]byte, size%999)) == nil {
						accepted.Add(1)
					}
				}
				time.Sleep(100 * time.Microsecond) // or else there is nothing but memory to look for
			}
		})
	}
	for range 6 {
		for i := range 12 {
			p, b := enter(i)
			_ = p.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			for range i {
				if _, err := p.Read(make([]byte, 4096)); err != nil {
					break
				}
			}
			switch i % 6 {
			case 0:
				_ = p.Close()
			case 1:
				p.reset()
			case 2:
				b.conn.Close(protocol.KickedOut)
			case 3:
				p.send(protocol.Message{Type: 1}, protocol.Message{Type: 1}, protocol.Message{Type: protocol.TypeClose})
			case 4:
				p.sendRaw([]byte("what is this? no message, at any rate"))
			}
		}
	}
	if err := r.stop(t); err != nil {
		t.Error(err)
	}
	close(quit)
	wg.Wait()
	s := e.Stats()
	if got := s.Out.Messages + s.Dropped.Messages; got != accepted.Load() || s.Dropped.Messages == 0 {
		t.Errorf("of %d messages that were accepted %d count as sent and %d as dropped, which are %d", accepted.Load(),
			s.Out.Messages, s.Dropped.Messages, got)
	}
	t.Logf("%d sent, %d dropped", s.Out.Messages, s.Dropped.Messages)
}

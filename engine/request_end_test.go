package engine_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rules 14 and 15: a request that the server makes while the connection ends is taken, and then it counts as sent or as dropped, and comes
// to an end; or it is refused, and then it does neither.
func TestARequestIsTakenOrRefusedWhileItsConnectionEnds(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: 1 << 30}})
		bound := make(chan *engine.Conn, 1)
		e.HandleDefault(func(c *engine.Conn, _ *protocol.Message) error {
			bound <- c
			return nil
		})
		r := run(t, e)
		var taken, ended atomic.Uint64
		ask := func(c *engine.Conn) error {
			return c.RequestFunc(2, nil, -1, func(_ *protocol.Message, err error) {
				if !errors.Is(err, engine.ErrClosed) {
					t.Errorf("a request ended with %v", err)
				}
				ended.Add(1)
			})
		}
		for range 20 {
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: 1, UserID: "ann"})
			c := receive(t, "a connection", bound)
			one := make(chan struct{})
			var asking sync.WaitGroup
			asking.Go(func() {
				for n := 0; ask(c) == nil; n++ {
					taken.Add(1)
					if n == 0 {
						close(one)
					}
				}
			})
			receive(t, "a request", one)
			c.Close(nil)
			asking.Wait()
			_ = p.Close()
		}
		if err := r.stop(t); err != nil {
			t.Fatal(err)
		}
		if s := e.Stats(); s.Out.Messages+s.Dropped.Messages != taken.Load() || ended.Load() != taken.Load() {
			t.Errorf("%d requests were taken; %d count as sent and %d as dropped, and %d ended", taken.Load(), s.Out.Messages,
				s.Dropped.Messages, ended.Load())
		}
	})
}

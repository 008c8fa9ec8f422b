package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: broadcasts with one order reach all connections in one order, whichever goroutines and loops they come from.
func TestBroadcastsInOrderReachAllInOneOrder(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprint("own codecs: ", own), func(t *testing.T) {
			cfg := engine.Config{Loops: 2}
			if own {
				cfg.Listeners = []engine.Listener{{Addr: "127.0.0.1:0", NewCodec: func() protocol.Codec { return protocol.Binary }}}
			}
			e := newEcho(cfg)
			var order sync.Mutex
			e.Handle(2, func(*engine.Conn, *protocol.Message) error {
				_, _ = hidden(e).BroadcastInOrder(&order, e.Conns(), &protocol.Message{Type: 3, Body: []byte("from a loop")}, nil)
				return nil
			})
			r := serve(t, e)
			const conns, each = 6, 50
			peers := make([]*peer, conns)
			for i := range peers {
				peers[i] = dial(t, r.addr)
				peers[i].ask(1, 1, "")
			}
			var sending sync.WaitGroup
			for g := range 3 {
				sending.Go(func() {
					for i := range each {
						m := &protocol.Message{Type: 3, Body: fmt.Appendf(nil, "%d from goroutine %d", i, g)}
						if n, err := hidden(e).BroadcastInOrder(&order, e.Conns(), m, nil); n != conns || err != nil {
							t.Errorf("sent to %d, %v", n, err)
						}
					}
				})
			}
			for range each {
				peers[0].send(protocol.Message{Type: 2})
				peers[1].send(protocol.Message{Type: 2})
			}
			sending.Wait()
			var first []byte
			for i, p := range peers {
				var got []byte
				for range 5 * each {
					got = append(append(got, p.read().Body...), '\n')
				}
				if i == 0 {
					first = got
				} else if !bytes.Equal(first, got) {
					t.Fatalf("connection %d has another order than the first", i)
				}
			}
		})
	}
}

// A broadcast in order tells of those it leaves out, and closes those that do not keep up, when the order is free again: what runs
// then may broadcast in the same order.
func TestABroadcastInOrderCallsNobodyWithTheOrderHeld(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprint("own codecs: ", own), func(t *testing.T) {
			cfg := engine.Config{Limits: engine.Limits{MaxOutbound: 1 << 16}}
			if own {
				cfg.Listeners = []engine.Listener{{Addr: "127.0.0.1:0", NewCodec: func() protocol.Codec { return protocol.Binary }}}
			}
			e := newEcho(cfg)
			r := serve(t, e)
			dial(t, r.addr).ask(1, 1, "")
			var order sync.Mutex
			ended := make(chan struct{}, 1)
			var conn *engine.Conn
			for conn = range e.Conns() {
				err := conn.RequestFunc(4, nil, 1<<40, func(*protocol.Message, error) { // when the connection closes
					order.Lock()
					defer order.Unlock()
					ended <- struct{}{}
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			missed := false
			m := &protocol.Message{Type: 3, Body: make([]byte, 1<<15)}
			for i := 0; !missed && i < 10_000; i++ {
				_, _ = hidden(e).BroadcastInOrder(&order, e.Conns(), m, &engine.SendOptions{Report: func(c *engine.Conn, why error) {
					order.Lock()
					defer order.Unlock()
					missed = c == conn && errors.Is(why, engine.ErrClosed)
				}})
			}
			if !missed {
				t.Fatal("the connection keeps up")
			}
			receive(t, "the end of the request", ended)
		})
	}
}

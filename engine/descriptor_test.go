package engine_test

import (
	"cmp"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// gnet: a Write after a close goes to whatever has the descriptor now. What is sent to a connection that has ended never
// reaches the one whose socket has its descriptor now. Every body carries the connection's ID, and every peer must see only
// its own.
func TestASendAfterTheEndNeverReachesAnotherPeer(t *testing.T) {
	const generations, perGeneration, senders = 24, 25, 2
	e := newEngine(engine.Config{Loops: 2, Timeouts: engine.Timeouts{Close: time.Second}})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		return c.Reply(m, binary.BigEndian.AppendUint64(nil, c.ID()))
	})
	r := serve(t, e)

	var mu sync.Mutex
	var known []*engine.Conn // every connection that there ever was
	quit := make(chan struct{})
	var sent, refused atomic.Int64
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for n := s; ; n += 7 {
				select {
				case <-quit:
					return
				default:
				}
				mu.Lock()
				var c *engine.Conn
				if recent := min(len(known), 2*perGeneration); recent > 0 {
					c = known[len(known)-1-n%recent]
				}
				mu.Unlock()
				runtime.Gosched()
				if c == nil {
					continue
				}
				body := binary.BigEndian.AppendUint64(nil, c.ID())
				send := func() error { return c.Send(2, body) }
				if n%2 == 0 { // by the way of a broadcast, which is written past gnet
					send = func() error {
						if n, err := e.Broadcast(slices.Values([]*engine.Conn{c}), &protocol.Message{Type: 2, Body: body}, nil); n == 0 {
							return cmp.Or(err, engine.ErrClosed)
						}
						return nil
					}
				}
				switch err := send(); {
				case err == nil:
					sent.Add(1)
				case errors.Is(err, engine.ErrClosed):
					refused.Add(1)
				default:
					t.Errorf("Send: %v", err)
				}
			}
		})
	}
	for g := range generations {
		peers := make([]*peer, perGeneration)
		ids := make([]uint64, perGeneration)
		for i := range peers {
			peers[i] = dial(t, r.addr)
			peers[i].send(protocol.Message{Type: 1, ID: 1})
		}
		for i, p := range peers {
			for n := 0; n < 20; n++ { // its reply, and what the senders have for it
				m := p.read()
				id := binary.BigEndian.Uint64(m.Body)
				if ids[i] == 0 {
					ids[i] = id
					mu.Lock()
					known = append(known, e.Conn(id))
					mu.Unlock()
				}
				if id != ids[i] {
					t.Fatalf("connection %d got a message of connection %d", ids[i], id)
				}
				if m.Type == 1 && g%4 > 0 { // in some generations nothing but the reply is waited for
					break
				}
			}
		}
		for i, p := range peers {
			switch i % 3 { // by a reset, by the peer, by the server
			case 0:
				p.reset()
			case 1:
				_ = p.Close()
			case 2:
				if c := e.Conn(ids[i]); c != nil {
					c.Close(protocol.KickedOut)
				}
				_ = p.Close()
			}
		}
	}
	close(quit)
	wg.Wait()
	if sent.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d sends were taken, %d refused: the test did not show what it should", sent.Load(), refused.Load())
	}
}

// gnet: a write that fails in the middle of a handler closes the connection inside the call, and a Write after that is not
// refused. What the handler still sends goes nowhere, its end is told when it has returned, and Quiesce waits for it.
func TestAWriteThatFailsInsideAHandler(t *testing.T) {
	for range 10 {
		e := newEngine(engine.Config{Loops: 1, Limits: engine.Limits{MaxOutbound: 1 << 20}})
		g := newGate(t, e)
		entered, goOn := make(chan struct{}), make(chan struct{})
		var returned, quiesced atomic.Bool
		done := make(chan struct{})
		e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
		e.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
			close(entered)
			<-goOn
			c.Quiesce(func() {
				if quiesced.Swap(true) {
					t.Error("done was called twice")
				}
				if !returned.Load() {
					t.Error("done was called before the handler returned")
				}
				close(done)
			})
			for range 100 {
				_ = c.Reply(m, make([]byte, 64<<10)) // the peer is gone: one of these fails
			}
			_ = c.Send(1, nil)
			returned.Store(true)
			return nil
		})
		e.Handle(3, func(*engine.Conn, *protocol.Message) error {
			t.Error("a message was delivered after the end")
			return nil
		})
		r := serve(t, e)
		p, b := g.enter(t, r.addr)
		p.send(protocol.Message{Type: 2, ID: 1}, protocol.Message{Type: 3})
		receive(t, "the handler", entered)
		p.reset()
		close(goOn)
		receive(t, "done", done)
		receive(t, "Ended", b.firstEnd)
		if !returned.Load() {
			t.Error("Ended was called before the handler returned")
		}
		eventually(t, "the end", func() bool { return e.Stats().Connections == 0 })
		if err := r.stop(t); err != nil {
			t.Error(err)
		}
	}
}

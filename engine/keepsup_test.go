package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
)

// A windowed client reads as fast as it can, and has window messages in flight at most: for each that comes it asks for the next.
type windowed struct {
	window, size, messages int
}

// ways are the ways in which a server sends. Each sends the answer to m, which is the next message of the window.
var ways = map[string]func(e *engine.Engine, c *engine.Conn, m *protocol.Message, body []byte) error{
	"replies": func(_ *engine.Engine, c *engine.Conn, m *protocol.Message, body []byte) error {
		return c.Reply(m, body)
	},
	"sends": func(_ *engine.Engine, c *engine.Conn, m *protocol.Message, body []byte) error {
		return c.Send(m.Type, body)
	},
	"broadcasts": func(e *engine.Engine, c *engine.Conn, m *protocol.Message, body []byte) error {
		n, err := e.Broadcast(slices.Values([]*engine.Conn{c}), &protocol.Message{Type: m.Type, Body: body}, nil)
		if err == nil && n != 1 {
			err = engine.ErrDropped
		}
		return err
	},
}

// run asks for the messages, and wants all of them.
func (w windowed) run(nc net.Conn) error {
	ask, err := protocol.Binary.Append(nil, &protocol.Message{Type: 1, ID: 1})
	if err != nil {
		return err
	}
	read := func(b []byte) (int, error) {
		_ = nc.SetDeadline(time.Now().Add(patience))
		return nc.Read(b)
	}
	if _, err := nc.Write(bytes.Repeat(ask, w.window)); err != nil {
		return err
	}
	n := 0
	err = wiretest.Each(make([]byte, 256<<10), read, func(m *protocol.Message) error {
		if m.Type != 1 || len(m.Body) != w.size {
			return fmt.Errorf("got %v", m)
		}
		if n++; n == w.messages {
			return errAllCame
		}
		if n+w.window <= w.messages {
			_, err := nc.Write(ask)
			return err
		}
		return nil
	})
	if err != errAllCame {
		return fmt.Errorf("after %d messages: %v", n, err)
	}
	return nil
}

var errAllCame = errors.New("all messages have come")

// Rule 15: a client that keeps up is neither closed nor loses a message, where all that is in flight, what the kernels hold
// included, is less than Limits.MaxOutbound: however it is sent, over each transport, and whatever is believed of how much waits.
func TestAClientThatKeepsUpIsNotTakenForASlowOne(t *testing.T) {
	turn := 0
	for _, w := range []struct {
		windowed
		limit int
	}{
		{windowed{window: 15, size: 16 << 10, messages: 1000 / lighter}, 256 << 10},
		{windowed{window: 120 / lighter, size: 65 << 10, messages: 250 / lighter}, 8 << 20 / lighter},
	} {
		for _, name := range slices.Sorted(maps.Keys(ways)) {
			send := ways[name]
			for _, policy := range []engine.SlowPolicy{engine.SlowClose, engine.SlowDropNewest, engine.SlowDropOldest} {
				for _, workers := range []int{0, 2} {
					turn++
					eachTransportInTurn(t, fmt.Sprintf("%d/%s/policy=%d/workers=%d", w.limit, name, policy, workers), turn, 8, func(t *testing.T) {
						e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: w.limit}, SlowPolicy: policy, Workers: workers})
						body := make([]byte, w.size)
						e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
							if err := send(e, c, m, body); err != nil {
								t.Errorf("sending: %v", err)
							}
							return nil
						})
						r := serve(t, e)
						if err := w.run(connect(t, r.addr)); err != nil {
							t.Error(err)
						}
						if n := e.Stats().Dropped.Messages; n > 0 {
							t.Errorf("%d messages were dropped", n)
						}
					})
				}
			}
		}
	}
}

// eachTransportInTurn is eachTransport for the rows of a table. With the race detector, with which each byte costs much, a row has one transport of
// each number of others, and the next row another one.
func eachTransportInTurn(t *testing.T, row string, turn, others int, f func(t *testing.T)) {
	t.Helper()
	at := (3*turn + turn/8) % others // so that each meets all settings
	t.Run(row, func(t *testing.T) {
		i := 0
		eachTransportThat(t, func(*transport) bool {
			i++
			return lighter == 1 || i%others == at
		}, f)
	})
}

// connect returns a connection to addr whose segments, over TCP, are those of a network, not loopback's.
func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	return reach(t, addr, func(fd uintptr) { setSegmentSize(fd, 1400) })
}

// Rule 15: Limits.MaxMemory closes no connection while less is in flight than it allows.
func TestTheMemoryBudgetClosesNobodyWhoKeepsUp(t *testing.T) {
	turn := 0
	for _, name := range slices.Sorted(maps.Keys(ways)) {
		send := ways[name]
		for _, clients := range []int{1, 10} {
			turn++
			eachTransportInTurn(t, fmt.Sprintf("%s/%d", name, clients), turn, 4, func(t *testing.T) {
				w := windowed{window: 40 / clients, size: 16 << 10, messages: 2000 / clients / lighter}
				e := newEngine(engine.Config{Limits: engine.Limits{MaxMemory: 1 << 20}})
				body := make([]byte, w.size)
				e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
					if err := send(e, c, m, body); err != nil {
						t.Errorf("sending: %v", err)
					}
					return nil
				})
				r := serve(t, e)
				var wg sync.WaitGroup
				for range clients {
					nc := connect(t, r.addr)
					wg.Go(func() {
						if err := w.run(nc); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

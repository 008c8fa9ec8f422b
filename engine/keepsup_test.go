package engine_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
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
// included, is less than Limits.MaxOutbound: however it is sent, and whatever is believed of how much waits.
func TestAClientThatKeepsUpIsNotTakenForASlowOne(t *testing.T) {
	ca := testca.New(t)
	for _, w := range []struct {
		windowed
		limit int
	}{
		{windowed{window: 15, size: 16 << 10, messages: 1000 / lighter}, 256 << 10},
		{windowed{window: 120 / lighter, size: 65 << 10, messages: 250 / lighter}, 8 << 20 / lighter},
	} {
		for name, send := range ways {
			for _, policy := range []engine.SlowPolicy{engine.SlowClose, engine.SlowDropNewest, engine.SlowDropOldest} {
				for _, workers := range []int{0, 2} {
					for _, secure := range []bool{false, true} {
						if secure && policy == engine.SlowDropOldest || testing.Short() && workers > 0 && secure {
							continue
						}
						if lighter > 1 && policy != engine.SlowClose && (workers > 0) == secure {
							continue
						}
						t.Run(fmt.Sprintf("%d/%s/policy=%d/workers=%d/tls=%t", w.limit, name, policy, workers, secure), func(t *testing.T) {
							cfg := engine.Config{Limits: engine.Limits{MaxOutbound: w.limit}, SlowPolicy: policy, Workers: workers}
							if secure {
								cfg.Listeners = []engine.Listener{{Addr: "127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}}}
							}
							e := newEngine(cfg)
							body := make([]byte, w.size)
							e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
								if err := send(e, c, m, body); err != nil {
									t.Errorf("sending: %v", err)
								}
								return nil
							})
							r := serve(t, e)
							if err := w.run(connect(t, r.addr, secure, ca)); err != nil {
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
}

// connect returns a connection to addr whose segments are those of a network, not loopback's.
func connect(t *testing.T, addr string, secure bool, ca *testca.Authority) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) { setSegmentSize(fd, 1400) })
	}}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if !secure {
		return nc
	}
	return tls.Client(nc, &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"})
}

// Rule 15: Limits.MaxMemory closes no connection while less is in flight than it allows.
func TestTheMemoryBudgetClosesNobodyWhoKeepsUp(t *testing.T) {
	for name, send := range ways {
		for _, clients := range []int{1, 10} {
			t.Run(fmt.Sprintf("%s/%d", name, clients), func(t *testing.T) {
				w := windowed{window: 40 / clients, size: 16 << 10, messages: 4000 / clients / lighter}
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
					nc := connect(t, r.addr, false, nil)
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

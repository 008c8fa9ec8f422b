//go:build !race

package bridge_test

import (
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// crowd is a server with many users, whose clients count what they receive.
type crowd struct {
	*server
	names   []string
	got     atomic.Int64 // bytes
	sent    int64
	sends   int // a round
	holder  *rawClient
	held    chan struct{}
	release chan struct{}
}

func newCrowd(b *testing.B, users int) *crowd {
	s := newServer(b, options{users: usermgr.Config{HeartbeatTimeout: -1}, engine: engine.Config{Loops: 1}})
	c := &crowd{server: s, held: make(chan struct{}), release: make(chan struct{})}
	s.engine.Handle(hold, func(*engine.Conn, *protocol.Message) error {
		c.held <- struct{}{}
		<-c.release
		return nil
	})
	s.start()
	for i := range users {
		name := fmt.Sprint("user-", i)
		raw, err := dialRaw(c.addr())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := raw.tryLogOn(name); err != nil {
			b.Fatal(err)
		}
		c.names = append(c.names, name)
		b.Cleanup(func() { raw.conn.Close() })
		c.holder = raw
		go c.read(raw.conn)
	}
	return c
}

func (c *crowd) read(conn net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		c.got.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// await waits until so many bytes have come.
func (c *crowd) await(b *testing.B, bytes int) {
	c.sent += int64(bytes)
	for deadline := time.Now().Add(patience); c.got.Load() < c.sent; time.Sleep(20 * time.Microsecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%d bytes of %d have come", c.got.Load(), c.sent)
		}
	}
}

// hold is a message whose handler keeps the event loop from writing until it is released.
const hold uint16 = 9

// hold waits until the event loop stands still.
func (c *crowd) hold(b *testing.B) {
	if err := c.holder.write(&protocol.Message{Type: hold}); err != nil {
		b.Fatal(err)
	}
	<-c.held
}

// race runs two ways in turn, and returns how fast the second is in parts of the first, by the medians, and the median of the
// second. After each a way's bytes are waited for.
func (c *crowd) race(b *testing.B, bytes int, ways [2]func() error) {
	var took [2][]time.Duration
	for i := 0; b.Loop(); i++ {
		for j := range 2 {
			way := (i + j) % 2
			c.hold(b)
			began := time.Now()
			err := ways[way]()
			took[way] = append(took[way], time.Since(began))
			c.release <- struct{}{}
			if err != nil {
				b.Fatal(err)
			}
			c.await(b, bytes)
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	first, second := took[0][b.N/2], took[1][b.N/2]
	b.ReportMetric(float64(first)/float64(second), "of-the-other")
	b.ReportMetric(float64(second)/float64(c.sends), "ns/send")
}

// BenchmarkGroupSend sends to a thousand members with Engine.Broadcast and with Group.Send, in turn: what the sender does, while the
// event loop stands still.
func BenchmarkGroupSend(b *testing.B) {
	for _, underWay := range []int{1, 4} {
		b.Run(fmt.Sprint("under-way=", underWay), func(b *testing.B) {
			c := newCrowd(b, 1000)
			g := c.bridge.Group("room")
			mustJoin(b, g, c.names...)
			conns := slices.Collect(c.engine.Conns())
			m := &protocol.Message{Type: push, Body: make([]byte, 48)}
			c.sends = underWay * len(conns)
			send := func(to func() (int, error)) func() error {
				return func() error {
					for range underWay {
						if n, err := to(); n != len(conns) || err != nil {
							return fmt.Errorf("sent to %d: %w", n, err)
						}
					}
					return nil
				}
			}
			c.race(b, len(frame(b, m))*c.sends, [2]func() error{
				send(func() (int, error) { return c.engine.Broadcast(slices.Values(conns), m, nil) }),
				send(func() (int, error) { return g.SendMessage(m, nil) }),
			})
		})
	}
}

// BenchmarkSendToUsers sends to a thousand users, round robin, so many messages to each, with Engine.Conn.Send to their connections and with
// Bridge.Send, in turn: what the sender does, while the event loop stands still.
func BenchmarkSendToUsers(b *testing.B) {
	for _, underWay := range []int{16, 64} {
		b.Run(fmt.Sprint("under-way=", underWay), func(b *testing.B) {
			c := newCrowd(b, 1000)
			var conns []*engine.Conn
			for _, name := range c.names {
				conns = slices.AppendSeq(conns, c.bridge.ConnsOf(name))
			}
			body := make([]byte, 48)
			c.sends = underWay * len(conns)
			send := func(to func(user int) error) func() error {
				return func() error {
					for i := range c.sends {
						if err := to(i % len(conns)); err != nil {
							return err
						}
					}
					return nil
				}
			}
			c.race(b, len(frame(b, &protocol.Message{Type: push, Body: body}))*c.sends, [2]func() error{
				send(func(user int) error { return conns[user].Send(push, body) }),
				send(func(user int) error { return c.bridge.Send(c.names[user], push, body) }),
			})
		})
	}
}

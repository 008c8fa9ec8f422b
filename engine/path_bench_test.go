package engine

import (
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// memoryConn is a connection of gnet's without a socket: what is left is our own message path.
type memoryConn struct {
	gnet.Conn
	in    []byte
	wrote int
}

func (c *memoryConn) Fd() int                           { return -1 } // which takes nothing
func (c *memoryConn) InboundBuffered() int              { return len(c.in) }
func (c *memoryConn) OutboundBuffered() int             { return 0 }
func (c *memoryConn) Peek(int) ([]byte, error)          { return c.in, nil }
func (c *memoryConn) Discard(n int) (int, error)        { return n, nil }
func (c *memoryConn) Write(p []byte) (n int, err error) { c.wrote += len(p); return len(p), nil }

type memoryBinding struct{ received, sent int }

func (b *memoryBinding) Beat()                              {}
func (b *memoryBinding) Received(_ uint16, messages, _ int) { b.received += messages }
func (b *memoryBinding) Sent(_ uint16, messages, _ int)     { b.sent += messages }
func (b *memoryBinding) Dropped(uint16, int, int)           {}
func (b *memoryBinding) End(protocol.CloseCode)             {}

// What Send needs of a Conn, and nearly all that a read needs, lies in its first 112 bytes: two cache lines, or three.
func TestAConnTakes160BytesOfWhich112AreHot(t *testing.T) {
	var c Conn
	if size, cold := unsafe.Sizeof(c), unsafe.Offsetof(c.lazy); size > 160 || cold > 112 {
		t.Errorf("a Conn takes %d bytes, of which %d are hot", size, cold)
	}
}

// BenchmarkMessagePath is what a message costs from gnet's buffer to gnet's Write: parsed, handled, answered, counted.
// 32 messages of 64 bytes a read.
func BenchmarkMessagePath(b *testing.B) {
	e := testkit.Must(New(Config{}))
	e.HandleDefault(func(c *Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	const batch = 32
	gc := &memoryConn{}
	for i := range uint32(batch) {
		gc.in, _ = protocol.Binary.Append(gc.in, &protocol.Message{Type: 1, ID: i + 1, Body: make([]byte, 48)})
	}
	bound := &memoryBinding{}
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: &loop{engine: e}, userID: "alice", binding: bound, userBound: true}
	c.state.Store(stateBound)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		c.loop.read(c)
		n += batch
	}
	if bound.received != n || bound.sent != n || gc.wrote != n*64 {
		b.Fatalf("of %d messages %d were received, %d sent in %d bytes", n, bound.received, bound.sent, gc.wrote)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
}

// BenchmarkMessagePathOfOne is BenchmarkMessagePath with one message a read, without a cluster and with the lease of a cluster's node, which
// is looked at once a read.
func BenchmarkMessagePathOfOne(b *testing.B) {
	for _, leased := range []bool{false, true} {
		b.Run(map[bool]string{false: "alone", true: "leased"}[leased], func(b *testing.B) {
			e := testkit.Must(New(Config{}))
			e.HandleDefault(func(c *Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
			if leased {
				e.lease = seam.NewLease(clock.SinceBoot)
				e.lease.SetEnd(clock.SinceBoot() + time.Hour)
			}
			gc := &memoryConn{}
			gc.in, _ = protocol.Binary.Append(nil, &protocol.Message{Type: 1, ID: 1, Body: make([]byte, 48)})
			c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: &loop{engine: e}, userID: "alice", binding: &memoryBinding{}, userBound: true}
			c.state.Store(stateBound)
			b.ReportAllocs()
			for b.Loop() {
				c.loop.read(c)
			}
		})
	}
}

// BenchmarkMessagePathOfMany is BenchmarkMessagePath with a thousand connections in turn: what a read must fetch from memory.
// gnet reads into one buffer, whichever connection it is.
func BenchmarkMessagePathOfMany(b *testing.B) {
	const batch = 32
	e := testkit.Must(New(Config{}))
	e.HandleDefault(func(c *Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	l := &loop{engine: e}
	var in []byte
	for i := range uint32(batch) {
		in, _ = protocol.Binary.Append(in, &protocol.Message{Type: 1, ID: i + 1, Body: make([]byte, 48)})
	}
	conns := make([]*Conn, 1000)
	for i := range conns {
		c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{&memoryConn{in: in}}, loop: l, userID: "alice", binding: &memoryBinding{}, userBound: true}
		c.state.Store(stateBound)
		conns[i] = c
	}
	other := make([]uint64, 1<<18) // what the kernel, gnet and the session need of a connection, 2 KiB: it takes cache
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for i, c := range conns {
			for j := range 32 {
				other[i*256+j*8]++
			}
			c.loop.read(c)
		}
		n += batch * len(conns)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
}

// BenchmarkSendPath is what a message costs that is sent from outside the loop to one of a thousand connections in turn, up
// to gnet's Write: encoded, queued, handed over, counted. 32 messages a connection are handed over at a time.
func BenchmarkSendPath(b *testing.B) {
	e := testkit.Must(New(Config{}))
	l := &loop{engine: e, woken: true} // no loop is woken: the benchmark runs it itself
	conns := make([]*Conn, 1000)
	for i := range conns {
		c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{&memoryConn{}}, loop: l, binding: &memoryBinding{}, userBound: true}
		c.state.Store(stateBound)
		conns[i] = c
	}
	body := make([]byte, 48)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for range 32 {
			for _, c := range conns {
				_ = c.Send(1, body)
			}
		}
		runAll(l)
		n += 32 * len(conns)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
}

// BenchmarkBroadcastPath is what a broadcast to ten thousand connections costs for each of them, up to gnet's Write.
func BenchmarkBroadcastPath(b *testing.B) {
	e := testkit.Must(New(Config{}))
	l := &loop{engine: e, woken: true} // no loop is woken: the benchmark runs it itself
	conns := make([]*Conn, 10_000)
	for i := range conns {
		c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{&memoryConn{}}, loop: l, binding: &memoryBinding{}, userBound: true}
		c.state.Store(stateBound)
		conns[i] = c
	}
	m := &protocol.Message{Type: 1, Body: make([]byte, 112)}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if sent, err := e.Broadcast(slices.Values(conns), m, nil); sent != len(conns) || err != nil {
			b.Fatal(sent, err)
		}
		runAll(l)
		n += len(conns)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
}

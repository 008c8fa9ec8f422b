package engine_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// kernelBuffers is more than the sockets of a connection hold, both sides together.
const kernelBuffers = 16 << 20

// Rule 15: what waits for a peer that does not read is bounded, which gnet does not do, and then it is a SlowConsumer.
func TestAPeerThatDoesNotReadIsASlowConsumer(t *testing.T) {
	eachTransport(t, aPeerThatDoesNotReadIsASlowConsumer)
}

func aPeerThatDoesNotReadIsASlowConsumer(t *testing.T) {
	const limit, chunk = 1 << 20, 32 << 10
	for name, flood := range map[string]func(c *engine.Conn, m *protocol.Message) error{
		"Send":  func(c *engine.Conn, m *protocol.Message) error { return c.Send(1, make([]byte, chunk)) },
		"Reply": func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, chunk)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: limit}, Timeouts: engine.Timeouts{Close: 200 * time.Millisecond}, Loops: 1})
			g := newGate(t, e)
			taken := make(chan int, 1)
			e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
			e.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
				for sum := 0; ; sum += chunk {
					err := flood(c, m)
					if err != nil || sum > 8*kernelBuffers {
						taken <- sum
						if !errors.Is(err, engine.ErrClosed) {
							t.Errorf("the end of the flood: %v", err)
						}
						return nil
					}
				}
			})
			e.Handle(9, echo)
			r := serve(t, e)
			p, b := g.enter(t, r.addr)
			check := healthy(t, r.addr)
			p.send(protocol.Message{Type: 2, ID: 1})
			if sum := receive(t, "the end of the flood", taken); sum > limit+kernelBuffers {
				t.Errorf("%d bytes were taken for a peer that does not read; the limit is %d", sum, limit)
			}
			b.wantEnd(t, protocol.SlowConsumer)
			eventually(t, "the end of the slow one", func() bool { return e.Stats().Conns.Open == 1 })
			check()
		})
	}
}

// The limit of what waits: a flood from another goroutine while the peer does not read.
func TestDroppedMessagesAreCounted(t *testing.T) {
	eachTransport(t, droppedMessagesAreCounted)
}

func droppedMessagesAreCounted(t *testing.T) {
	e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: 1 << 20}, Timeouts: engine.Timeouts{Close: 200 * time.Millisecond}})
	e.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
	g := newGate(t, e)
	r := serve(t, e)
	_, b := g.enter(t, r.addr)
	b.awaitAdmission(t)
	for b.conn.Send(7, make([]byte, 64<<10)) == nil {
	}
	b.wantEnd(t, protocol.SlowConsumer)
	if n, typ := b.dropped.Load(), b.dropsType.Load(); n != 1 || typ != 7 {
		t.Errorf("%d messages of type %d were dropped, want one of type 7", n, typ)
	}
	if err := b.conn.Send(7, nil); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("a later Send returned %v", err)
	}
}

// A message that alone is larger than the limit is refused, and nothing else.
func TestAMessageOverTheOutboundLimitIsTooLarge(t *testing.T) {
	eachTransport(t, aMessageOverTheOutboundLimitIsTooLarge)
}

func aMessageOverTheOutboundLimitIsTooLarge(t *testing.T) {
	const limit = 256 << 10
	e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: limit}})
	errs := make(chan error, 4)
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		large := make([]byte, limit)
		errs <- c.Reply(m, large)
		errs <- c.Send(1, large)
		errs <- c.Reply(m, large)
		return c.Reply(m, []byte("small"))
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	ask := func(id uint32) {
		p.send(protocol.Message{Type: 1, ID: id})
		p.wantError(id, protocol.HandlerFailed)
		p.wantError(id, protocol.HandlerFailed)
		if m := p.read(); string(m.Body) != "small" || m.ID != id {
			t.Errorf("got %v", m)
		}
	}
	ask(1)
	for range 3 {
		if err := receive(t, "an outcome", errs); !errors.Is(err, protocol.MessageTooLarge) {
			t.Errorf("a large message: %v", err)
		}
	}
	ask(2)
}

// A codec's error comes back to the sender, and leaves what is queued as it was.
func TestAMessageThatCannotBeEncodedIsTheSendersError(t *testing.T) {
	e := newEngine(engine.Config{})
	errs := make(chan error, 2)
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		_ = c.Reply(m, []byte("a"))
		errs <- c.Send(0, nil) // type 0 is invalid
		_ = c.Send(1, []byte("b"))
		errs <- c.SendMessage(&protocol.Message{Type: 1, UserID: "\n"}, nil)
		return c.Reply(m, []byte("c"))
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1, ID: 1})
	for _, want := range []string{"a", "b", "c"} {
		if got := string(p.read().Body); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for range 2 {
		if receive(t, "an error", errs) == nil {
			t.Error("what cannot be encoded was sent")
		}
	}
}

// Replies to the messages of one read go out in order, in one piece of the stream, whole.
func TestRepliesOfOneReadComeInOrder(t *testing.T) {
	r := serve(t, newEcho(engine.Config{}))
	p := dial(t, r.addr)
	var ms []protocol.Message
	for i := range 1000 {
		ms = append(ms, protocol.Message{Type: 1, ID: uint32(i + 1), Body: bytes.Repeat([]byte{byte(i)}, i%300)})
	}
	p.send(ms...)
	for i := range ms {
		if m := p.read(); m.ID != ms[i].ID || !bytes.Equal(m.Body, ms[i].Body) {
			t.Fatalf("reply %d is the one to %d, %d bytes", i+1, m.ID, len(m.Body))
		}
	}
}

// Sends from a handler and from elsewhere share one order per connection.
func TestReplyAndSendShareOneOrder(t *testing.T) { eachTransport(t, replyAndSendShareOneOrder) }

func replyAndSendShareOneOrder(t *testing.T) {
	rounds := 300 / lighter
	elsewhere := make(chan func())
	defer close(elsewhere)
	go func() {
		for f := range elsewhere {
			f()
		}
	}()
	for _, workers := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			e := newEngine(engine.Config{Workers: workers})
			body := func(n uint32, name string) []byte { return fmt.Appendf(nil, "%d%s", n, name) }
			e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { // Reply here, then Send there
				id := m.ID
				_ = c.Reply(m, body(id, "a"))
				sent := make(chan struct{})
				elsewhere <- func() { _ = c.Send(1, body(id, "b")); close(sent) }
				<-sent
				return c.Reply(m, body(id, "c"))
			})
			e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { // Send, then Reply, both here
				_ = c.Send(1, body(m.ID, "a"))
				_ = c.Reply(m, body(m.ID, "b"))
				_ = c.Send(1, body(m.ID, "c"))
				return nil
			})
			e.Handle(3, func(c *engine.Conn, m *protocol.Message) error { // Reply, and a Send that is not waited for
				id := m.ID
				_ = c.Reply(m, body(id, "a"))
				elsewhere <- func() { _ = c.Send(1, body(id, "b")); _ = c.Send(1, body(id, "c")) }
				return nil
			})
			e.Handle(4, func(c *engine.Conn, m *protocol.Message) error { // large ones, which the socket does not take at once
				for _, name := range []string{"a", "b", "c"} {
					b := append(body(m.ID, name), make([]byte, 200<<10)...)
					if name == "b" {
						_ = c.Send(1, b)
					} else {
						_ = c.Reply(m, b)
					}
				}
				return nil
			})
			r := serve(t, e)
			for typ := uint16(1); typ <= 4; typ++ {
				p := dial(t, r.addr)
				n := uint32(rounds)
				if typ == 4 {
					n = max(uint32(10/lighter), 4)
				}
				var ms []protocol.Message
				for id := range n {
					ms = append(ms, protocol.Message{Type: typ, ID: id + 1})
				}
				p.send(ms...)
				next := map[uint32]byte{}
				for range 3 * n {
					m := p.read()
					text, _, _ := bytes.Cut(m.Body, []byte{0})
					var id uint32
					var name byte
					if _, err := fmt.Sscanf(string(text), "%d%c", &id, &name); err != nil {
						t.Fatal(err)
					}
					if want := 'a' + next[id]; name != want {
						t.Fatalf("type %d, message %d: %c came, want %c", typ, id, name, want)
					}
					next[id]++
				}
			}
		})
	}
}

// Send from many goroutines loses nothing and keeps each goroutine's order.
func TestSendKeepsEachGoroutinesOrder(t *testing.T) {
	const conns, senders, messages = 100, 8, 50
	e := newEngine(engine.Config{})
	arrived := make(chan *engine.Conn, conns)
	e.HandleDefault(func(c *engine.Conn, _ *protocol.Message) error { arrived <- c; return nil })
	r := serve(t, e)
	peers := make([]*peer, conns)
	all := make([]*engine.Conn, conns)
	for i := range peers {
		peers[i] = dial(t, r.addr)
		peers[i].send(protocol.Message{Type: 1})
		all[i] = receive(t, "a connection", arrived)
	}
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for n := range messages {
				for _, c := range all {
					body := binary.BigEndian.AppendUint32([]byte{byte(s)}, uint32(n))
					if err := c.Send(1, body); err != nil {
						t.Errorf("Send: %v", err)
						return
					}
				}
			}
		})
	}
	for i, p := range peers {
		var next [senders]uint32
		for range senders * messages {
			m := p.read()
			s, n := m.Body[0], binary.BigEndian.Uint32(m.Body[1:])
			if n != next[s] {
				t.Fatalf("connection %d, goroutine %d: message %d came, want %d", i, s, n, next[s])
			}
			next[s]++
		}
	}
	wg.Wait()
}

// Rule 12: messages count when they are handed to the network and when they are received; upkeep does not.
func TestTrafficIsCounted(t *testing.T) { eachTransport(t, trafficIsCounted) }

func trafficIsCounted(t *testing.T) {
	e := newEcho(engine.Config{})
	g := newGate(t, e)
	r := serve(t, e)
	p, b := g.enter(t, r.addr) // one in, one out
	first := p.read()
	if len(first.Body) != 0 {
		t.Errorf("the first reply is %q", first.Body)
	}
	p.send(protocol.Message{Type: protocol.TypeHeartbeat, ID: 4}, protocol.Message{Type: 5, ID: 6, Body: []byte("hello")})
	if m := p.read(); m.Type != protocol.TypeHeartbeat || m.ID != 4 || !m.IsReply() {
		t.Errorf("the heartbeat was answered with %v", m)
	}
	p.read()
	_ = b.conn.Send(7, []byte("push"))
	p.read()
	in, out := int64(16+3+16+5), int64(16+16+5+16+4)
	eventually(t, "the counts", func() bool { return b.sent.Load() == 3 && b.received.Load() == 2 })
	if got := b.receivedBytes.Load(); got != in {
		t.Errorf("%d bytes in, want %d", got, in)
	}
	if got := b.sentBytes.Load(); got != out {
		t.Errorf("%d bytes out, want %d", got, out)
	}
	if rt, st := b.receivedType.Load(), b.sentType.Load(); rt != 5 || st != 7 {
		t.Errorf("the last types are %d in, %d out; want 5 and 7", rt, st)
	}
}

// A body is valid until its handler returns, also when a reply's write fails meanwhile: gnet gives the memory of a closed
// connection to others. So nothing is written before the handler has returned.
func TestReplyDoesNotWriteInsideTheHandler(t *testing.T) {
	e := newEngine(engine.Config{Loops: 1})
	replied, release := make(chan struct{}), make(chan struct{})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		for range 4 {
			_ = c.Reply(m, make([]byte, 100<<10))
		}
		close(replied)
		<-release
		return nil
	})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1, ID: 1})
	receive(t, "the replies", replied)
	_ = p.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := p.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("a reply was written before the handler returned")
	}
	close(release)
	for range 4 {
		p.read()
	}
}

// Send is for the application's types: a Close of its making would be a notice without an end.
func TestSendRefusesTheSystemsTypes(t *testing.T) {
	e := newEngine(engine.Config{})
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		for _, typ := range []uint16{protocol.TypeClose, protocol.TypePush, 0xFFFF} {
			if c.Send(typ, nil) == nil {
				t.Errorf("type %#x is sent", typ)
			}
		}
		echo(c, m)
		return nil
	})
	r := serve(t, e)
	dial(t, r.addr).ask(1, 1, "nothing comes before")
}

package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// stamped is a body of n bytes, all of which follow from its source and number.
func stamped(source, number, n int) []byte {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(source)), uint32(number))
	head = binary.BigEndian.AppendUint32(head, uint32(max(n, 12)))
	return bytes.Repeat(head, n/12+1)[:max(n, 12)]
}

// Replies, messages and broadcasts from several goroutines, of lengths around those at which a write goes another way, to
// connections plain, slow and in TLS, on two event loops: each arrives whole, once, and in the order of its source.
func TestWhatGoesOutArrivesWholeAndInOrder(t *testing.T) {
	const conns, rounds, sources = 9, 20, 3
	const reply, own, all = 100, 200, 300 // message types and sources
	sizes := []int{0, 48, 1 << 10, 64<<10 - 1, 64 << 10, 128<<10 - 16, 128<<10 - 15, 128 << 10, 130 << 10, 200 << 10}
	sec := newSecurity(t)
	e := newEngine(engine.Config{Loops: 2, Limits: engine.Limits{MaxOutbound: 1 << 30}, Timeouts: engine.Timeouts{Write: -1},
		Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", TLS: sec.server}}})
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		if len(m.Body) == 0 {
			return c.Reply(m, nil)
		}
		number := int(binary.BigEndian.Uint32(m.Body))
		return c.Reply(m, stamped(reply, number, sizes[number%len(sizes)]))
	})
	g := newGate(t, e)
	r := serve(t, e)
	var peers []*peer
	var bindings []*binding
	for i := range conns {
		var p *peer
		var b *binding
		switch i % 3 {
		case 0:
			p, b = g.enterSlow(t, r.addr)
		case 1:
			p, b = g.enter(t, r.addr)
		case 2:
			p = dialTLS(t, e.Addrs()[1].String(), sec.client)
			p.send(protocol.Message{Type: 1, UserID: "ann"})
			b = receive(t, "a connection", g.arrived)
		}
		p.read() // the reply to the first message
		peers, bindings = append(peers, p), append(bindings, b)
	}
	var wg sync.WaitGroup
	for s := range sources {
		wg.Go(func() {
			for n := range rounds {
				size := sizes[(n+s)%len(sizes)]
				if k, err := e.Broadcast(e.Conns(), &protocol.Message{Type: all, Body: stamped(all+s, n, size)}, nil); k != conns || err != nil {
					t.Errorf("Broadcast returned %d, %v", k, err)
				}
				for _, b := range bindings {
					if err := b.conn.Send(own, stamped(own+s, n, size%5000)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for i, p := range peers {
		wg.Go(func() {
			for n := range rounds {
				b := make([]byte, 4)
				binary.BigEndian.PutUint32(b, uint32(n))
				f, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 1, ID: uint32(n + 1), Body: b})
				if _, err := p.Write(f); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			next := make(map[int]int)
			got := 0
			for got < rounds*(2*sources+1) {
				m, err := p.next()
				if err != nil {
					t.Errorf("connection %d after %d messages: %v", i, got, err)
					return
				}
				source, number, n := int(binary.BigEndian.Uint32(m.Body)), int(binary.BigEndian.Uint32(m.Body[4:])), int(binary.BigEndian.Uint32(m.Body[8:]))
				if number != next[source] || n != len(m.Body) || !bytes.Equal(m.Body, stamped(source, number, n)) {
					t.Errorf("connection %d: message %d of source %d, %d bytes, is not message %d whole", i, number, source, len(m.Body), next[source])
					return
				}
				next[source]++
				got++
				if i%3 == 0 && got%20 == 0 {
					time.Sleep(time.Millisecond) // it reads slowly
				}
			}
		})
	}
	wg.Wait()
	for i, b := range bindings {
		want := int64(rounds*(2*sources+1) + 1)
		eventually(t, fmt.Sprintf("connection %d's count", i), func() bool { return b.sent.Load() == want })
		if n := b.dropped.Load(); n != 0 {
			t.Errorf("%d messages were dropped", n)
		}
	}
	eventually(t, "nothing waits", func() bool { return e.Stats().OutboundQueue == 0 })
}

package engine_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 14: replies that the network does not take at once arrive as they were, each once, whatever the event loop has answered
// to others meanwhile. What is kept for a client is no memory in which the loop gathers the next replies.
func TestRepliesThatWaitOverTLSAreTheirClientsOwn(t *testing.T) {
	sec := newSecurity(t)
	for _, size := range []int{40 << 10, 150 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const total = 12 << 20 // more than the kernel's buffers take
			peers := max(4/lighter, 2)
			requests := uint32(total / size)
			var handled atomic.Int64
			e := newEngine(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Loops: 1, Limits: engine.Limits{MaxOutbound: -1}})
			e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
				_ = c.Reply(m, bytes.Repeat([]byte{m.Body[0], byte(m.ID)}, size/2))
				handled.Add(1)
				return nil
			})
			r := serve(t, e)
			all := make([]*peer, peers)
			for i := range all {
				all[i] = dialTLS(t, r.addr, sec.client)
				for id := range requests {
					all[i].send(protocol.Message{Type: 1, ID: id + 1, Body: []byte{byte(i)}})
				}
			}
			eventually(t, "every request is handled", func() bool { return handled.Load() == int64(peers)*int64(requests) })
			for i, p := range all {
				for id := range requests {
					if m := p.read(); m.ID != id+1 || !bytes.Equal(m.Body, bytes.Repeat([]byte{byte(i), byte(id + 1)}, size/2)) {
						t.Fatalf("client %d got a reply to %d of %d bytes that begins with %x, and wants its own to %d",
							i, m.ID, len(m.Body), m.Body[:min(2, len(m.Body))], id+1)
					}
				}
			}
		})
	}
}

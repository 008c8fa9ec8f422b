package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15, as testdata/account.txt has it.
func TestWhatWasAcceptedIsSentOrDroppedHoweverConnectionsEnd(t *testing.T) {
	st := &stage{t: t}
	var accepted atomic.Uint64
	count := func(err error) {
		if err == nil {
			accepted.Add(1)
		}
	}
	prepare := func(e *engine.Engine) {
		st.gate = newGate(t, e)
		e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
			for range 3 {
				count(c.Reply(m, m.Body))
				count(c.Send(2, m.Body))
			}
			return nil
		})
	}
	sending, endSending := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	send := func() {
		// Without a pause the senders leave no time for anything but allocating.
		for size := 1; sending.Err() == nil; time.Sleep(100 * time.Microsecond) {
			n, err := st.Broadcast(st.Conns(), &protocol.Message{Type: 3, Body: make([]byte, size)}, nil)
			if err != nil {
				t.Error(err)
			}
			accepted.Add(uint64(n))
			for c := range st.Conns() {
				count(c.Send(4, make([]byte, size%999)))
			}
			size = size*3%300_007 + 1
		}
	}
	ends := map[string]func(p *peer, b *binding){
		"closes":    func(p *peer, _ *binding) { _ = p.Close() },
		"resets":    func(p *peer, _ *binding) { p.reset() },
		"is kicked": func(_ *peer, b *binding) { b.conn.Close(protocol.KickedOut) },
		"asks, asks, logs off": func(p *peer, _ *binding) {
			p.send(protocol.Message{Type: 1}, protocol.Message{Type: 1}, protocol.Message{Type: protocol.TypeClose})
		},
		"sends garbage": func(p *peer, _ *binding) { p.sendRaw([]byte("what is this? no message, at any rate")) },
		"stays":         func(*peer, *binding) {},
	}
	runScript(t, "account.txt", verbs{
		"engine": func(s step) string { st.open(s, prepare); return "" },
		"senders": func(s step) string {
			for range s.number(1) {
				senders.Go(send)
			}
			return ""
		},
		"client": func(s step) string { // KIND reads N and ENDS
			p, b := st.enter(s[1])
			_ = p.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			for range s.number(3) {
				if _, err := p.Read(make([]byte, 4096)); err != nil {
					break
				}
			}
			end := ends[strings.Join(s[5:], " ")]
			if end == nil {
				t.Fatalf("no client %s", strings.Join(s[5:], " "))
			}
			end(p, b)
			return ""
		},
		"stop": func(step) string {
			if err := st.stop(t); err != nil {
				t.Error(err)
			}
			endSending()
			senders.Wait()
			s := st.Stats()
			all, sum := "accepted = sent + dropped", s.Out.Messages+s.Dropped.Messages
			if sum != accepted.Load() {
				all = fmt.Sprintf("%d accepted, %d sent, %d dropped, which are %d", accepted.Load(), s.Out.Messages, s.Dropped.Messages, sum)
			}
			t.Logf("%d sent, %d dropped", s.Out.Messages, s.Dropped.Messages)
			return all + "\n" + some(s.Dropped.Messages) + " were dropped"
		},
	})
}

// some says whether there are any.
func some[T ~int64 | ~uint64](n T) string {
	if n == 0 {
		return "none"
	}
	return "some"
}

package engine_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// Messages that come a byte a packet arrive whole, and so does what comes behind them, whatever the codec and the transport.
func TestMessagesThatComeAByteAtATimeArriveWhole(t *testing.T) {
	sec := newSecurity(t)
	for name, tc := range map[string]struct {
		codec   protocol.Codec
		secure  bool
		workers int
	}{
		"lines":                    {protocol.Line, false, 0},
		"lines, with Workers":      {protocol.Line, false, 1},
		"lines, TLS":               {protocol.Line, true, 0},
		"frames":                   {protocol.Binary, false, 0},
		"frames, TLS":              {protocol.Binary, true, 0},
		"frames, TLS with Workers": {protocol.Binary, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := engine.Config{Loops: 1, Listeners: []engine.Listener{{Addr: "127.0.0.1:0", Codec: tc.codec}, {Addr: "127.0.0.1:0"}}, Workers: tc.workers}
			if tc.secure {
				cfg.Listeners[0].TLS = sec.server
			}
			e := newEngine(cfg)
			got := make(chan string, 10)
			e.Handle(1, func(_ *engine.Conn, m *protocol.Message) error { got <- string(m.Body); return nil })
			e.Handle(2, echo)
			r := serve(t, e)
			other := dial(t, e.Addrs()[1].String())
			var p *peer
			if tc.secure {
				p = dialTLS(t, r.addr, sec.client)
			} else {
				p = dial(t, r.addr)
			}
			texts := []string{"short", strings.Repeat("a long one ", 150), "x", strings.Repeat("another ", 100), "the last"}
			var all []byte
			if tc.codec == protocol.Line {
				all = []byte("ann\n" + strings.Join(texts, "\n") + "\n")
			} else {
				for _, text := range texts {
					all = append(all, frame(t, protocol.Message{Type: 1, Body: []byte(text)})...)
				}
			}
			for i := range all {
				p.sendRaw(all[i : i+1])
				if i%100 == 0 {
					other.ask(2, 1, "") // the loop has read what came before: not all are one read
				}
			}
			p.sendRaw(all[bytes.IndexByte(all, '\n')+1:])
			for i := range 2 * len(texts) {
				if text := receive(t, "a message", got); text != texts[i%len(texts)] {
					t.Fatalf("message %d is %.40q", i, text)
				}
			}
		})
	}
}

// Rule 15: bytes count towards MaxByteRate when they come, not when their message is whole.
func TestTheBytesOfAnUnfinishedMessageCountTowardsTheRate(t *testing.T) {
	sec := newSecurity(t)
	begun := string(frame(t, protocol.Message{Type: 1, UserID: "ann"})) +
		string(frame(t, protocol.Message{Type: 1, Body: make([]byte, 500_000)})[:layout.HeaderLen])
	for name, tc := range map[string]struct {
		codec protocol.Codec
		begin string
		tls   *tls.Config
	}{
		"lines":       {protocol.Line, "ann\n", nil},
		"frames":      {protocol.Binary, begun, nil},
		"frames, TLS": {protocol.Binary, begun, sec.server},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(engine.Config{Listeners: []engine.Listener{{Codec: tc.codec, TLS: tc.tls}}, Limits: engine.Limits{MaxByteRate: 1, ByteBurst: 100_000}})
			e.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
			r := serve(t, e)
			p := dial(t, r.addr)
			if tc.tls != nil {
				p = shakeHands(t, p.Conn, sec.client)
			}
			p.sendRaw([]byte(tc.begin))
			for range 120 {
				if _, err := p.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
					break
				}
			}
			eventually(t, "the end with RateLimited", func() bool { return e.Stats().Closed[protocol.RateLimited] == 1 })
		})
	}
}

// twice is a wire format that writes each body twice and nothing else.
type twice struct{ protocol.Codec }

func (twice) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	return append(append(dst, m.Body...), m.Body...), nil
}

// Rule 12: what is dropped counts what it takes on the wire, whatever the codec.
func TestDropsCountWhatWouldHaveBeenSent(t *testing.T) {
	for _, policy := range []engine.SlowPolicy{engine.SlowClose, engine.SlowDropNewest, engine.SlowDropOldest, engine.SlowLatest} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: 1 << 20}, Timeouts: engine.Timeouts{Close: 100 * time.Millisecond}, SlowPolicy: policy, Listeners: []engine.Listener{{Codec: twice{protocol.Binary}}}})
			e.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
			g := newGate(t, e)
			_, b := g.enter(t, serve(t, e).addr)
			const body = 50_000
			for range 400 {
				_ = b.conn.Send(7, make([]byte, body))
			}
			b.conn.Close(protocol.KickedOut)
			eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
			eventually(t, "all counted", func() bool {
				s := e.Stats()
				return s.Dropped.Messages > 0 && s.Dropped.Bytes == s.Dropped.Messages*2*body && s.Out.Bytes == s.Out.Messages*2*body
			})
		})
	}
}

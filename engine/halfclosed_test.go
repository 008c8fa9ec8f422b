package engine_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// halfCloser is a way to end the sending side of a connection.
type halfCloser struct {
	name string
	over string // the transport
	end  func(t testing.TB, p *peer)
}

// halfClosers are a FIN, close_notify, a FIN alone under TLS, a WebSocket's Close, and a FIN on a Unix socket; each with a Close frame of ours
// before it, and without.
func halfClosers() []halfCloser {
	frame := func(p *peer) { p.send(protocol.Message{Type: protocol.TypeClose}) }
	fin := func(_ testing.TB, p *peer) { p.endSide() }
	notify := func(t testing.TB, p *peer) {
		if err := p.Conn.(*tls.Conn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	under := func(t testing.TB, p *peer) { _ = p.Conn.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite() }
	var all []halfCloser
	web := func(t testing.TB, p *peer) {
		p.web().left = true
		p.web().write(t, wsClose(1000, ""))
	}
	for _, h := range []halfCloser{{"a FIN", "tcp", fin}, {"close_notify", "tls", notify}, {"a FIN under TLS", "tls", under},
		{"a WebSocket's Close", "ws", web}, {"a FIN on a Unix socket", "unix", fin}} {
		all = append(all, h, halfCloser{"a Close frame and " + h.name, h.over, func(t testing.TB, p *peer) { frame(p); h.end(t, p) }})
	}
	return all
}

// listen returns an engine with a listener for the transport, and what dials it.
func (h halfCloser) listen(t *testing.T, sec *security, cfg engine.Config) (e *engine.Engine, dialer func(t testing.TB, addr string) *peer) {
	cfg.Listeners = []engine.Listener{{Addr: "127.0.0.1:0"}}
	l := &cfg.Listeners[0]
	dialer = dial
	switch h.over {
	case "tls":
		l.TLS = sec.server
		dialer = func(t testing.TB, addr string) *peer { return dialTLS(t, addr, sec.client) }
	case "ws":
		l.WebSocket = new(engine.WebSocket)
		dialer = func(t testing.TB, addr string) *peer { return newPeer(t, upgraded(t, bare(t, addr, nil), addr)) }
	case "unix":
		l.Network, l.Addr = "unix", filepath.Join(t.TempDir(), "s")
		dialer = func(t testing.TB, addr string) *peer {
			nc, err := net.DialTimeout("unix", addr, patience)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = nc.Close() })
			return newPeer(t, nc)
		}
	}
	return newEngine(cfg), dialer
}

// wantAnswers wants the answers to these requests in order, whole, and then the end of the connection.
func (p *peer) wantAnswers(n, size int) {
	p.t.Helper()
	for id := uint32(1); id <= uint32(n); id++ {
		m, err := p.next()
		if err != nil {
			p.t.Fatalf("%d of %d answers came, then %v", id-1, n, err)
		}
		if m.ID != id || !m.IsReply() || len(m.Body) != size {
			p.t.Fatalf("got %d bytes for %d, want the answer to %d", len(m.Body), m.ID, id)
		}
	}
	if m, err := p.next(); err == nil || err != io.EOF {
		p.t.Fatalf("after the answers came %v, %v, want a clean end", m, err)
	}
}

// hasEnded tells whether the engine knows that the connection's client has ended its sending side. Nothing is sent to the client.
func hasEnded(c *engine.Conn) bool {
	cannotBeSent := &protocol.Message{Type: 9, UserID: strings.Repeat("x", 1000)}
	return errors.Is(c.SendMessage(cannotBeSent, nil), engine.ErrClosed)
}

// Rule 14: what a peer sent before it ended its sending side is handled and answered, with Workers and without, then the
// connection closes.
func TestAPeerThatHasEndedItsSideGetsAllAnswers(t *testing.T) {
	sec := newSecurity(t)
	for i, h := range halfClosers() {
		for _, workers := range []int{0, 4} {
			for _, tc := range []struct{ requests, size int }{{50, 100}, {7, 1 << 20}} {
				if lighter > 1 && tc.size == 1<<20 && (workers > 0) != (i%2 == 0) {
					continue
				}
				t.Run(fmt.Sprintf("%s, %d workers, %d answers of %d", h.name, workers, tc.requests, tc.size), func(t *testing.T) {
					e, dialer := h.listen(t, sec, engine.Config{Workers: workers})
					answer := bytes.Repeat([]byte("x"), tc.size)
					e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
						if workers > 0 { // the end is found before they are handled
							eventually(t, "the client's end", func() bool { return hasEnded(c) })
						}
						if err := c.Reply(m, answer); err != nil {
							t.Errorf("Reply to %d: %v", m.ID, err)
						}
						return nil
					})
					r := serve(t, e)
					p := dialer(t, r.addr)
					var ms []protocol.Message
					for id := range uint32(tc.requests) {
						ms = append(ms, protocol.Message{Type: 1, ID: id + 1, UserID: "ann"})
					}
					p.send(ms...)
					h.end(t, p)
					if tc.requests*tc.size > 1<<20 { // which does not fit into the sockets' buffers
						eventually(t, "answers wait", func() bool { return e.Stats().OutboundQueue > 0 })
					}
					p.wantAnswers(tc.requests, tc.size)
					eventually(t, "the end of the connection", func() bool { return e.Stats().Conns.Open == 0 })
					if s := e.Stats(); s.Closed[protocol.ClientClosed] != 1 {
						t.Errorf("closed by %v, want ClientClosed", s.Closed)
					}
				})
			}
		}
	}
}

// Rule 14: a peer that has ended its sending side and takes nothing more holds its connection for Timeouts.Close, no longer.
func TestAHalfClosedPeerThatTakesNothingIsGivenUpOn(t *testing.T) {
	sec := newSecurity(t)
	for _, h := range halfClosers() {
		t.Run(h.name, func(t *testing.T) {
			e, dialer := h.listen(t, sec, engine.Config{Timeouts: engine.Timeouts{Close: 100 * time.Millisecond}, Limits: engine.Limits{MaxOutbound: 64 << 20, MaxBody: 32 << 20}})
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, 16<<20)) })
			r := serve(t, e)
			p := dialer(t, r.addr)
			p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
			h.end(t, p)
			eventually(t, "the end of the connection", func() bool { s := e.Stats(); return s.Conns.Open == 0 && s.Closed[protocol.ClientClosed] == 1 })
			if s := e.Stats(); s.Outcomes[protocol.OutcomeForced] != 1 {
				t.Errorf("it ended as %+v, want by force", s.Outcomes)
			}
		})
	}
}

// Rule 14: a peer that resets the connection while its last answers are on the way is gone, and its connection is not kept until
// Timeouts.Close.
func TestAHalfClosedPeerThatResetsIsNotWaitedFor(t *testing.T) {
	sec := newSecurity(t)
	for _, h := range halfClosers() {
		if h.over == "unix" { // which cannot be reset
			continue
		}
		t.Run(h.name, func(t *testing.T) {
			e, dialer := h.listen(t, sec, engine.Config{Timeouts: engine.Timeouts{Close: time.Hour}})
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, 160<<10)) })
			r := serve(t, e)
			p := dialer(t, r.addr)
			var tcp *net.TCPConn
			switch nc := p.Conn.(type) {
			case *tls.Conn:
				tcp = nc.NetConn().(*net.TCPConn)
			case *webConn:
				tcp = nc.Conn.(*net.TCPConn)
			default:
				tcp = nc.(*net.TCPConn)
			}
			if err := tcp.SetReadBuffer(4 << 10); err != nil {
				t.Fatal(err)
			}
			p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
			h.end(t, p)
			eventually(t, "the answer is on its way", func() bool { return e.Stats().Out.Messages == 1 })
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
			eventually(t, "the end of the connection", func() bool { return e.Stats().Conns.Open == 0 })
			if s := e.Stats(); s.Outcomes[protocol.OutcomeClosedByPeer] != 1 {
				t.Errorf("it ended as %+v, want by its peer", s.Outcomes)
			}
		})
	}
}

// Rule 16: a half-closed connection is told that the engine stops, behind its answers, and counts in the report.
func TestAHalfClosedConnectionIsToldThatTheEngineStops(t *testing.T) {
	sec := newSecurity(t)
	for _, h := range halfClosers()[:3] {
		t.Run(h.name, func(t *testing.T) {
			e, dialer := h.listen(t, sec, engine.Config{Workers: 1})
			handling, release := make(chan struct{}), make(chan struct{})
			e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
				close(handling)
				<-release
				return nil
			})
			r := run(t, e)
			p := dialer(t, r.addr)
			p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
			receive(t, "the handler", handling)
			h.end(t, p)
			r.cancel()
			p.wantClose(protocol.ServerStopping)
			close(release)
			if err := r.stop(t); err != nil {
				t.Errorf("Run returned %v", err)
			}
			if got := e.Stats().Stop; got.Connections != 1 || got.Told != 1 {
				t.Errorf("the report is %v", got)
			}
		})
	}
}

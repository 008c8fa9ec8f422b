package engine_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Clients that say nothing, half a hello, or nothing after it, delay those that wait behind them by a second at most, however
// long a handshake may take. While no other waits they may stay.
func TestSlowHandshakesDoNotKeepOthersOut(t *testing.T) {
	sec := newSecurity(t)
	hello := recordHello(t, sec.client)
	for name, sent := range map[string][]byte{"nothing": nil, "half a hello": hello[:20], "a hello": hello} {
		t.Run(name, func(t *testing.T) {
			const slots = 4
			e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Accept: engine.Accept{MaxHandshakes: slots}, Timeouts: engine.Timeouts{Handshake: time.Hour}})
			r := serve(t, e)
			for range 2 * slots {
				p := dial(t, r.addr)
				p.sendRaw(sent)
			}
			dialTLS(t, r.addr, sec.client).ask(1, 1, "")
			if s := e.Stats(); s.Conns.Handshaking == 0 || s.Refused.Handshake == 0 || s.Refused.Handshake > 2*slots {
				t.Errorf("Stats returned %+v", s)
			}
		})
	}
}

// recordHello returns what a client sends first.
func recordHello(t *testing.T, cfg *tls.Config) []byte {
	wire := &swallower{Conn: failing{}, swallows: true}
	_ = tls.Client(wire, cfg).Handshake()
	if len(wire.taken) < 100 {
		t.Fatalf("a hello of %d bytes", len(wire.taken))
	}
	return wire.taken
}

// failing is a connection from which nothing can be read.
type failing struct{ net.Conn }

func (failing) Read([]byte) (int, error)         { return 0, errors.New("nothing to read") }
func (failing) SetWriteDeadline(time.Time) error { return nil }
func (failing) Close() error                     { return nil }

// A client that can send for ever in its handshake is cut off, and the bound has room for what is usual.
func TestAHandshakeHasABoundInBytes(t *testing.T) {
	sec := newSecurity(t)
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Timeouts: engine.Timeouts{Handshake: time.Hour}})
	r := serve(t, e)
	p := dial(t, r.addr)
	record := append([]byte{22, 3, 1, 0x10, 0}, make([]byte, 4096)...)
	first := append([]byte(nil), record...)
	copy(first[5:], []byte{1, 0, 0xff, 0xff}) // a hello of 64 KiB
	p.sendRaw(first)
	for range 4 {
		p.sendRaw(record)
	}
	eventually(t, "the end of the handshake", func() bool { return e.Stats().Refused.Handshake == 1 })
	p.wantUntold()
	cfg := sec.client.Clone()
	for len(cfg.NextProtos) < 100 { // some 10 KB
		cfg.NextProtos = append(cfg.NextProtos, string(make([]byte, 99))+string(rune('0'+len(cfg.NextProtos))))
	}
	dialTLS(t, r.addr, cfg).ask(1, 1, "")
}

// Rule 15: handshakes that come to nothing count as flaps, whatever became of them; what is no fault of the client's does not.
func TestFailedHandshakesBanAnAddress(t *testing.T) {
	sec := newSecurity(t)
	for name, fail := range map[string]func(p *peer){
		"garbage": func(p *peer) { p.sendRaw([]byte("garbage, garbage")) },
		"a reset": func(p *peer) { p.reset() },
		"nothing": func(*peer) {},
		"its end": func(p *peer) { _ = p.Close() },
		"an alert": func(p *peer) {
			cfg := sec.client.Clone()
			cfg.ServerName = "somebody else"
			_ = tls.Client(p.Conn, cfg).Handshake()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Timeouts: engine.Timeouts{Handshake: 300 * time.Millisecond}, Bans: engine.Bans{Flaps: 2}})
			r := serve(t, e)
			for i := range uint64(2) {
				p := dialFrom(t, "127.0.1.1", r.addr)
				fail(p)
				eventually(t, "the count", func() bool { return e.Stats().Refused.Handshake == i+1 })
				wantNobodyIn(t, e)
			}
			eventually(t, "the ban", func() bool { return len(e.Bans()) == 1 })
			dialFrom(t, "127.0.1.1", r.addr).wantUntold()
			if s := e.Stats(); s.Refused.Banned != 1 {
				t.Errorf("Stats returned %+v", s)
			}
			shakeHands(t, dialFrom(t, "127.0.1.2", r.addr).Conn, sec.client).ask(1, 1, "")
		})
	}
}

// A handshake that fails by the server's own fault bans no address: its certificate is gone, or takes too long.
func TestHandshakesThatTheServerFailsBanNobody(t *testing.T) {
	sec := newSecurity(t)
	for name, get := range map[string]func(*tls.ClientHelloInfo) (*tls.Certificate, error){
		"an error": func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("no such file") },
		"a panic":  func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("no such file") },
		"a Goexit": func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			runtime.Goexit()
			return nil, nil
		},
		"a delay": func(i *tls.ClientHelloInfo) (*tls.Certificate, error) {
			<-i.Context().Done()
			return nil, i.Context().Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: &tls.Config{GetCertificate: get}}}, Timeouts: engine.Timeouts{Handshake: 300 * time.Millisecond},
				Bans: engine.Bans{Flaps: 1}})
			r := serve(t, e)
			p := dialFrom(t, "127.0.1.1", r.addr)
			if err := tls.Client(p.Conn, sec.client).Handshake(); err == nil {
				t.Error("the handshake went well")
			}
			eventually(t, "the count", func() bool { return e.Stats().Refused.Handshake == 1 })
			wantNobodyIn(t, e)
			if bans := e.Bans(); len(bans) != 0 {
				t.Errorf("banned: %v", bans)
			}
		})
	}
}

// A hook that comes back too late, for TLS: what it was about is settled.
func TestALateHookBeforeTLS(t *testing.T) {
	sec := newSecurity(t)
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Timeouts: engine.Timeouts{Handshake: 20 * time.Millisecond}, Bans: engine.Bans{Flaps: 1},
		OnAccept: func(ctx context.Context, _ engine.Incoming) error { <-ctx.Done(); return nil }})
	r := serve(t, e)
	for range 30 {
		dial(t, r.addr).wantUntold()
	}
	wantNobodyIn(t, e)
	if bans := e.Bans(); len(bans) != 0 {
		t.Errorf("banned: %v", bans)
	}
}

// A hook's word is told in TLS, and neither a hook nor a limit makes a flap; a limit on addresses is not worth a handshake.
func TestRefusalsOnATLSListener(t *testing.T) {
	sec := newSecurity(t)
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Accept: engine.Accept{MaxPerAddress: 1}, Bans: engine.Bans{Flaps: 1},
		OnAccept: func(_ context.Context, in engine.Incoming) error {
			switch in.Remote.Addr().As4()[3] {
			case 1:
				return nil
			case 2:
				return &protocol.CloseError{Code: protocol.KickedOut}
			}
			return errors.New("no")
		}})
	r := serve(t, e)
	in := shakeHands(t, dialFrom(t, "127.0.1.1", r.addr).Conn, sec.client)
	in.ask(1, 1, "")
	told := shakeHands(t, dialFrom(t, "127.0.1.2", r.addr).Conn, sec.client)
	told.wantClose(protocol.KickedOut)
	_ = told.Close()
	dialFrom(t, "127.0.1.3", r.addr).wantUntold()
	if err := tls.Client(dialFrom(t, "127.0.1.1", r.addr), sec.client).Handshake(); err == nil {
		t.Error("an address over its limit is worth a handshake")
	}
	in.ask(1, 2, "")
	s := e.Stats()
	if s.Refused != (engine.Refusals{Hook: 2, Address: 1}) || s.Closed[protocol.KickedOut] != 1 || s.Closed[protocol.TooManyConnections] != 0 {
		t.Errorf("Stats returned %+v", s)
	}
	if bans := e.Bans(); len(bans) != 0 {
		t.Errorf("Bans returned %+v", bans)
	}
}

// Handshakes made only to send the reason of a refusal are few, and counted.
func TestTellingInTLSIsBounded(t *testing.T) {
	const most = 8
	sec := newSecurity(t)
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Accept: engine.Accept{MaxConnections: 1}, Timeouts: engine.Timeouts{Close: time.Hour}})
	r := serve(t, e)
	dialTLS(t, r.addr, sec.client).ask(1, 1, "")
	eventually(t, "the first client's handshake is over", func() bool { return e.Stats().Conns.Handshaking == 0 })
	for range 3 * most {
		dial(t, r.addr)
	}
	eventually(t, "those who say nothing are given up on", func() bool {
		s := e.Stats()
		if s.Conns.Handshaking > most {
			t.Fatalf("%d handshakes at a time", s.Conns.Handshaking)
		}
		return s.Refused.Full == 3*most && s.Conns.Handshaking == 0
	})
	dialTLS(t, r.addr, sec.client).wantClose(protocol.TooManyConnections)
	if s := e.Stats(); s.Closed[protocol.TooManyConnections] != 1 || s.Refused.Full != 3*most+1 {
		t.Errorf("Stats returned %+v", s)
	}
}

// Behind a load balancer TLS begins after the PROXY header: the client's address counts, and who is refused before the header
// was read is told nothing, since it could not be understood.
func TestTLSBehindAProxy(t *testing.T) {
	sec := newSecurity(t)
	cfg := engine.Config{Accept: engine.Accept{MaxConnections: 2}, Bans: engine.Bans{Flaps: 3},
		Listeners: []engine.Listener{{Addr: "127.0.0.1:0", ProxyProtocol: fromLoopback, TLS: sec.server}}}
	e := newEngine(cfg)
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte(c.RemoteAddr().String())) })
	r := serve(t, e)
	var in []*peer
	for _, header := range [][]byte{v1("203.0.113.7", 4711), v2TCP("203.0.113.7", 4711)} {
		p := dial(t, r.addr)
		p.sendRaw(header)
		p = shakeHands(t, p.Conn, sec.client)
		p.send(protocol.Message{Type: 1, ID: 1})
		p.wantRemote(1, "203.0.113.7:4711")
		in = append(in, p)
	}
	full := dial(t, r.addr)
	_, _ = full.Write(v1("203.0.113.7", 4711))
	full.wantUntold()
	if s := e.Stats(); s.Refused != (engine.Refusals{Full: 1}) || len(s.Closed) != 0 {
		t.Errorf("Stats returned %+v", s)
	}
	for _, p := range in {
		_ = p.Close()
	}
	wantNobodyIn(t, e)
	failed := dial(t, r.addr)
	failed.sendRaw(append(v1("203.0.113.7", 4711), "garbage, garbage"...))
	eventually(t, "the ban", func() bool { return len(e.Bans()) == 1 })
	if bans := e.Bans(); bans[0].Prefix != netip.MustParsePrefix("203.0.113.7/32") || bans[0].Reason != "flapping" {
		t.Errorf("Bans returned %+v", bans)
	}
	banned := dial(t, r.addr)
	banned.sendRaw(v1("203.0.113.7", 4711))
	banned.wantUntold()
}

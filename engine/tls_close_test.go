package engine_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// swallower is a connection whose writes are gathered instead, once it is told to: what tls.Conn would have sent. What is
// injected is read from it first.
type swallower struct {
	net.Conn
	swallows bool
	taken    []byte
	injected []byte
}

func (s *swallower) Read(b []byte) (int, error) {
	if n := copy(b, s.injected); n > 0 {
		s.injected = s.injected[n:]
		return n, nil
	}
	return s.Conn.Read(b)
}

func (s *swallower) Write(b []byte) (int, error) {
	if s.swallows {
		s.taken = append(s.taken, b...)
		return len(b), nil
	}
	return s.Conn.Write(b)
}

// seal returns the record that p would send for b, without sending it.
func (p *peer) seal(b []byte) []byte {
	s := p.Conn.(*tls.Conn).NetConn().(*swallower)
	s.swallows, s.taken = true, nil
	p.sendRaw(b)
	s.swallows = false
	return s.taken
}

// halfClosable is a connection of a socket.
type halfClosable interface {
	net.Conn
	CloseWrite() error
}

// docs/protocol.md, "Closing, and coming back", over TLS: a close between two frames is the client's, with close_notify and
// without. What is cut short, or broken off by an alert, is the network's; what is no TLS is the client's fault.
func TestTheTLSPeersEndHasItsCode(t *testing.T) {
	listens := func(tr *transport) bool { return tr.speaksTLS() && !tr.piped } // not what crypto/tls alone has done before
	eachTransportThat(t, listens, theTLSPeersEndHasItsCode)
}

func theTLSPeersEndHasItsCode(t *testing.T) {
	sec := transportOf(t).secure
	whole := frame(t, protocol.Message{Type: 1, Body: []byte("hello")})
	under := func(p *peer) halfClosable { return p.Conn.(*tls.Conn).NetConn().(*swallower).Conn.(halfClosable) }
	notify := func(p *peer) { _ = p.Conn.(*tls.Conn).CloseWrite() }
	for _, c := range []struct {
		name string
		end  func(p *peer)
		code protocol.CloseCode
	}{
		{"a Close message", func(p *peer) { p.send(protocol.Message{Type: protocol.TypeClose}) }, protocol.ClientClosed},
		{"close_notify", notify, protocol.ClientClosed},
		{"close_notify and the end of TCP", func(p *peer) { notify(p); _ = under(p).CloseWrite() }, protocol.ClientClosed},
		{"a frame and close_notify", func(p *peer) { p.sendRaw(whole); notify(p) }, protocol.ClientClosed},
		{"the end of TCP alone", func(p *peer) { _ = under(p).CloseWrite() }, protocol.ClientClosed},
		{"a frame and the end of TCP", func(p *peer) { p.sendRaw(whole); _ = under(p).CloseWrite() }, protocol.ClientClosed},
		{"close_notify within a frame", func(p *peer) { p.sendRaw(whole[:9]); notify(p) }, protocol.NetworkError},
		{"the end of TCP within a frame", func(p *peer) { p.sendRaw(whole[:9]); _ = under(p).CloseWrite() }, protocol.NetworkError},
		{"the end of TCP within a record's header", func(p *peer) {
			_, _ = under(p).Write(p.seal(whole)[:3])
			_ = under(p).CloseWrite()
		}, protocol.NetworkError},
		{"the end of TCP within a record", func(p *peer) {
			_, _ = under(p).Write(p.seal(whole)[:20])
			_ = under(p).CloseWrite()
		}, protocol.NetworkError},
		{"a reset", func(p *peer) { newPeer(t, under(p)).reset() }, protocol.NetworkError},
		{"an alert", func(p *peer) {
			p.Conn.(*tls.Conn).NetConn().(*swallower).injected = append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...)
			_, _ = p.Conn.Read(make([]byte, 1))
		}, protocol.NetworkError},
		{"a record that was changed", func(p *peer) {
			b := p.seal(whole)
			b[len(b)-1] ^= 1
			_, _ = under(p).Write(b)
		}, protocol.InvalidMessage},
		{"plain text", func(p *peer) { _, _ = under(p).Write(whole) }, protocol.InvalidMessage},
		{"a record that is too long", func(p *peer) { _, _ = under(p).Write([]byte{23, 3, 3, 0xff, 0xff}) }, protocol.InvalidMessage},
	} {
		if c.name == "a reset" && !transportOf(t).resets() {
			continue
		}
		for _, v := range tlsVersions {
			for _, workers := range []int{0, 2} {
				t.Run(fmt.Sprintf("%s, %s, %d workers", c.name, tls.VersionName(v), workers), func(t *testing.T) {
					e := newEngine(engine.Config{Workers: workers})
					e.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
					g := newGate(t, e)
					r := serve(t, e)
					p := shakeHands(t, &swallower{Conn: bare(t, r.addr, nil)}, sec.version(v))
					p.send(protocol.Message{Type: 1, UserID: "ann"})
					b := receive(t, "a connection", g.arrived)
					eventually(t, "the first message", func() bool { return b.received.Load() == 1 })
					c.end(p)
					b.wantEnd(t, c.code)
					_ = under(p).Close()
					eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
				})
			}
		}
	}
}

// tap remembers what was read from a connection.
type tap struct {
	net.Conn
	mu  sync.Mutex
	got []byte
}

func (s *tap) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.mu.Lock()
	s.got = append(s.got, b[:n]...)
	s.mu.Unlock()
	return n, err
}

// lastRecord returns the type of the last record, in the clear in TLS 1.2 alone.
func (s *tap) lastRecord(t *testing.T) (typ byte) {
	for b := s.got; len(b) > 0; {
		n := 5 + int(binary.BigEndian.Uint16(b[3:]))
		if n > len(b) {
			t.Fatal("the last record is cut short")
		}
		typ, b = b[0], b[n:]
	}
	return typ
}

// Rule 14 over TLS: what was queued, the Close notice, close_notify, the end; whether it fits the socket's buffers or not.
func TestAGracefulTLSCloseEndsWithCloseNotify(t *testing.T) {
	eachTransportThat(t, (*transport).speaksTLS, aGracefulTLSCloseEndsWithCloseNotify)
}

func aGracefulTLSCloseEndsWithCloseNotify(t *testing.T) {
	sec, large := transportOf(t).secure, transportOf(t).fills(kernelBuffers)
	for _, size := range []int{0, large} {
		e := newEngine(engine.Config{Limits: engine.Limits{MaxBody: -1, MaxOutbound: 64 << 20}, Timeouts: engine.Timeouts{Close: time.Minute}})
		e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
			_ = c.Send(1, make([]byte, size))
			_ = c.Reply(m, nil)
			c.Close(protocol.Errorf(protocol.KickedOut, "enough"))
			return nil
		})
		r := serve(t, e)
		for _, v := range tlsVersions {
			if lighter > 1 && size > 1<<20 && v == tls.VersionTLS12 {
				continue // over the other sockets much is less
			}
			wire := &tap{Conn: bare(t, r.addr, nil)}
			p := shakeHands(t, wire, sec.version(v))
			p.send(protocol.Message{Type: 1, ID: 1})
			if m := p.read(); m.IsReply() {
				m = p.read()
				_ = m
			} else if len(m.Body) != size {
				t.Fatalf("got %d bytes, want %d", len(m.Body), size)
			} else {
				p.read()
			}
			p.wantClose(protocol.KickedOut)
			if typ := wire.lastRecord(t); v == tls.VersionTLS12 && typ != 21 {
				t.Errorf("the last record is of type %d, want an alert", typ)
			}
			if _, err := wire.Conn.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after close_notify comes %v, want the end of what is beneath", err)
			}
			_ = p.Close()
		}
	}
}

// With Workers, what the client sent before close_notify is still handled; and replies reach one that still reads.
func TestWhatCameBeforeCloseNotifyIsHandled(t *testing.T) {
	eachTransportThat(t, (*transport).speaksTLS, whatCameBeforeCloseNotifyIsHandled)
}

func whatCameBeforeCloseNotifyIsHandled(t *testing.T) {
	for _, workers := range []int{0, 1} {
		const messages = 50
		handled := make(chan uint32, messages)
		e := newEngine(engine.Config{Workers: workers})
		e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
			if workers > 0 { // close_notify is found before they are handled
				eventually(t, "the client's end", func() bool { return hasEnded(c) })
			}
			handled <- m.ID
			return c.Reply(m, nil)
		})
		p := dial(t, serve(t, e).addr)
		var ms []protocol.Message
		for id := range uint32(messages) {
			ms = append(ms, protocol.Message{Type: 1, ID: id + 1})
		}
		p.send(ms...)
		_ = p.Conn.(*tls.Conn).CloseWrite()
		for id := range uint32(messages) {
			if got := receive(t, "a message", handled); got != id+1 {
				t.Fatalf("message %d was handled in the place of %d", got, id+1)
			}
		}
		if workers == 0 {
			for range messages {
				p.read()
			}
			p.wantEOF()
		}
	}
}

// Rule 15: each is one closed connection, counted, and the others go on.
func TestHandshakesThatFail(t *testing.T) {
	sec := newSecurity(t)
	const timeout = 300 * time.Millisecond
	sec.server.ClientAuth, sec.server.ClientCAs = tls.RequireAndVerifyClientCert, sec.ca.Pool
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Timeouts: engine.Timeouts{Handshake: timeout}})
	r := serve(t, e)
	good := sec.client.Clone()
	good.Certificates = []tls.Certificate{sec.ca.Issue("ann")}
	healthy := dialTLS(t, r.addr, good)
	failed := uint64(0)
	for name, attempt := range map[string]func(p *peer){
		"plain messages": func(p *peer) { p.send(protocol.Message{Type: 1, ID: 1}, protocol.Message{Type: 1, ID: 1}) },
		"garbage":        func(p *peer) { p.sendRaw(bytes.Repeat([]byte("garbage "), 1<<16)) },
		"nothing":        func(p *peer) {},
		"a closed peer":  func(p *peer) { _ = p.Close() },
		"a reset peer":   func(p *peer) { p.reset() },
		"half a hello":   func(p *peer) { p.sendRaw([]byte{22, 3, 1, 2, 0, 1, 0}) },
		"no certificate": func(p *peer) { refused(t, p.Conn, sec.client) },
		"an old version": func(p *peer) { refused(t, p.Conn, sec.version(tls.VersionTLS11)) },
		"another's": func(p *peer) {
			cfg := sec.client.Clone()
			cfg.Certificates = []tls.Certificate{testca.New(t).Issue("ann")}
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cfg.Certificates[0], nil }
			refused(t, p.Conn, cfg)
		},
		"a client that trusts nobody": func(p *peer) {
			cfg := good.Clone()
			cfg.RootCAs = testca.New(t).Pool
			refused(t, p.Conn, cfg)
		},
		"a hello that never ends": func(p *peer) {
			go func() {
				p.sendQuietly([]byte{22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc})
				for p.sendQuietly([]byte{3}) == nil {
					testkit.BeSlow()
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := dial(t, r.addr)
			attempt(p)
			failed++
			eventually(t, "the count", func() bool { return e.Stats().Refused.Handshake == failed })
			eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 1 })
			healthy.ask(1, 1, "")
			if name != "a closed peer" && name != "a reset peer" && p.in == nil {
				_ = p.SetReadDeadline(time.Now().Add(patience))
				_, err := io.Copy(io.Discard, p.Conn)
				var timedOut net.Error
				if errors.As(err, &timedOut) && timedOut.Timeout() {
					t.Error("the connection is still open")
				}
			}
		})
	}
}

func (p *peer) sendQuietly(b []byte) error {
	_, err := p.Write(b)
	return err
}

// refused goes through a handshake that must fail, and with an alert rather than a reset when it is the server that minds.
func refused(t *testing.T, nc net.Conn, cfg *tls.Config) {
	t.Helper()
	tc := tls.Client(nc, cfg)
	_ = tc.SetDeadline(time.Now().Add(patience))
	err := tc.Handshake()
	if err == nil { // with TLS 1.3 the server's opinion comes later
		_, err = tc.Read(make([]byte, 1))
	}
	var oe *net.OpError
	if errors.As(err, &oe) && oe.Op == "remote error" {
		return
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return
	}
	t.Errorf("the handshake ended with %v", err)
}

// A TLS hello is not a message.
func TestATLSHelloToAPlainListener(t *testing.T) {
	sec := newSecurity(t)
	r := serve(t, newEcho(engine.Config{}))
	check := healthy(t, r.addr)
	tc := tls.Client(dial(t, r.addr).Conn, sec.client)
	var notTLS tls.RecordHeaderError
	if err := tc.Handshake(); !errors.As(err, &notTLS) {
		t.Errorf("the handshake ended with %v", err)
	}
	p := dial(t, r.addr)
	p.sendRaw([]byte{22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	p.wantClose(protocol.InvalidMessage)
	check()
}

// Handshakes take a bounded number of goroutines, and those that wait are served when it is their turn.
func TestHandshakesAreBounded(t *testing.T) {
	sec := newSecurity(t)
	const bound, slow = 3, 20
	r := serve(t, newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Accept: engine.Accept{MaxHandshakes: bound}, Timeouts: engine.Timeouts{Handshake: time.Minute}}))
	var mute []*peer
	for range slow {
		mute = append(mute, dial(t, r.addr))
	}
	waits := dial(t, r.addr)
	eventually(t, "all of them have come", func() bool { return r.Stats().Accepted == slow+1 })
	if s := r.Stats(); s.Conns.Handshaking != bound || s.Conns.HandshakesWaiting == 0 {
		t.Errorf("Stats returned %+v", s)
	}
	for _, p := range mute {
		_ = p.Close()
	}
	shakeHands(t, waits.Conn, sec.client).ask(1, 1, "")
}

// Rule 16: an engine that stops does not wait for unfinished handshakes.
func TestTheEngineStopsInMidHandshake(t *testing.T) {
	sec := newSecurity(t)
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Accept: engine.Accept{MaxHandshakes: 2}, Timeouts: engine.Timeouts{Handshake: time.Hour}})
	r := run(t, e)
	for range 8 {
		dial(t, r.addr).sendRaw([]byte{22, 3, 1, 2, 0, 1})
	}
	eventually(t, "the connections", func() bool { return e.Stats().Conns.Open >= 2 })
	began := time.Now()
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("it took %v", took)
	}
	if n := e.Stats().Refused.Handshake; n != 0 {
		t.Errorf("%d handshakes count as failed", n)
	}
}

// Rule 15: what the application does in a handshake may panic.
func TestAPanicInAHandshakeIsOneClosedConnection(t *testing.T) {
	eachFailure(t, func(t *testing.T, fail func()) {
		sec := newSecurity(t)
		var once sync.Once
		sec.server.VerifyConnection = func(tls.ConnectionState) error {
			once.Do(fail)
			return nil
		}
		r := serve(t, newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Accept: engine.Accept{MaxHandshakes: 1}}))
		p := dial(t, r.addr)
		tc := tls.Client(p.Conn, sec.version(tls.VersionTLS12))
		_ = tc.SetDeadline(time.Now().Add(patience))
		if tc.Handshake() == nil {
			t.Error("the handshake went well")
		}
		dialTLS(t, r.addr, sec.client).ask(1, 1, "")
	})
}

// Rule 14: a connection over the limit is told so in TLS.
func TestATLSConnectionOverTheLimitIsTold(t *testing.T) {
	sec := newSecurity(t)
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Accept: engine.Accept{MaxConnections: 1}})
	r := serve(t, e)
	first := dialTLS(t, r.addr, sec.client)
	first.ask(1, 1, "")
	p := dialTLS(t, r.addr, sec.client)
	p.wantClose(protocol.TooManyConnections)
	_ = p.Close()
	first.ask(1, 2, "")
}

package engine_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/protocol"
)

// security is a listener's TLS, and that of clients who trust it.
type security struct {
	ca             *testca.Authority
	server, client *tls.Config
}

func newSecurity(t testing.TB) *security {
	ca := testca.New(t)
	return &security{ca: ca, server: &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}},
		client: &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"}}
}

// version returns the client's configuration for one version alone.
func (s *security) version(v uint16) *tls.Config {
	cfg := s.client.Clone()
	cfg.MinVersion, cfg.MaxVersion = v, v
	return cfg
}

var tlsVersions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

func dialTLS(t testing.TB, addr string, cfg *tls.Config) *peer {
	t.Helper()
	return shakeHands(t, dial(t, addr).Conn, cfg)
}

func shakeHands(t testing.TB, nc net.Conn, cfg *tls.Config) *peer {
	t.Helper()
	tc, err := tryToShakeHands(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &peer{Conn: tc, t: t, codec: protocol.Binary}
}

// tryToShakeHands is shakeHands for any goroutine.
func tryToShakeHands(nc net.Conn, cfg *tls.Config) (*tls.Conn, error) {
	tc := tls.Client(nc, cfg)
	_ = tc.SetDeadline(time.Now().Add(patience))
	return tc, tc.Handshake()
}

func (p *peer) state() tls.ConnectionState { return p.Conn.(*tls.Conn).ConnectionState() }

func TestTLSCarriesWhatPlainTCPDoes(t *testing.T) {
	eachTransportThat(t, (*transport).speaksTLS, tlsCarriesWhatPlainTCPDoes)
}

func tlsCarriesWhatPlainTCPDoes(t *testing.T) {
	sec := transportOf(t).secure
	for _, workers := range []int{0, 2} {
		r := serve(t, newEcho(engine.Config{Workers: workers}))
		for _, v := range tlsVersions {
			t.Run(fmt.Sprintf("%s, %d workers", tls.VersionName(v), workers), func(t *testing.T) {
				p := shakeHands(t, bare(t, r.addr, nil), sec.version(v))
				if got := p.state().Version; got != v {
					t.Fatalf("speaks %s", tls.VersionName(got))
				}
				p.ask(1, 1, "hello")
				body := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<20/16))
				for id := range max(uint32(3/lighter), 1) {
					if m := p.ask(2, id+2, body); string(m.Body) != body {
						t.Fatalf("got %d bytes, and not those that were sent", len(m.Body))
					}
				}
				small := 10_000 / lighter
				go func() {
					var b []byte
					for id := range uint32(small) {
						b, _ = protocol.Binary.Append(b, &protocol.Message{Type: 1, ID: id + 1, Body: []byte("small")})
					}
					_, _ = p.Write(b)
				}()
				for id := range uint32(small) {
					if m := p.read(); m.ID != id+1 || string(m.Body) != "small" {
						t.Fatalf("got %v, want the reply to %d", m, id+1)
					}
				}
				p.send(protocol.Message{Type: protocol.TypeClose})
				p.wantEOF()
			})
		}
	}
}

// Plain and TLS listeners side by side; each connection knows which it is, and what was agreed on.
func TestAListenerHasItsOwnTLS(t *testing.T) {
	sec := newSecurity(t)
	sec.server.NextProtos = []string{"chat/2", "chat/1"}
	e := newEngine(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", TLS: sec.server}}})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		if s := c.TLS(); s != nil {
			return c.Reply(m, []byte(s.NegotiatedProtocol+" "+s.ServerName))
		}
		return c.Reply(m, []byte("plain"))
	})
	r := serve(t, e)
	if m := dial(t, r.addr).ask(1, 1, ""); string(m.Body) != "plain" {
		t.Errorf("the plain listener says %q", m.Body)
	}
	cfg := sec.client.Clone()
	cfg.NextProtos = []string{"chat/1"}
	if m := dialTLS(t, e.Addrs()[1].String(), cfg).ask(1, 1, ""); string(m.Body) != "chat/1 localhost" {
		t.Errorf("the TLS listener says %q", m.Body)
	}
}

func TestTLSThatCannotWorkIsRefusedAtOnce(t *testing.T) {
	sec := newSecurity(t)
	for _, cfg := range []engine.Config{
		{Listeners: []engine.Listener{{TLS: &tls.Config{}}}},
		{Listeners: []engine.Listener{{TLS: &tls.Config{Certificates: sec.server.Certificates, ClientAuth: tls.VerifyClientCertIfGiven}}}},
		{Listeners: []engine.Listener{{TLS: &tls.Config{Certificates: sec.server.Certificates, ClientAuth: tls.RequireAndVerifyClientCert}}}},
	} {
		wantNoEngine(t, "TLS", cfg)
	}
	chosen := &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return sec.server, nil }}
	serve(t, newEngine(engine.Config{Listeners: []engine.Listener{{TLS: chosen}}}))
	serve(t, newEngine(engine.Config{Listeners: []engine.Listener{{TLS: &tls.Config{Certificates: sec.server.Certificates, ClientAuth: tls.RequireAnyClientCert}}}}))
}

// cutter forwards to addr, in writes of one byte, both ways, and returns where it listens.
func cutter(t testing.TB, addr string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	cut := func(to, from net.Conn) {
		defer wg.Done()
		defer func() { _ = to.(*net.TCPConn).CloseWrite() }()
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			for i := range n {
				if _, err := to.Write(buf[i : i+1]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	wg.Go(func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", addr)
			if err != nil {
				_ = from.Close()
				continue
			}
			t.Cleanup(func() { _ = from.Close(); _ = to.Close() })
			wg.Add(2)
			go cut(to, from)
			go cut(from, to)
		}
	})
	return ln.Addr().String()
}

func TestTLSRecordsThatComeByteByByte(t *testing.T) {
	sec := newSecurity(t)
	r := serve(t, newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}}))
	addr := cutter(t, r.addr)
	for _, v := range tlsVersions {
		p := dialTLS(t, addr, sec.version(v))
		for id := range uint32(20) {
			body := string(bytes.Repeat([]byte{'x'}, int(id*id)*4))
			if m := p.ask(1, id+1, body); string(m.Body) != body {
				t.Fatalf("%s: a wrong answer", tls.VersionName(v))
			}
		}
		_ = p.Close()
	}
}

// holder keeps what is written to it, after the first write, until it is released.
type holder struct {
	net.Conn
	writes int
	held   []byte
}

func (h *holder) Write(b []byte) (int, error) {
	if h.writes++; h.writes == 1 {
		return h.Conn.Write(b)
	}
	h.held = append(h.held, b...)
	return len(b), nil
}

// What the handshake had already read is delivered first.
func TestMessagesInTheClientsLastFlightAreDelivered(t *testing.T) {
	eachTransportThat(t, (*transport).speaksTLS, messagesInTheClientsLastFlightAreDelivered)
}

func messagesInTheClientsLastFlightAreDelivered(t *testing.T) {
	sec := transportOf(t).secure
	r := serve(t, newEcho(engine.Config{}))
	for range 20 {
		h := &holder{Conn: bare(t, r.addr, nil)}
		p := shakeHands(t, h, sec.version(tls.VersionTLS13))
		p.send(protocol.Message{Type: 1, ID: 1, Body: []byte("first")})
		p.send(protocol.Message{Type: 1, ID: 2, Body: []byte("second")})
		if _, err := h.Conn.Write(h.held); err != nil {
			t.Fatal(err)
		}
		if a, b := p.read(), p.read(); string(a.Body) != "first" || string(b.Body) != "second" {
			t.Fatalf("got %q and %q", a.Body, b.Body)
		}
		_ = p.Close()
	}
}

func TestCertificatesAreReplacedWhileTheEngineRuns(t *testing.T) {
	sec := newSecurity(t)
	var current atomic.Pointer[tls.Certificate]
	sec.server = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil }}
	first, second := sec.ca.Issue("first"), sec.ca.Issue("second")
	current.Store(&first)
	r := serve(t, newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}}))
	old := dialTLS(t, r.addr, sec.client)
	current.Store(&second)
	fresh := dialTLS(t, r.addr, sec.client)
	for want, p := range map[string]*peer{"first": old, "second": fresh} {
		p.ask(1, 1, "")
		if got := p.state().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("got the certificate %q, want %q", got, want)
		}
	}
}

// A client that comes back with a session ticket is spared the certificates, and its own is still known.
func TestATLSSessionIsResumedWithItsCertificate(t *testing.T) {
	sec := newSecurity(t)
	sec.server.ClientAuth, sec.server.ClientCAs = tls.RequireAndVerifyClientCert, sec.ca.Pool
	e := newEngine(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		s := c.TLS()
		return c.Reply(m, fmt.Appendf(nil, "%s %v", s.VerifiedChains[0][0].Subject.CommonName, s.DidResume))
	})
	r := serve(t, e)
	for _, v := range tlsVersions {
		cfg := sec.version(v)
		cfg.Certificates = []tls.Certificate{sec.ca.Issue("ann")}
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for _, want := range []string{"ann false", "ann true"} {
			p := dialTLS(t, r.addr, cfg)
			if m := p.ask(1, 1, ""); string(m.Body) != want { // the ticket has come before the answer
				t.Errorf("%s: got %q, want %q", tls.VersionName(v), m.Body, want)
			}
			_ = p.Close()
		}
	}
}

// An idle TLS connection holds no goroutine.
func TestAnIdleTLSConnectionHoldsNoGoroutine(t *testing.T) {
	sec := newSecurity(t)
	r := serve(t, newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}}))
	dialTLS(t, r.addr, sec.client).ask(1, 1, "")
	before := runtime.NumGoroutine()
	const conns = 100
	for range conns {
		dialTLS(t, r.addr, sec.client).ask(1, 1, "")
	}
	eventually(t, "the goroutines' end", func() bool { return runtime.NumGoroutine() <= before+5 })
	if n := r.Stats().Conns.Open; n != conns+1 {
		t.Errorf("%d connections are open", n)
	}
}

// Rules 14 and 15 in a crowd: with sends from handlers, from elsewhere, to all, and clients that go in every way.
func TestAHundredTLSConnections(t *testing.T) {
	sec := newSecurity(t)
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}})
	r := serve(t, e)
	quit := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(time.Millisecond):
				_, _ = e.Broadcast(e.Conns(), &protocol.Message{Type: 7, Body: make([]byte, 2000)}, nil)
				for c := range e.Conns() {
					_ = c.Send(8, []byte("to one"))
				}
			}
		}
	})
	var wg sync.WaitGroup
	for i := range 100 {
		p := dialTLS(t, r.addr, sec.version(tlsVersions[i%2]))
		wg.Go(func() {
			for id := uint32(1); id <= 50; id++ {
				body := bytes.Repeat([]byte{byte(i)}, 1+int(id)*37)
				b, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 1, ID: id, Body: body})
				if _, err := p.Write(b); err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				for {
					m, err := p.next()
					if err != nil {
						t.Errorf("connection %d: %v", i, err)
						return
					}
					if m.Type == 1 {
						if m.ID != id || !bytes.Equal(m.Body, body) {
							t.Errorf("connection %d: a wrong answer", i)
						}
						break
					}
				}
			}
			if i%3 == 0 {
				_ = p.Conn.(*tls.Conn).NetConn().Close()
			} else {
				_ = p.Close()
			}
		})
	}
	wg.Wait()
	close(quit)
	others.Wait()
	eventually(t, "the end of all", func() bool { return e.Stats().Conns.Open == 0 })
}

// Rule 15, over TLS: the outbound limit holds: a client that does not read ends with SlowConsumer, and so much waits at most.
func TestATLSClientThatDoesNotReadIsClosed(t *testing.T) {
	sec := newSecurity(t)
	e := newEcho(engine.Config{Listeners: []engine.Listener{{TLS: sec.server}}, Limits: engine.Limits{MaxOutbound: 1 << 20}, Timeouts: engine.Timeouts{Close: 200 * time.Millisecond}})
	g := newGate(t, e)
	r := serve(t, e)
	p := dialTLS(t, r.addr, sec.client)
	p.send(protocol.Message{Type: 1, UserID: "ann"})
	b := receive(t, "a connection", g.arrived)
	go func() {
		big := frame(t, protocol.Message{Type: 1, ID: 1, Body: make([]byte, 256<<10)})
		for {
			if _, err := p.Write(big); err != nil {
				return
			}
		}
	}()
	b.wantEnd(t, protocol.SlowConsumer)
	eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
	_, _ = io.Copy(io.Discard, p.Conn)
}

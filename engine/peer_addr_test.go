package engine_test

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// wordAddr is an address that is only a text.
type wordAddr string

func (wordAddr) Network() string  { return "quic" }
func (a wordAddr) String() string { return string(a) }

// A peer's address is that of its socket, whatever the transport, and none where the peer has no IP address.
func TestRemoteAddrIsThePeersAddressOrNone(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		bothModes(t, func(t *testing.T, workers int) {
			e := newEcho(engine.Config{Workers: workers})
			g := newGate(t, e)
			r := serve(t, e)
			p, b := g.enter(t, r.addr)
			p.read()
			var want netip.AddrPort
			if tr := transportOf(t); tr.network != "unix" && !tr.piped {
				want = netip.MustParseAddrPort(p.LocalAddr().String())
			}
			if got := b.conn.RemoteAddr(); got != want {
				t.Errorf("the peer at %v has the address %v", want, got)
			}
		})
	})
}

// A connection that was given to ServeConn has the address that its own RemoteAddr says, if that is one; logs say it as it is.
func TestServeConnTakesTheAddressThatItsConnectionSays(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	e := newEcho(engine.Config{Logger: zap.New(core)})
	conns := make(chan *engine.Conn, 1)
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { conns <- c; return net.ErrClosed })
	serve(t, e)
	logged := 0
	for _, tc := range []struct {
		says net.Addr
		want string // "" for none
		logs string
	}{
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}, "192.0.2.1:7", "192.0.2.1:7"},
		{&net.UDPAddr{IP: net.ParseIP("2001:db8::1"), Port: 7}, "[2001:db8::1]:7", "[2001:db8::1]:7"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 7, Zone: "eth0"}, "[fe80::1%eth0]:7", "[fe80::1%eth0]:7"},
		{wordAddr("198.51.100.2:65535"), "198.51.100.2:65535", "198.51.100.2:65535"},
		{wordAddr("stream 5"), "", "stream 5"},
		{wordAddr(""), "", "quic"},
		{&net.UnixAddr{Net: "unix", Name: "192.0.2.1:7"}, "", "192.0.2.1:7"},
		{nil, "", "pipe"},
	} {
		s := hand(t, e, func(nc net.Conn) net.Conn { return &fakeConn{Conn: nc, remote: tc.says} })
		s.ask(2, 1, "")
		var want netip.AddrPort
		if tc.want != "" {
			want = netip.MustParseAddrPort(tc.want)
		}
		if got := receive(t, "the connection", conns).RemoteAddr(); got != want {
			t.Errorf("the peer at %v has the address %v", tc.says, got)
		}
		for _, l := range logs.TakeAll() {
			if l.Message != "a handler failed" {
				continue
			}
			if got := l.ContextMap()["remote"]; got != tc.logs {
				t.Errorf("the peer at %v is logged as %v", tc.says, got)
			}
			logged++
		}
	}
	if logged != 8 {
		t.Errorf("%d failures are logged, want 8", logged)
	}
}

// Each of many connections that come at a time has its own peer's address.
func TestEachOfManyConnectionsHasItsOwnAddress(t *testing.T) {
	eachTransportThat(t, func(tr *transport) bool { return tr.network != "unix" && !tr.piped }, func(t *testing.T) {
		e := newEngine(engine.Config{Loops: 2})
		e.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte(c.RemoteAddr().String())) })
		r := serve(t, e)
		peers := make([]*peer, 100)
		for i := range peers {
			peers[i] = dial(t, r.addr)
		}
		for _, p := range peers {
			if m := p.ask(1, 1, ""); string(m.Body) != p.LocalAddr().String() {
				t.Errorf("the peer at %v has the address %s", p.LocalAddr(), m.Body)
			}
		}
	})
}

// addrOnce is a connection that says each of its addresses once, and fails when it is asked again.
type addrOnce struct {
	net.Conn
	askedRemote, askedLocal atomic.Bool
}

func (c *addrOnce) RemoteAddr() net.Addr { return once(&c.askedRemote) }
func (c *addrOnce) LocalAddr() net.Addr  { return once(&c.askedLocal) }

func once(asked *atomic.Bool) net.Addr {
	if asked.Swap(true) {
		panic("asked again")
	}
	return wordAddr("stream 5")
}

// Rule 15: a served connection is asked for its addresses when it comes, and never again: a user manager wants to know a connection's
// address and transport while it holds a lock, and a method of the connection may block or panic.
func TestAServedConnectionIsAskedForItsAddressesOnce(t *testing.T) {
	e := newEcho(engine.Config{})
	conns := make(chan *engine.Conn, 1)
	e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { conns <- c; return c.Reply(m, nil) })
	serve(t, e)
	s := hand(t, e, func(nc net.Conn) net.Conn { return &addrOnce{Conn: nc} })
	s.ask(2, 1, "")
	c := receive(t, "the connection", conns)
	for range 2 {
		if got := c.Transport(); got != "quic" || c.RemoteAddr().IsValid() {
			t.Errorf("the transport is %q, and the address %v", got, c.RemoteAddr())
		}
	}
}

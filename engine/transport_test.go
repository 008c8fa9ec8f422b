package engine_test

import (
	"crypto/tls"
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// transportNames is what Conn.Transport returns for the tests' transports.
var transportNames = map[string]string{"tcp": "tcp", "tls": "tls", "ws": "ws", "wss": "wss", "unix": "unix", "tls over unix": "tls", "pipe": "pipe",
	"tls over pipe": "tls"}

// openBy is Stats.Transports with these connections.
func openBy(n map[string]int) map[string]int {
	all := map[string]int{"tcp": 0, "tls": 0, "ws": 0, "wss": 0, "unix": 0, "udp": 0, "other": 0}
	maps.Copy(all, n)
	return all
}

// Rule 14: a connection says what its bytes go through, and says the same in a handler, half-closed and when it has ended. Rule 12: it is
// counted once under that name while it is there.
func TestTransportIsTheSameThroughoutAConnection(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		bothModes(t, func(t *testing.T, workers int) {
			tr := transportOf(t)
			want := transportNames[tr.name]
			e := newEngine(engine.Config{Workers: workers})
			conns, release := make(chan *engine.Conn, 1), make(chan struct{})
			seen := make(chan string, 1)
			e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
				conns <- c
				<-release
				seen <- c.Transport()
				return c.Reply(m, nil)
			})
			e.Handle(2, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte(c.Transport())) })
			r := serve(t, e)
			p := dial(t, r.addr)
			if m := p.ask(2, 1, ""); string(m.Body) != want {
				t.Errorf("the transport is %q, want %q", m.Body, want)
			}
			name := want
			if name == "pipe" {
				name = "other"
			}
			if got := e.Stats().Transports; !maps.Equal(got, openBy(map[string]int{name: 1})) {
				t.Errorf("the open connections are %v, want one of %s", got, name)
			}
			p.send(protocol.Message{Type: 1, ID: 2})
			c := receive(t, "the connection", conns)
			if tr.halfCloses() && !tr.web {
				p.endSide()
				if workers > 0 {
					eventually(t, "the client's end", func() bool { return hasEnded(c) })
				}
			}
			close(release)
			if got := receive(t, "the transport", seen); got != want {
				t.Errorf("when the client has ended its side the transport is %q, want %q", got, want)
			}
			p.read()
			_ = p.Close()
			outcomeOf(t, c)
			if got := c.Transport(); got != want {
				t.Errorf("after the end the transport is %q, want %q", got, want)
			}
			eventually(t, "none is counted", func() bool { return maps.Equal(e.Stats().Transports, openBy(nil)) })
		})
	})
}

// localConn is a connection with a local address of the test's.
type localConn struct {
	net.Conn
	local net.Addr
}

func (c localConn) LocalAddr() net.Addr { return c.local }

// named is a network with a name of its own, and an IP address, as QUIC and KCP have.
type named struct {
	*net.UDPAddr
	network string
}

func (n named) Network() string { return n.network }

// encrypted is a connection that has TLS below it, as a QUIC stream has.
type encrypted struct{ localConn }

func (encrypted) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{Version: tls.VersionTLS13}
}

// Rule 14: a connection that was given to ServeConn is named by its own local address; a tls.Conn is TLS.
func TestServeConnTakesTheTransportThatItsConnectionSays(t *testing.T) {
	sec := newSecurity(t)
	e := newEngine(engine.Config{})
	e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		if (c.TLS() != nil) != strings.Contains(c.Transport(), "tls") {
			t.Errorf("over %s TLS is %v", c.Transport(), c.TLS())
		}
		return c.Reply(m, []byte(c.Transport()+" "+c.RemoteAddr().String()))
	})
	serve(t, e)
	udp := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:7"))
	says := func(local net.Addr) func(net.Conn) net.Conn {
		return func(nc net.Conn) net.Conn { return localConn{&fakeConn{Conn: nc, remote: udp}, local} }
	}
	for want, wrap := range map[string]func(net.Conn) net.Conn{
		"quic 192.0.2.1:7":    says(named{udp, "quic"}),
		"kcp 192.0.2.1:7":     says(named{udp, "kcp"}),
		"udp 192.0.2.1:7":     says(udp),
		"unknown 192.0.2.1:7": says(nil),
		"tcp 192.0.2.1:7":     says(&net.TCPAddr{}),
		"quic+tls 192.0.2.1:7": func(nc net.Conn) net.Conn {
			return encrypted{localConn{&fakeConn{Conn: nc, remote: udp}, named{udp, "quic+tls"}}}
		},
		"pipe invalid AddrPort": nil,
	} {
		s := hand(t, e, wrap)
		if m := s.ask(1, 1, ""); string(m.Body) != want {
			t.Errorf("the connection is %q, want %q", m.Body, want)
		}
	}
	if got := e.Stats().Transports; !maps.Equal(got, openBy(map[string]int{"tcp": 1, "udp": 1, "other": 5})) {
		t.Errorf("the open connections are %v", got)
	}
	ours, theirs := tcpPair(t)
	ended := make(chan error, 1)
	go func() { ended <- e.ServeConn(tls.Server(theirs, sec.server)) }()
	p := newPeer(t, tls.Client(ours, sec.client))
	if m := p.ask(1, 1, ""); string(m.Body) != "tls "+ours.LocalAddr().String() {
		t.Errorf("the connection is %q", m.Body)
	}
	_ = p.Close()
	if err := receive(t, "the end of ServeConn", ended); err != nil {
		t.Errorf("ServeConn returned %v", err)
	}
}

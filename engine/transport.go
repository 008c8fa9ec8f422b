package engine

import (
	"net"
	"slices"
	"sync/atomic"
)

// Transport returns what the connection's bytes go through, as this server sees it:
//
//   - "tcp": TCP and nothing else, or TLS that a load balancer has ended;
//   - "tls": TLS, over TCP, a Unix socket or a connection of ServeConn;
//   - "ws" and "wss": WebSocket without TLS and with it, also where an http.Server has accepted the connection (WebSocketHandler);
//   - "udp": a session over datagrams, of a listener for "udp";
//   - "unix": a Unix socket with neither TLS nor WebSocket. A Unix socket that has one of them says that instead, because it decides
//     what the client may do; Conn.RemoteAddr is then zero all the same;
//   - for a connection that was given to ServeConn and is no *tls.Conn (it has no method HandshakeContext): what its
//     LocalAddr().Network() returned when it was given, such as "pipe" for net.Pipe. It is "udp" for many kinds of connections over
//     UDP: give ServeConn a connection whose LocalAddr names its own network, as those of examples/quic and examples/kcp do.
//     "unknown" where LocalAddr returned nil.
//
// It never changes, also when the connection has ended. Any goroutine may call it; it takes no lock.
func (c *Conn) Transport() string {
	switch c.stream().(type) {
	case nil:
	case *wsStream:
		if c.web.secure {
			return "wss"
		}
		return "ws"
	default:
		return "tls"
	}
	switch s := c.sock().(type) {
	case *feedSocket:
		if _, ok := s.nc.(shaker); ok {
			return "tls"
		}
		return s.network
	case *udpSocket:
		return "udp"
	case unixSocket:
		return "unix"
	case *tailSocket:
		if s.unix {
			return "unix"
		}
	}
	return "tcp"
}

// network names an address's network.
func network(a net.Addr) string {
	if a == nil {
		return "unknown"
	}
	return a.Network()
}

// counted are the transports that Stats.Transports tells apart, besides "other".
var counted = [...]string{"tcp", "tls", "ws", "wss", "unix", "udp"}

// transports counts the present connections by transport; the last is all those that counted does not have.
type transports [len(counted) + 1]atomic.Int64

// of returns the counter of a connection.
func (t *transports) of(c *Conn) *atomic.Int64 {
	i := slices.Index(counted[:], c.Transport())
	if i < 0 {
		i = len(counted)
	}
	return &t[i]
}

// all returns the counts of all transports, zeros included.
func (t *transports) all() map[string]int {
	all := make(map[string]int, len(t))
	for i, name := range counted {
		all[name] = int(t[i].Load())
	}
	all["other"] = int(t[len(counted)].Load())
	return all
}

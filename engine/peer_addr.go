package engine

import (
	"net"
	"net/netip"

	"go.uber.org/zap"
)

// RemoteAddr returns the peer's address, as it was when the connection was accepted. Behind a load balancer it returns the client's address
// from the PROXY header. An IPv4 address is never in its IPv6 form. The result is the zero AddrPort for a peer without an IP address: a
// peer of a Unix socket, or of a connection without an IP address that was given to Engine.ServeConn, such as net.Pipe's.
func (c *Conn) RemoteAddr() netip.AddrPort {
	if c.peer == (packedAddr{}) {
		return netip.AddrPort{}
	}
	ip := netip.AddrFrom16(c.peer.ip).Unmap()
	if c.rare != nil && c.rare.zone != "" {
		ip = ip.WithZone(c.rare.zone)
	}
	return netip.AddrPortFrom(ip, c.peer.port)
}

// packedAddr is an IP address and a port in 18 bytes, without pointers; a netip.AddrPort takes 32. An IPv4 address is in its IPv6 form. The
// zero value is no address.
type packedAddr struct {
	ip   [16]byte
	port uint16
}

func packAddr(a netip.AddrPort) packedAddr {
	if !a.IsValid() {
		return packedAddr{}
	}
	return packedAddr{ip: a.Addr().As16(), port: a.Port()}
}

// rareAddr is the part of a peer's address that a packedAddr does not take. It never changes.
type rareAddr struct {
	zone string // of an IPv6 address
	text string // in the place of an IP address: the path of a Unix socket, or the network's name
}

// rareAddr returns what a packedAddr does not take of the peer's address, or nil.
func (a *arrival) rareAddr() *rareAddr {
	switch zone := a.Remote.Addr().Zone(); {
	case zone != "":
		return &rareAddr{zone: zone}
	case a.Remote.IsValid():
		return nil
	case a.at.setup.rare != nil && a.at.setup.rare.text == a.remote:
		return a.at.setup.rare
	}
	return &rareAddr{text: a.remote}
}

// addrPort returns the IP address and the port of a, or the zero value if it has none: a has a method AddrPort, as *net.TCPAddr and
// *net.UDPAddr have, or its text is an address with a port.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case nil, *net.UnixAddr: // a path may look like an address
	case interface{ AddrPort() netip.AddrPort }:
		ap = a.AddrPort()
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	if !ap.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// peerText returns the peer's address for logs, where it has no IP address.
func peerText(a net.Addr) string {
	if a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return network(a)
}

// askAddresses asks a connection that has just come for its addresses, and its network's name. A connection that was given to ServeConn is not asked again,
// because its methods may block or panic, and others want to know its address while they hold a lock.
func (a *arrival) askAddresses() {
	remote, local := a.nc.RemoteAddr(), a.nc.LocalAddr()
	a.Incoming = Incoming{Remote: addrPort(remote), Local: addrPort(local), Listener: a.at.index}
	if !a.Remote.IsValid() {
		a.remote = peerText(remote)
	}
	if a.feed != nil {
		a.feed.network = network(local)
	}
}

// loggedConn is a connection in a log: its text is made only when the log is written.
type loggedConn struct{ c *Conn }

func (l loggedConn) String() string {
	if a := l.c.RemoteAddr(); a.IsValid() || l.c.rare == nil {
		return a.String()
	}
	return l.c.rare.text
}

func zapConn(c *Conn) zap.Field { return zap.Stringer("remote", loggedConn{c}) }

// zapArrival names a connection that has not been let in.
func zapArrival(a *arrival) zap.Field {
	if a.Remote.IsValid() {
		return zap.Stringer("remote", a.Remote)
	}
	return zap.String("remote", a.remote)
}

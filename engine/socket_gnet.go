package engine

import (
	"fmt"
	"net"
	"slices"

	"github.com/panjf2000/gnet/v2"
)

// gnetSocket is a descriptor on one of gnet's event loops.
type gnetSocket struct{ gc gnet.Conn }

func (s *gnetSocket) peek() []byte {
	b, _ := s.gc.Peek(-1)
	return b
}

// discard never passes 0 on, because for gnet 0 means all.
func (s *gnetSocket) discard(n int) {
	if n != 0 {
		_, _ = s.gc.Discard(n)
	}
}

func (s *gnetSocket) buffered() int { return s.gc.InboundBuffered() }

// write leaves no bytes with gnet, because gnet does not say when it has written them. Where writeNow cannot write,
// gnet's own write is called: on a broken socket it meets the error and closes the connection.
func (s *gnetSocket) write(b []byte, alone bool) (taken int) {
	if fd := s.gc.Fd(); fd >= 0 {
		if n, ok := writeNow(fd, b, alone); ok {
			return n
		}
	}
	taken, err := s.gc.Write(b)
	if err != nil {
		return len(b)
	}
	return taken
}

func (s *gnetSocket) awaitRoom(c *Conn) bool {
	w := c.engine.writable
	return w != nil && w.watch(s.gc.Fd(), c.id)
}

func (s *gnetSocket) shutdown() error     { return shutdownWrite(s.gc.Fd()) }
func (s *gnetSocket) unacknowledged() int { return unacknowledged(s.gc.Fd()) }

// duplicate returns another descriptor for the socket, which stays open when gnet has closed its own.
func (s *gnetSocket) duplicate() (fd int, err error) { return duplicateDescriptor(s.gc.Fd()) }

func (s *gnetSocket) close(reset bool) error {
	if reset {
		_ = s.gc.SetLinger(0)
	}
	return s.gc.EventLoop().Close(s.gc)
}

// unixSocket is a gnetSocket of a Unix socket.
type unixSocket struct{ *gnetSocket }

// isOnGnet reports whether gnet knows the connection.
func (c *Conn) isOnGnet() bool {
	switch c.sock().(type) {
	case *gnetSocket, unixSocket:
		return true
	}
	return false
}

// gnetClient owns gnet's event loops.
type gnetClient struct{ client *gnet.Client }

// enroll gives a connection to the event loop with the fewest connections. gnet may report success although it failed,
// so the caller checks whether the connection was opened. Event loops that have ended would never answer. A connection that
// gnet would not take is refused before gnet duplicates its descriptor, because gnet would not close the duplicate.
func (g gnetClient) enroll(nc net.Conn, c *Conn) error {
	switch nc.(type) {
	case *net.TCPConn:
	case *net.UnixConn:
		if c.stream() == nil {
			c.layers.Store(&layers{sock: unixSocket{&c.tcp}})
		}
	default:
		_ = nc.Close()
		return fmt.Errorf("rollcall: an event loop does not take a %T", nc)
	}
	_, err := g.client.EnrollContext(nc, c)
	return err
}

// stop ends the event loops, and waits for them.
func (g gnetClient) stop() { _ = g.client.Stop() }

// shrinkAddrs prepares the addresses of an accepted connection for gnet, which keeps them for as long as the connection lives.
//
// It removes the zone of an IPv6 address. When the connection ends, gnet puts the zone's bytes into its pool of
// buffers, and would then write a client's message over a string of package net. Conn.RemoteAddr and Incoming have the
// zone: they were made before, from copies.
//
// Package net's IPs keep the kernel's whole answer in memory, 32 bytes each. So connections share an IP: their local one, which was
// copied to local, and where no stream shows the peer's address (plain), the peer's, which is of no use any more. gnet makes a socket
// address of it, and uses that for UDP alone; an IPv4 address makes the smallest.
//
// Package net forbids changes to the addresses because it returns the same ones to every caller. Here only the engine
// has asked for them so far.
func shrinkAddrs(nc net.Conn, local *net.IP, plain bool) {
	to, ok := nc.LocalAddr().(*net.TCPAddr)
	from, okToo := nc.RemoteAddr().(*net.TCPAddr)
	if !ok || !okToo {
		return
	}
	to.Zone, from.Zone = "", ""
	if !to.IP.Equal(*local) {
		*local = slices.Clone(to.IP)
	}
	to.IP = *local
	switch ip := from.IP.To4(); {
	case plain:
		from.IP, from.Port = noIP, 0
	case ip != nil:
		from.IP = slices.Clone(ip)
	default:
		from.IP = slices.Clone(from.IP)
	}
}

// noIP is never changed.
var noIP = net.IP{0, 0, 0, 0}

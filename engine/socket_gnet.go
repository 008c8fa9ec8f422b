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

// discard never passes 0 on: gnet would take it for all.
func (s *gnetSocket) discard(n int) {
	if n != 0 {
		_, _ = s.gc.Discard(n)
	}
}

func (s *gnetSocket) buffered() int { return s.gc.InboundBuffered() }

// write leaves nothing with gnet, which does not say when it has written what it holds. Where the socket is broken gnet's own
// write meets the error, and closes the connection; so it writes where we cannot.
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

// duplicate returns another descriptor for the socket, which lives on when gnet has closed its own.
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

// gnetClient has gnet's event loops.
type gnetClient struct{ client *gnet.Client }

// enroll gives a connection to the event loop that has the fewest. gnet says that all went well also when it did not: what
// counts is whether the connection was opened. Loops that have ended would never answer. What gnet does not take is refused
// before gnet duplicates its descriptor, which it would not close.
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
// The zone of an IPv6 address is taken away: when the connection ends, gnet puts the zone's bytes into its pool of buffers,
// and would then write a client's message over a string of package net's. Conn.RemoteAddr and Incoming have the zone: they
// were made before, from copies.
//
// What the kernel said hangs on each IP; without it a connection is smaller by 47 bytes. local is the last local IP, which
// connections share.
//
// net forbids changes to the addresses since it shares them among all who ask, but only the engine has asked so far.
func shrinkAddrs(nc net.Conn, local *net.IP) {
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
	if ip := from.IP.To4(); ip != nil {
		from.IP = ip
	}
	from.IP = slices.Clone(from.IP)
}

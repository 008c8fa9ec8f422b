//go:build !linux

package engine

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/rollcall-go/rollcall/internal/udpwire"
)

// reusesPorts is false: one socket has all datagrams of an address.
const reusesPorts = false

func controlUDP(bool) func(network, addr string, raw syscall.RawConn) error { return nil }

// udpIn reads datagrams, one with each system call.
type udpIn struct {
	nc  *net.UDPConn
	one [1]datagram
	b   [udpwire.MaxDatagram + 1]byte
}

func newUDPIn(nc *net.UDPConn) (*udpIn, error) { return &udpIn{nc: nc}, nil }

// read waits until a datagram has come. It is valid until the next call.
func (in *udpIn) read() ([]datagram, error) {
	n, from, err := in.nc.ReadFromUDPAddrPort(in.b[:])
	if err != nil {
		return nil, err
	}
	in.one[0] = datagram{b: in.b[:n], from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
	return in.one[:], nil
}

// poll is read, but does not wait: nothing is read here.
func (in *udpIn) poll() []datagram { return nil }

// isOver reports whether an error of read means that the socket is closed.
func (in *udpIn) isOver(err error) bool { return errors.Is(err, net.ErrClosed) }

// send sends one datagram at once, from any goroutine.
func (in *udpIn) send(nc *net.UDPConn, d *datagram, b []byte) {
	_, _ = nc.WriteToUDPAddrPort(b, d.from)
}

// udpOut sends datagrams. It is for one goroutine.
type udpOut struct {
	reader *udpReader
	to     netip.AddrPort
	b      [udpwire.MaxDatagram]byte
}

func newUDPOut(r *udpReader) *udpOut { return &udpOut{reader: r} }

// begin returns memory for a datagram to an address. end must follow.
func (out *udpOut) begin(to netip.AddrPort, _ netip.Addr) []byte {
	out.to = to
	return out.b[:0]
}

// end sends the datagram, in the memory that begin has returned.
func (out *udpOut) end(b []byte) { _, _ = out.reader.nc.WriteToUDPAddrPort(b, out.to) }

func (out *udpOut) flush() {}

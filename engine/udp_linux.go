package engine

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/internal/udpwire"
)

// reusesPorts says that the system spreads the datagrams of an address over several sockets.
const reusesPorts = true

// controlUDP sets the options of a socket before it is bound. The system then tells to which address of ours a datagram was sent.
func controlUDP(shared bool) func(network, addr string, raw syscall.RawConn) error {
	return func(network, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			if shared {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
			if network == "udp4" {
				failed = errors.Join(failed, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
			} else {
				failed = errors.Join(failed, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
			}
		})
		return errors.Join(err, failed)
	}
}

// mmsghdr is what recvmmsg and sendmmsg take.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// udpControl has room for an address of ours beside a datagram: a header, and an in6_pktinfo of 20 bytes.
type udpControl [unix.SizeofCmsghdr + 24]byte

// messages is the memory of a batch of datagrams as the system takes it.
type messages struct {
	raw     syscall.RawConn
	six     bool // the socket is of IPv6
	any     bool // bound to all addresses: each datagram tells ours
	hdrs    [udpBatch]mmsghdr
	iovs    [udpBatch]unix.Iovec
	names   [udpBatch]unix.RawSockaddrInet6 // or RawSockaddrInet4, which is smaller
	control [udpBatch]udpControl
	bytes   [udpBatch][udpwire.MaxDatagram + 1]byte // one more: a datagram that is too large is seen to be
}

func newMessages(nc *net.UDPConn) (*messages, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	local := nc.LocalAddr().(*net.UDPAddr)
	m := &messages{raw: raw, any: local.IP.IsUnspecified()}
	err = raw.Control(func(fd uintptr) {
		domain, failed := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		m.six = failed == nil && domain == unix.AF_INET6
	})
	for i := range m.hdrs {
		h := &m.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&m.names[i]))
		m.iovs[i].Base = &m.bytes[i][0]
		h.Iov = &m.iovs[i]
		h.SetIovlen(1)
	}
	return m, err
}

// udpIn reads datagrams, many with one system call.
type udpIn struct {
	*messages
	all  [udpBatch]datagram
	n    int
	err  error
	call func(fd uintptr) bool // receive
	once func(fd uintptr) bool // the same, but done also where nothing has come
}

func newUDPIn(nc *net.UDPConn) (*udpIn, error) {
	m, err := newMessages(nc)
	if err != nil {
		return nil, err
	}
	in := &udpIn{messages: m}
	for i := range m.iovs {
		m.iovs[i].SetLen(len(m.bytes[i]))
	}
	in.call = in.receive
	in.once = func(fd uintptr) bool {
		in.receive(fd)
		return true
	}
	return in, nil
}

// receive reports false where nothing has come.
func (in *udpIn) receive(fd uintptr) bool {
	for i := range in.hdrs {
		h := &in.hdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		if in.any {
			h.Control = &in.control[i][0]
			h.SetControllen(len(in.control[i]))
		}
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.hdrs[0])), udpBatch, unix.MSG_DONTWAIT, 0, 0)
	for errno == unix.EINTR {
		n, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.hdrs[0])), udpBatch, unix.MSG_DONTWAIT, 0, 0)
	}
	in.n, in.err = int(n), nil
	if errno != 0 {
		in.n, in.err = 0, errno
	}
	return errno != unix.EAGAIN
}

// read waits until datagrams have come. They are valid until the next call.
func (in *udpIn) read() ([]datagram, error) {
	if err := in.raw.Read(in.call); err != nil {
		return nil, err
	}
	if in.err != nil {
		return nil, in.err
	}
	return in.taken(), nil
}

// taken returns the datagrams that receive has taken.
func (in *udpIn) taken() []datagram {
	for i := range in.n {
		in.all[i] = datagram{b: in.bytes[i][:in.hdrs[i].len], from: in.addr(i), local: in.ours(i)}
	}
	return in.all[:in.n]
}

// poll is read, but does not wait.
func (in *udpIn) poll() []datagram {
	if err := in.raw.Read(in.once); err != nil || in.err != nil {
		return nil
	}
	return in.taken()
}

// isOver reports whether an error of read means that the socket is closed.
func (in *udpIn) isOver(err error) bool {
	var errno syscall.Errno
	return !errors.As(err, &errno)
}

// addr returns where a datagram has come from.
func (m *messages) addr(i int) netip.AddrPort {
	if !m.six {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&m.names[i]))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), port(&sa.Port))
	}
	sa := &m.names[i]
	ip := netip.AddrFrom16(sa.Addr).Unmap()
	if sa.Scope_id != 0 && ip.IsLinkLocalUnicast() {
		ip = ip.WithZone(strconv.Itoa(int(sa.Scope_id)))
	}
	return netip.AddrPortFrom(ip, port(&sa.Port))
}

// port reads a port, which is big endian.
func port(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

func setPort(p *uint16, n uint16) { binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], n) }

// ours returns the address of ours that a datagram was sent to.
func (m *messages) ours(i int) netip.Addr {
	n := int(m.hdrs[i].hdr.Controllen)
	if !m.any || n < unix.SizeofCmsghdr {
		return netip.Addr{}
	}
	c := (*unix.Cmsghdr)(unsafe.Pointer(&m.control[i][0]))
	data := m.control[i][unix.CmsgLen(0):]
	switch {
	case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO && n >= unix.CmsgLen(12):
		return netip.AddrFrom4([4]byte(data[4:])) // ipi_spec_dst
	case c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_PKTINFO && n >= unix.CmsgLen(20):
		return netip.AddrFrom16([16]byte(data))
	}
	return netip.Addr{}
}

// udpOut gathers datagrams and sends them, many with one system call. It is for one goroutine.
type udpOut struct {
	*messages
	reader *udpReader
	n      int // how many wait
	sent   int // how many of them were sent
	call   func(fd uintptr)
}

func newUDPOut(r *udpReader) *udpOut {
	m, err := newMessages(r.nc)
	if err != nil { // the socket is closed
		m = &messages{}
	}
	out := &udpOut{messages: m, reader: r}
	out.call = out.sendAll
	return out
}

// begin returns memory for a datagram to an address, from an address of ours. end must follow.
func (out *udpOut) begin(to netip.AddrPort, local netip.Addr) []byte {
	if out.n == udpBatch {
		out.flush()
	}
	h := &out.hdrs[out.n].hdr
	h.Namelen = out.setName(out.n, to)
	if h.Control = nil; local.IsValid() {
		h.Control = &out.control[out.n][0]
	}
	h.SetControllen(out.control[out.n].set(out.six, local))
	return out.bytes[out.n][:0]
}

// end takes the datagram, in the memory that begin has returned.
func (out *udpOut) end(b []byte) {
	out.iovs[out.n].SetLen(len(b))
	out.n++
}

// setName writes a socket address and returns its length.
func (m *messages) setName(i int, to netip.AddrPort) uint32 {
	if !m.six {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&m.names[i]))
		sa.Family, sa.Addr = unix.AF_INET, to.Addr().Unmap().As4()
		setPort(&sa.Port, to.Port())
		return unix.SizeofSockaddrInet4
	}
	sa := &m.names[i]
	sa.Family, sa.Addr, sa.Scope_id = unix.AF_INET6, to.Addr().As16(), 0
	if zone := to.Addr().Zone(); zone != "" {
		n, _ := strconv.Atoi(zone)
		sa.Scope_id = uint32(n)
	}
	setPort(&sa.Port, to.Port())
	return unix.SizeofSockaddrInet6
}

// set has a datagram go out from an address of ours, and returns the length of the control message.
func (b *udpControl) set(six bool, local netip.Addr) int {
	if !local.IsValid() {
		return 0
	}
	*b = udpControl{}
	c := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	data := b[unix.CmsgLen(0):]
	if !six {
		ip := local.Unmap().As4()
		c.Level, c.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		c.SetLen(unix.CmsgLen(12))
		copy(data[4:], ip[:])
		return unix.CmsgSpace(12)
	}
	ip := local.As16()
	c.Level, c.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	c.SetLen(unix.CmsgLen(20))
	copy(data, ip[:])
	return unix.CmsgSpace(20)
}

// flush sends what waits. What the system does not take is lost.
func (out *udpOut) flush() {
	if out.n > 0 && out.raw != nil {
		_ = out.raw.Control(out.call)
	}
	out.n = 0
}

// sendAll skips a datagram that the system refuses: its error is about the first of those that it was given.
func (out *udpOut) sendAll(fd uintptr) {
	for out.sent = 0; out.sent < out.n; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&out.hdrs[out.sent])), uintptr(out.n-out.sent), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN, errno == unix.ENOBUFS:
			return
		case errno != 0:
			out.sent++
		default:
			out.sent += int(n)
		}
	}
}

// send sends one datagram at once, from any goroutine.
func (m *messages) send(nc *net.UDPConn, d *datagram, b []byte) {
	var control udpControl
	_, _, _ = nc.WriteMsgUDPAddrPort(b, control[:control.set(m.six, d.local)], d.from)
}

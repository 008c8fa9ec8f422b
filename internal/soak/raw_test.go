//go:build linux

package soak

import (
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// rawConn is a connection by system calls alone, which block: a third of what a net.Conn costs that lives for three calls.
// Closing it resets it.
type rawConn int

// rawAddr returns the address of a socket; an invalid one is any.
func rawAddr(a netip.AddrPort) *syscall.SockaddrInet4 {
	sa := &syscall.SockaddrInet4{Port: int(a.Port())}
	if a.Addr().IsValid() {
		sa.Addr = a.Addr().As4()
	}
	return sa
}

// bindAddressNoPort leaves the choice of a port to connect, which knows for what.
const bindAddressNoPort = 24

func dialRaw(at netip.AddrPort, from netip.Addr) (rawConn, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	c := rawConn(fd)
	timeout := syscall.NsecToTimeval(int64(patience))
	_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout)
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &timeout)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if from.IsValid() {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindAddressNoPort, 1)
		if err := syscall.Bind(fd, rawAddr(netip.AddrPortFrom(from, 0))); err != nil {
			c.reset()
			return -1, fmt.Errorf("bind: %w", err)
		}
	}
	for {
		switch err := syscall.Connect(fd, rawAddr(at)); err {
		case nil, syscall.EISCONN:
			return c, nil
		case syscall.EINTR: // a signal of the Go scheduler's
		default:
			c.reset()
			return -1, fmt.Errorf("connect: %w", err)
		}
	}
}

func (c rawConn) reset() { _ = syscall.Close(int(c)) }

// CloseWrite ends the client's side.
func (c rawConn) CloseWrite() error { return syscall.Shutdown(int(c), syscall.SHUT_WR) }

func (c rawConn) write(b []byte) error {
	for len(b) > 0 {
		n, err := syscall.Write(int(c), b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Read is an io.Reader's.
func (c rawConn) Read(b []byte) (int, error) {
	for {
		switch n, err := syscall.Read(int(c), b); {
		case err == syscall.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// rawReader reads messages; its memory serves one connection after another.
type rawReader struct {
	buf     [1024]byte
	at, end int
}

// next returns the next message, whose body is valid until the one after it. No message is longer than the buffer.
func (r *rawReader) next(c rawConn) (m protocol.Message, err error) {
	for {
		n, _, err := protocol.Binary.Decode(r.buf[r.at:r.end], &m, protocol.DecodeOptions{})
		if err != nil || n > 0 {
			r.at += n
			return m, err
		}
		r.end = copy(r.buf[:], r.buf[r.at:r.end])
		r.at = 0
		n, err = c.Read(r.buf[r.end:])
		if err != nil {
			return m, err
		}
		r.end += n
	}
}

// hearOut reads to the end and returns the code of the Close notice; 0 without one.
func (r *rawReader) hearOut(c rawConn) (code protocol.CloseCode) {
	for {
		m, err := r.next(c)
		if err != nil {
			return code
		}
		if m.Type == protocol.TypeClose {
			if ce, err := protocol.ParseClose(m.Body); err == nil {
				code = ce.Code
			}
		}
	}
}

// pacer lets something be done at a rate.
type pacer struct{ places chan struct{} }

// newPacer returns a pacer that hands out places until over is closed. A place that is not taken within a time is lost.
func newPacer(perSecond int, within time.Duration, over <-chan struct{}) *pacer {
	p := &pacer{make(chan struct{}, int(float64(perSecond)*within.Seconds())+1)}
	go func() {
		defer close(p.places)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		began := time.Now()
		for given := 0; ; {
			for due := int(time.Since(began).Seconds() * float64(perSecond)); given < due; given++ {
				select {
				case p.places <- struct{}{}:
				default:
				}
			}
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	}()
	return p
}

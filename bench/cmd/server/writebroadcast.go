//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// writeBroadcast broadcasts by the least possible work: one thread that calls write(2) for one socket after the other.
func writeBroadcast(o options) error {
	fds, err := acceptAll(o)
	if err != nil {
		return err
	}
	frame := wire.Rollcall.AppendFrame(nil, o.size)
	runtime.LockOSThread()
	return toAll(o.conns, func() {
		for _, fd := range fds {
			writeWhole(fd, frame)
		}
	}).obey()
}

// writeWhole writes without telling Go's scheduler, until all is written.
func writeWhole(fd int, b []byte) {
	for len(b) > 0 {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			b = b[n:]
		case unix.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 100)
		case unix.EINTR:
		default:
			mustSend(errno)
		}
	}
}

// acceptAll waits for the connections, and echoes the first frames of each, as the load generator expects it.
func acceptAll(o options) ([]int, error) {
	addr, err := netip.ParseAddrPort(o.addr)
	if err != nil {
		return nil, err
	}
	ln, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(ln, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}); err != nil {
		return nil, err
	}
	if err := unix.Listen(ln, 4096); err != nil {
		return nil, err
	}
	listening(o.addr)
	b := make([]byte, 64<<10)
	fds := make([]int, o.conns)
	for i := range fds {
		fd, _, err := unix.Accept4(ln, unix.SOCK_CLOEXEC)
		if err != nil {
			return nil, err
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return nil, err
		}
		frames := 1 // the logon; over its first connection the generator tries a message too
		if i == 0 {
			frames = 2
		}
		for range frames {
			n, err := unix.Read(fd, b)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("a connection ended while it logged on: %w", err)
			}
			writeWhole(fd, b[:n])
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, err
		}
		fds[i] = fd
	}
	return fds, nil
}

package engine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writeNow writes to a socket that does not block, and returns how many bytes the socket took. It reports false where the socket
// is broken, which gnet's own write then meets. With alone Go's scheduler does not hear of the call: on a processor that has
// nothing else to do it would spend 3 µs a write on watching over it (docs/performance.md). It may not take long, so b is to be
// short.
func writeNow(fd int, b []byte, alone bool) (n int, ok bool) {
	var r uintptr
	var errno syscall.Errno
	if alone {
		r, _, errno = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	} else {
		r, _, errno = unix.Syscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	}
	switch errno {
	case 0:
		return int(r), true
	case unix.EAGAIN, unix.EINTR:
		return 0, true
	}
	return 0, false
}

// unacknowledged returns how many bytes the kernel holds that the peer has not taken.
func unacknowledged(fd int) int {
	if fd < 0 {
		return 0
	}
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// wasReset reports whether the peer has reset the connection, so that what unacknowledged counts is never taken.
func wasReset(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0 && poll[0].Revents&unix.POLLERR != 0
}

package engine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// writeNow writes to a socket that does not block, and returns how many bytes the socket took. It reports false where
// the socket is broken; then the caller lets gnet write and meet the error. With alone Go's scheduler is not told of
// the system call, which saves 3 µs for each write on an idle processor (docs/performance.md). Such a call must not
// take long, so b must be short.
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

// wasReset reports whether the peer has reset the connection, so that it will never take the bytes that unacknowledged
// counts.
func wasReset(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0 && poll[0].Revents&unix.POLLERR != 0
}

package engine

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// writeNow writes to a socket that does not block, and returns how many bytes the socket took. It tells nothing of an error,
// which gnet's own write then meets. Go's scheduler does not hear of the call: on a processor that has nothing else to do
// it would spend 3 µs a write on watching over it (docs/performance.md). It may not take long, so b is to be short.
func writeNow(fd int, b []byte) int {
	if fd < 0 { // a connection without a socket: a test's
		return 0
	}
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0
	}
	return int(n)
}

// unacknowledged returns how many bytes the kernel holds that the peer has not taken.
func unacknowledged(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

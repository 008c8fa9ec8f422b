//go:build unix && !linux

package engine

import "syscall"

// writeNow writes to a socket that does not block, and returns how many bytes the socket took. It reports false where
// the socket is broken; then the caller lets gnet write and meet the error.
func writeNow(fd int, b []byte, _ bool) (n int, ok bool) {
	n, err := syscall.Write(fd, b)
	switch err {
	case nil:
		return n, true
	case syscall.EAGAIN, syscall.EINTR:
		return 0, true
	}
	return 0, false
}

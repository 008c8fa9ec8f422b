//go:build linux

package load

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is an epoll descriptor. It is edge-triggered: readers read until there is nothing left.
type poller struct {
	fd     int
	events []unix.EpollEvent
}

func newPoller() (poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return poller{fd, make([]unix.EpollEvent, 1024)}, err
}

// add watches a socket; its events carry id in their Fd.
func (p poller) add(fd, id int) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd,
		&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET&0xffffffff, Fd: int32(id)})
}

// maxWait is how long, in milliseconds, the generator waits before it looks at the clock again. The wait is not told to
// Go's scheduler, so it must be short.
const maxWait = 5

// wait returns the sockets that can be read or written, or none after ms milliseconds. The calls here go past Go's
// scheduler: they do not block, or only for a moment, and telling it would cost more than some of them do.
func (p poller) wait(ms int) []unix.EpollEvent {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), uintptr(ms), 0, 0)
	if errno != 0 { // EINTR
		return nil
	}
	return p.events[:n]
}

func read(fd int, b []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

func write(fd int, b []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

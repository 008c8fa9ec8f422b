package engine

import (
	"os"

	"golang.org/x/sys/unix"
)

// writability tells event loops when a socket that was full can be written to. gnet does not report that. So the engine
// has an epoll of its own, beside gnet's, only for sockets with a backlog. One goroutine waits for it.
type writability struct {
	fd   int
	file *os.File // the epoll's descriptor, which Go's own poller waits for
}

// newWritability returns nil where the system has no descriptor left. Then loops look at their sockets from time to
// time.
func newWritability() *writability {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	return &writability{fd: fd, file: os.NewFile(uintptr(fd), "writability")}
}

// watch has the connection's loop told, once, when its socket can be written to. It runs on the loop, while the descriptor is
// the connection's; when that is closed the system forgets it. It reports false where the system cannot.
func (w *writability) watch(fd int, id uint64) bool {
	ev := unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLONESHOT, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32))}
	err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_MOD, fd, &ev)
	if err == unix.ENOENT {
		err = unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &ev)
	}
	return err == nil
}

// run tells loops until the file is closed.
func (w *writability) run(e *Engine) {
	rc, err := w.file.SyscallConn()
	if err != nil {
		e.log.Error("the engine cannot learn when sockets can be written to", zapError(err))
		return
	}
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		err := rc.Read(func(fd uintptr) (done bool) {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, ev := range events[:n] {
			if c := e.conns.get(uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32); c != nil {
				c.loop.markOutput(c)
			}
		}
	}
}

func (w *writability) close() { _ = w.file.Close() }

//go:build unix

package engine

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// shutdownWrite ends our side of a connection. It runs on the loop, while the descriptor is still the connection's.
func shutdownWrite(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_WR) }

// duplicateDescriptor returns another descriptor for the same socket.
func duplicateDescriptor(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}

// resetOnClose has the kernel forget what it holds when the socket is closed.
func resetOnClose(fd int) {
	_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
}

// readAway discards the bytes that have come, because the system resets a socket that is closed with unread bytes.
func readAway(fd int) {
	var b [4096]byte
	for range 16 {
		if n, err := syscall.Read(fd, b[:]); n <= 0 || err != nil {
			return
		}
	}
}

func closeDescriptor(fd int) error { return syscall.Close(fd) }

// socketPair returns the two ends of a connection inside this process.
func socketPair() (ours, theirs net.Conn, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	conns := make([]net.Conn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "waker")
		c, ferr := net.FileConn(f)
		_ = f.Close()
		if ferr != nil {
			err = ferr
			continue
		}
		conns[i] = c
	}
	if err != nil {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
		return nil, nil, err
	}
	return conns[0], conns[1], nil
}

// spareDescriptors is the number of descriptors that are left for the application, for logs, and for connections that
// are being accepted or refused.
const spareDescriptors = 128

// descriptorsLeft returns how many connections the process's limit of open files leaves room for.
func descriptorsLeft() int {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 1024 - spareDescriptors
	}
	if uint64(lim.Cur) > 1<<30 {
		return 1 << 30
	}
	limit, used := int(lim.Cur), 0
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		if entries, err := os.ReadDir(dir); err == nil {
			used = len(entries)
			break
		}
	}
	return max(limit-used-min(spareDescriptors, limit/4), 1)
}

package engine

import (
	"errors"
	"net"
	"syscall"
)

func shutdownWrite(fd int) error { return syscall.Shutdown(syscall.Handle(fd), syscall.SHUT_WR) }

// writeNow writes nothing and leaves all bytes to gnet, whose write blocks on Windows until the socket has taken
// everything.
func writeNow(int, []byte, bool) (n int, ok bool) { return 0, false }

// A descriptor of gnet cannot be duplicated on Windows. So a peer that has ended its sending side gets only the bytes
// that the socket takes at once.
func duplicateDescriptor(int) (int, error) { return -1, errors.ErrUnsupported }

func resetOnClose(int)          {}
func readAway(int)              {}
func closeDescriptor(int) error { return errors.ErrUnsupported }

// socketPair returns the two ends of a connection inside this process.
func socketPair() (ours, theirs net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	ours, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	for {
		theirs, err = ln.Accept()
		if err != nil {
			_ = ours.Close()
			return nil, nil, err
		}
		if theirs.RemoteAddr().String() == ours.LocalAddr().String() {
			return ours, theirs, nil
		}
		_ = theirs.Close() // a connection from another program
	}
}

// descriptorsLeft returns how many connections there is room for. Windows itself has no limit.
func descriptorsLeft() int { return 1 << 20 }

package engine

import (
	"bytes"
	"syscall"
	"testing"
)

// socketConn is a memoryConn with a socket, whose Write is that of a gnet that keeps everything.
type socketConn struct {
	memoryConn
	fd   int
	kept []byte
}

func (c *socketConn) Fd() int               { return c.fd }
func (c *socketConn) OutboundBuffered() int { return len(c.kept) }
func (c *socketConn) Write(p []byte) (n int, err error) {
	c.kept = append(c.kept, p...)
	return len(p), nil
}

// What the socket takes is written at once; what it does not take, and all that comes after, is gnet's; nothing is lost,
// doubled or overtaken. A socket that is broken leaves everything to gnet, whose write then meets the error.
func TestWhatTheSocketDoesNotTakeIsGnets(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[0])
	_ = syscall.SetsockoptInt(fds[0], syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4096)
	gc := &socketConn{fd: fds[0]}
	var all []byte
	for i := range 1000 {
		b := bytes.Repeat([]byte{byte(i)}, 100+i)
		all = append(all, b...)
		(&gnetSocket{gc}).write(b, true)
	}
	took := make([]byte, len(all)-len(gc.kept))
	if len(gc.kept) == 0 || len(took) == 0 {
		t.Fatalf("the socket took %d bytes and left %d, want some of both", len(took), len(gc.kept))
	}
	for n := 0; n < len(took); {
		m, err := syscall.Read(fds[1], took[n:])
		if err != nil || m == 0 {
			t.Fatalf("after %d of %d bytes: %v", n, len(took), err)
		}
		n += m
	}
	if _, err := syscall.Read(fds[1], make([]byte, 1)); err != syscall.EAGAIN {
		t.Errorf("more was written than was taken: %v", err)
	}
	if !bytes.Equal(append(took, gc.kept...), all) {
		t.Error("what was written and what was kept is not what there was")
	}

	_ = syscall.Close(fds[1])
	broken := &socketConn{fd: fds[0]}
	if (&gnetSocket{broken}).write([]byte("x"), true); string(broken.kept) != "x" {
		t.Errorf("gnet got %q of what a broken socket was to take", broken.kept)
	}
}

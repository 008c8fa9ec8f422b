package engine

import (
	"bytes"
	"syscall"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// socketConn is a memoryConn with a socket, whose Write is that of a gnet that keeps everything.
type socketConn struct {
	memoryConn
	fd   int
	kept []byte
}

func (c *socketConn) Fd() int { return c.fd }
func (c *socketConn) Write(p []byte) (n int, err error) {
	c.kept = append(c.kept, p...)
	return len(p), nil
}

// What the socket takes is written at once; what it does not take waits, known to the byte, and all that comes after it waits
// behind it; nothing is lost, doubled or overtaken. A socket that is broken leaves everything to gnet, whose write then meets the
// error.
func TestWhatTheSocketDoesNotTakeWaits(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[0])
	_ = syscall.SetsockoptInt(fds[0], syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4096)
	e := testkit.Must(New(Config{Limits: Limits{MaxOutbound: 64 << 20}}))
	l := &loop{engine: e, woken: true, waker: deafWaker{}}
	t.Cleanup(func() { stopAttending(l) })
	gc := &socketConn{fd: fds[0]}
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: l}
	c.state.Store(stateBound)
	var all, took []byte
	sent := 0
	buf := make([]byte, 10_000)
	read := func() bool {
		n, err := syscall.Read(fds[1], buf)
		if err == nil {
			took = append(took, buf[:n]...)
		}
		return err == nil
	}
	check := func() {
		t.Helper()
		waits := c.waiting()
		kernel := sent - len(took) - waits
		if kernel < 0 || kernel > 64<<10 {
			t.Fatalf("%d bytes were sent and %d came; %d are said to wait", sent, len(took), waits)
		}
	}
	for i := range 1000 {
		m := &protocol.Message{Type: 1, Body: bytes.Repeat([]byte{byte(i)}, 100+i)}
		all, _ = protocol.Binary.Append(all, m)
		if err := c.Send(1, m.Body); err != nil {
			t.Fatal(err)
		}
		sent = len(all)
		if i%10 == 0 {
			runAll(l)
		}
		if i%30 == 0 { // the peer takes something
			read()
			c.output()
		}
		check()
	}
	if c.unsent == 0 {
		t.Fatal("the socket took everything: the test says nothing")
	}
	for c.output(); read() || c.waiting() > 0; c.output() {
		check()
	}
	if !bytes.Equal(took, all) || c.queued.Load() || c.lazy.backlog != nil {
		t.Errorf("%d bytes came of %d, others than were sent", len(took), len(all))
	}

	_ = syscall.Close(fds[1])
	broken := &socketConn{fd: fds[0]}
	c.tcp = gnetSocket{broken}
	if n := c.offer([]byte("x"), false); n != 1 || string(broken.kept) != "x" {
		t.Errorf("gnet got %q of what a broken socket was to take", broken.kept)
	}
}

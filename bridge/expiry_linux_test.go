package bridge_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 29: a renewal that came before the token expires, to a loop that is stuck until after that, is read first.
func TestExpiryLooksAtWhatHasComeFirst(t *testing.T) {
	d := atOnce()
	o := d.options()
	o.engine.Loops = 1
	s := newServer(t, o)
	stuck, goOn := make(chan struct{}, 1), make(chan struct{})
	s.engine.Handle(20, func(*engine.Conn, *protocol.Message) error {
		stuck <- struct{}{}
		<-goOn
		return nil
	})
	s.start()
	c, other := s.logOn("ann", protocol.FieldToken, "ann/1h"), s.logOn("bob", protocol.FieldToken, "bob")
	for range 20 {
		other.send(&protocol.Message{Type: 20})
		receive(t, "the stuck handler", stuck)
		conn := s.connOf("ann")
		_ = conn.Send(push, nil) // wakes the loop before the renewal comes
		c.renew("ann/1h")
		eventually(t, "the renewal has come to the server", func() bool { return unacknowledged(t, c.conn) == 0 })
		s.bridge.Expire(conn)
		goOn <- struct{}{}
		c.expect(push, "")
		c.expectRenewed()
		receive(t, "the renewal", d.renewals)
		looked := make(chan struct{})
		seam.ConnOf(conn).Look(func(bool) { close(looked) })
		receive(t, "the end of this look: the next expiry is not to be its", looked)
	}
	c.ask("still here")
	_ = c.conn.Close()
	_ = other.conn.Close()
}

// unacknowledged returns how many of the bytes that were sent the peer's kernel has not got.
func unacknowledged(t *testing.T, nc net.Conn) (n int) {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return n
}

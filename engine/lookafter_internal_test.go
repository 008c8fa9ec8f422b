package engine

import (
	"net"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 13: what is sent before a connection is let in waits for that, also where TLS has something of its own to send, for which
// the loop looks at the connection.
func TestALookAtAConnectionSendsNothingBeforeItIsLetIn(t *testing.T) {
	e := testkit.Must(New(Config{}))
	l := &loop{engine: e, woken: true, waker: deafWaker{}}
	t.Cleanup(func() { stopAttending(l) })
	gc := &fullConn{}
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: l, binding: &memoryBinding{}}
	c.state.Store(stateVerifying)
	if err := c.Send(1, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	gc.fill(c, 100)
	gc.full = false
	makeDue(l)
	l.lookAfter()
	if len(gc.written) > 0 || gc.skip > 0 || c.unsent > 0 {
		t.Errorf("%x was written before the connection was let in, and %d bytes are left", gc.written, c.unsent)
	}
	c.admit(&Admitted{UserID: "ann"})
	if len(gc.written) == 0 {
		t.Error("nothing was written when the connection was let in")
	}
}

// brokenConn is a connection whose socket breaks: gnet's write meets the error, and closes the connection inside the call.
type brokenConn struct {
	fullConn
	conn   *Conn
	broken bool
}

func (c *brokenConn) Write(p []byte) (int, error) {
	if c.broken {
		c.conn.ended(net.ErrClosed)
		return 0, net.ErrClosed
	}
	return c.fullConn.Write(p)
}

// Rule 12: what waited for a connection that is gone is counted no more, also where the socket broke while it was offered the last
// piece, or the first of several.
func TestWhatWaitedForABrokenSocketWaitsNoMore(t *testing.T) {
	for _, waits := range []int{1, pieceSize, pieceSize + 1, 5 * pieceSize} {
		e := testkit.Must(New(Config{}))
		l := &loop{engine: e, woken: true, waker: deafWaker{}}
		t.Cleanup(func() { stopAttending(l) })
		gc := &brokenConn{}
		c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: l, binding: &memoryBinding{}}
		gc.conn = c
		c.state.Store(stateBound)
		gc.fill(c, waits)
		if got := l.published.outboundQueue.Load(); got != int64(waits) {
			t.Errorf("%d bytes wait, and %d are counted", waits, got)
		}
		gc.broken = true
		c.output()
		if got := l.published.outboundQueue.Load(); got != 0 || !c.gone || c.lazy.backlog != nil {
			t.Errorf("the socket broke with %d bytes to go: %d are counted still; gone: %t", waits, got, c.gone)
		}
	}
}

// makeDue has the time come for all connections that the loop is to look at.
func makeDue(l *loop) {
	for i := range l.attention.lists {
		for j := range l.attention.lists[i].conns {
			l.attention.lists[i].conns[j].at = time.Time{}
		}
	}
}

package engine

import (
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 13: what is sent before a connection is let in waits for that, also where TLS has something of its own to send, for which
// the loop looks at the connection.
func TestALookAtAConnectionSendsNothingBeforeItIsLetIn(t *testing.T) {
	e := New(Config{})
	l := &loop{engine: e, woken: true, waker: deafWaker{}}
	t.Cleanup(func() { stopAttending(l) })
	gc := &fullConn{}
	c := &Conn{engine: e, codec: protocol.Binary, tcp: gnetSocket{gc}, loop: l, binding: &memoryBinding{}}
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

// makeDue has the time come for all connections that the loop is to look at.
func makeDue(l *loop) {
	for i := range l.attention.lists {
		for j := range l.attention.lists[i].conns {
			l.attention.lists[i].conns[j].at = time.Time{}
		}
	}
}

package engine

import (
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 13: what is sent before a connection is let in waits for that, also where gnet holds bytes of TLS's own, for which the
// loop looks at the connection.
func TestALookAtAConnectionSendsNothingBeforeItIsLetIn(t *testing.T) {
	e := New(Config{})
	l := &loop{engine: e, woken: true}
	gc := &recordingConn{}
	c := &Conn{engine: e, codec: protocol.Binary, tcp: gnetSocket{gc}, loop: l, binding: &memoryBinding{}}
	c.state.Store(stateVerifying)
	if err := c.Send(1, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	c.flags, l.attention = isAttended, []*Conn{c}
	l.lookAfter()
	if len(gc.written) > 0 {
		t.Errorf("%x was written before the connection was let in", gc.written)
	}
	c.admit(&Admitted{UserID: "ann"})
	if len(gc.written) == 0 {
		t.Error("nothing was written when the connection was let in")
	}
}

package engine

import (
	"io"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: where the system has no descriptor left a peer that has ended its sending side gets what its socket takes at once, and
// the connection is over: nothing waits for it, and nothing else ends.
func TestAHalfClosedPeerForWhichThereIsNoDescriptorIsOver(t *testing.T) {
	e := testkit.Must(New(Config{}))
	gc := &recordingConn{} // its descriptor cannot be duplicated
	l := &loop{engine: e, woken: true}
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: l, binding: &memoryBinding{}, userBound: true}
	c.state.Store(stateBound)
	if err := c.Send(1, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	c.ended(io.EOF)
	if !c.gone || c.state.Load() != stateEnded || c.code != protocol.ClientClosed {
		t.Errorf("gone %v, state %d, code %v", c.gone, c.state.Load(), c.code)
	}
	if len(gc.written) == 0 {
		t.Error("the socket was not offered what waited")
	}
}

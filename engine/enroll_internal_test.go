package engine

import (
	"net"
	"testing"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"
)

// newArrival returns a connection that has its place, on its way to an event loop, which gnet will not take: it is no socket.
func newArrival(t *testing.T, e *Engine) *arrival {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	e.conns.takePlace(1)
	return &arrival{engine: e, at: &entrance{codec: e.cfg.Codec}, nc: ours}
}

// A connection that the server cannot take on is a refusal, and its place is given back.
func TestAConnectionThatNoLoopTakesIsCounted(t *testing.T) {
	e := New(Config{Logger: zap.NewNop()})
	e.client = gnetClient{new(gnet.Client)}
	newArrival(t, e).enroll()
	if s := e.Stats(); s.RefusedBy != (Refusals{Failed: 1}) || s.Refused != 1 || s.Connections != 0 {
		t.Errorf("Stats returned %+v", s)
	}
}

// gnet would never answer once it has stopped, so a connection that comes through then is closed instead.
func TestNoConnectionIsGivenToAStoppingLoop(t *testing.T) {
	e := New(Config{Logger: zap.NewNop()})
	close(e.stopping)
	a := newArrival(t, e)
	a.enroll() // there is no client to ask
	if _, err := a.nc.Write([]byte{1}); err == nil {
		t.Error("the connection is open")
	}
	if s := e.Stats(); s.Refused != 0 || s.Connections != 0 {
		t.Errorf("Stats returned %+v", s)
	}
}

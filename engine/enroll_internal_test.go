package engine

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// newArrival returns a connection that has its place, on its way to an event loop, which gnet will not take: it is no socket.
func newArrival(t *testing.T, e *Engine) *arrival {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	e.conns.takePlace(1)
	return &arrival{engine: e, at: &entrance{codec: protocol.Binary, setup: e.newSetup(protocol.Binary)}, nc: ours}
}

// A connection that the server cannot take on is a refusal, and its place is given back.
func TestAConnectionThatNoLoopTakesIsCounted(t *testing.T) {
	e := testkit.Must(New(Config{Logger: zap.NewNop()}))
	e.client = gnetClient{new(gnet.Client)}
	newArrival(t, e).enroll()
	if s := e.Stats(); s.Refused != (Refusals{Failed: 1}) || s.Conns.Open != 0 {
		t.Errorf("Stats returned %+v", s)
	}
}

// A connection that no event loop takes is closed, every descriptor of it: gnet forgets its duplicate.
func TestAConnectionThatNoLoopTakesIsClosed(t *testing.T) {
	ours, theirs, err := tcpPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	e := testkit.Must(New(Config{Logger: zap.NewNop()}))
	if err := e.startLoops(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		e.client.stop()
		for _, l := range e.loops {
			_ = l.waker.Close()
		}
		if e.writable != nil {
			e.writable.close()
		}
	}()
	wrapped := struct{ *net.TCPConn }{ours.(*net.TCPConn)}
	if err := e.client.enroll(wrapped, &Conn{setup: e.newSetup(nil)}); err == nil {
		t.Fatal("a connection of a type that gnet does not know was taken")
	}
	_ = theirs.SetReadDeadline(time.Now().Add(15 * time.Second))
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer reads %v, want the end of the connection", err)
	}
}

// tcpPair returns the two ends of a connection.
func tcpPair() (ours, theirs net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if theirs, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	ours, err = ln.Accept()
	return ours, theirs, err
}

// gnet starts 256 event loops at most, and says nothing: an engine that asks for more does not start, and says so, instead of
// having loops without a goroutine; also where gnet's limit is another than the one that Config.Loops is held to.
func TestAnEngineWithFewerLoopsThanItAsksForDoesNotStart(t *testing.T) {
	if _, err := New(Config{Loops: 257}); err == nil || !strings.Contains(err.Error(), "Config.Loops is 257") {
		t.Errorf("New returned %v", err)
	}
	e := testkit.Must(New(Config{Listeners: []Listener{{Addr: "127.0.0.1:0"}}, Logger: zap.NewNop()}))
	e.cfg.Loops = 257
	if err := e.startLoops(); err == nil || !strings.Contains(err.Error(), "fewer than the 257 event loops") {
		t.Errorf("startLoops returned %v", err)
	}
}

// Every event loop is a goroutine of its own, and each has its own waker.
func TestEachLoopIsAnother(t *testing.T) {
	e := testkit.Must(New(Config{Listeners: []Listener{{Addr: "127.0.0.1:0"}}, Loops: 16, Logger: zap.NewNop()}))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	testkit.Eventually(t, "the engine runs", func() bool { return e.started.Load() != nil })
	seen := map[any]bool{}
	for _, l := range *e.started.Load() {
		seen[l.gnetLoop] = true
	}
	if len(seen) != 16 {
		t.Errorf("16 loops are %d of gnet's", len(seen))
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// gnet would never answer once it has stopped, so a connection that comes through then is closed instead.
func TestNoConnectionIsGivenToAStoppingLoop(t *testing.T) {
	e := testkit.Must(New(Config{Logger: zap.NewNop()}))
	close(e.stopping)
	a := newArrival(t, e)
	a.enroll() // there is no client to ask
	if _, err := a.nc.Write([]byte{1}); err == nil {
		t.Error("the connection is open")
	}
	if s := e.Stats(); s.Refused != (Refusals{}) || s.Conns.Open != 0 {
		t.Errorf("Stats returned %+v", s)
	}
}

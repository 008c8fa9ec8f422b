package engine_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// served is a connection that ServeConn was given.
type served struct {
	*peer
	ended chan error // what ServeConn returned
}

// hand gives an engine one end of a pipe, wrapped, and returns the other.
func hand(t testing.TB, e *engine.Engine, wrap func(net.Conn) net.Conn) *served {
	t.Helper()
	ours, theirs := net.Pipe()
	if wrap != nil {
		theirs = wrap(theirs)
	}
	s := &served{peer: newPeer(t, ours), ended: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.ended <- e.ServeConn(theirs)
	}()
	t.Cleanup(func() {
		_ = ours.Close()
		receive(t, "the end of ServeConn", ended)
	})
	return s
}

func (s *served) wantNil() {
	s.t.Helper()
	if err := receive(s.t, "the end of ServeConn", s.ended); err != nil {
		s.t.Errorf("ServeConn returned %v", err)
	}
}

// wantNotLetIn wants ServeConn to say that the connection was turned away, and for what: 0 for no code.
func (s *served) wantNotLetIn(code protocol.CloseCode) {
	s.t.Helper()
	err := receive(s.t, "the end of ServeConn", s.ended)
	var why *protocol.CloseError
	errors.As(err, &why)
	if !errors.Is(err, engine.ErrNotLetIn) || (code == 0) != (why == nil) || why != nil && why.Code != code {
		s.t.Errorf("ServeConn returned %v, want ErrNotLetIn with code %d", err, code)
	}
}

// fakeConn is a connection of which a test decides something.
type fakeConn struct {
	net.Conn
	remote net.Addr
	write  func(b []byte) (int, error)
	read   func(b []byte) (int, error)
	closed sync.Once
	over   chan struct{}
}

func (c *fakeConn) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

func (c *fakeConn) Write(b []byte) (int, error) {
	if c.write != nil {
		return c.write(b)
	}
	return c.Conn.Write(b)
}

func (c *fakeConn) Read(b []byte) (int, error) {
	if c.read != nil {
		return c.read(b)
	}
	return c.Conn.Read(b)
}

func (c *fakeConn) Close() error {
	if c.over != nil {
		c.closed.Do(func() { close(c.over) })
	}
	return c.Conn.Close()
}

// from has a connection come from an address.
func from(addr string) func(net.Conn) net.Conn {
	return func(nc net.Conn) net.Conn {
		return &fakeConn{Conn: nc, remote: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))} // as a QUIC stream does
	}
}

func TestServeConnReturnsNilWhenTheClientLeftOrWasTold(t *testing.T) {
	e := newEcho(engine.Config{})
	e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error {
		c.Close(protocol.Errorf(protocol.KickedOut, "enough"))
		return nil
	})
	serve(t, e)
	left, kicked := hand(t, e, nil), hand(t, e, nil)
	left.ask(1, 1, "hello")
	_ = left.Close()
	left.wantNil()
	kicked.send(protocol.Message{Type: 2})
	kicked.wantClose(protocol.KickedOut)
	kicked.wantNil()
	if o := e.Stats().Outcomes; !maps.Equal(o, map[protocol.CloseOutcome]uint64{protocol.OutcomeTold: 1, protocol.OutcomeClosedByPeer: 1}) {
		t.Errorf("the outcomes are %+v", o)
	}
}

func TestServeConnReturnsWhatBrokeTheConnection(t *testing.T) {
	broken := errors.New("the line is cut")
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"reading": func(nc net.Conn) net.Conn {
			return &fakeConn{Conn: nc, read: func([]byte) (int, error) { return 0, broken }}
		},
		"writing": func(nc net.Conn) net.Conn {
			return &fakeConn{Conn: nc, write: func([]byte) (int, error) { return 0, broken }}
		},
		"reading nothing for ever": func(nc net.Conn) net.Conn {
			return &fakeConn{Conn: nc, read: func([]byte) (int, error) { return 0, nil }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEcho(engine.Config{})
			serve(t, e)
			s := hand(t, e, wrap)
			if name == "writing" {
				s.send(protocol.Message{Type: 1, ID: 1})
			}
			err := receive(t, "the end of ServeConn", s.ended)
			if !errors.Is(err, protocol.NetworkError) || name != "reading nothing for ever" && !errors.Is(err, broken) {
				t.Errorf("ServeConn returned %v", err)
			}
			s.wantEOF()
		})
	}
}

func TestServeConnNeedsAnEngineThatRuns(t *testing.T) {
	e := newEcho(engine.Config{})
	want := func(s *served) {
		t.Helper()
		if err := receive(t, "the end of ServeConn", s.ended); !errors.Is(err, engine.ErrNotRunning) {
			t.Errorf("ServeConn returned %v", err)
		}
		s.wantEOF()
	}
	want(hand(t, e, nil))
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	early := hand(t, e, nil) // waits for Run
	r := serve(t, e)
	early.ask(1, 1, "hello")
	r.cancel()
	early.wantClose(protocol.ServerStopping)
	early.wantNil()
	_ = r.stop(t)
	want(hand(t, e, nil))

	neverRun := newEcho(engine.Config{})
	if err := neverRun.Listen(); err != nil {
		t.Fatal(err)
	}
	waits := hand(t, neverRun, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := neverRun.Run(ended); err != nil {
		t.Fatal(err)
	}
	want(waits)
}

func TestLimitsHoldForServeConn(t *testing.T) {
	e := newEcho(engine.Config{Accept: engine.Accept{MaxConnections: 3, MaxPerAddress: 2}})
	serve(t, e)
	a, b := hand(t, e, from("192.0.2.1:1")), hand(t, e, from("192.0.2.1:2"))
	a.ask(1, 1, "")
	b.ask(1, 1, "")
	tooMany := hand(t, e, from("192.0.2.1:3"))
	tooMany.wantClose(protocol.TooManyConnections)
	tooMany.wantNotLetIn(protocol.TooManyConnections)
	c := hand(t, e, nil)
	c.ask(1, 1, "")
	full := hand(t, e, nil)
	full.wantClose(protocol.TooManyConnections)
	full.wantNotLetIn(protocol.TooManyConnections)
	if r := e.Stats().Refused; r != (engine.Refusals{Address: 1, Full: 1}) {
		t.Errorf("Refused is %+v", r)
	}
	for _, s := range []*served{a, b, c} {
		_ = s.Close()
		s.wantNil()
	}
	wantNobodyIn(t, e)
	e.Ban(netip.MustParseAddr("192.0.2.1"), 0)
	banned := hand(t, e, from("192.0.2.1:4"))
	banned.wantEOF()
	banned.wantNotLetIn(0)
	hand(t, e, from("192.0.2.2:1")).ask(1, 1, "")
}

func TestOnAcceptIsAskedAboutServedConnections(t *testing.T) {
	sorry := errors.New("sorry")
	asked := make(chan engine.Incoming, 3)
	answers := make(chan error, 3)
	e := newEcho(engine.Config{OnAccept: func(_ context.Context, in engine.Incoming) error {
		asked <- in
		return <-answers
	}})
	serve(t, e)
	answers <- nil
	answers <- &protocol.CloseError{Code: 4001, Text: "not today"}
	answers <- sorry
	hand(t, e, from("192.0.2.1:7")).ask(1, 1, "")
	if in := receive(t, "the question", asked); in.Listener != -1 || in.Remote != netip.MustParseAddrPort("192.0.2.1:7") {
		t.Errorf("OnAccept was asked about %+v", in)
	}
	told := hand(t, e, nil)
	told.wantClose(4001)
	told.wantNotLetIn(4001)
	untold := hand(t, e, nil)
	untold.wantEOF()
	if err := receive(t, "the end of ServeConn", untold.ended); !errors.Is(err, sorry) || !errors.Is(err, engine.ErrNotLetIn) {
		t.Errorf("ServeConn returned %v", err)
	}
}

func TestAServedHandshakeHasItsTime(t *testing.T) {
	sec := newSecurity(t)
	e := newEcho(engine.Config{Timeouts: engine.Timeouts{Handshake: 50 * time.Millisecond}})
	serve(t, e)
	mute := hand(t, e, func(nc net.Conn) net.Conn { return tls.Server(nc, sec.server) })
	mute.wantNotLetIn(0)
	if r := e.Stats().Refused; r != (engine.Refusals{Handshake: 1}) {
		t.Errorf("Refused is %+v", r)
	}
	garbage := hand(t, e, func(nc net.Conn) net.Conn { return tls.Server(nc, sec.server) })
	go func() { _, _ = garbage.Write([]byte("this is no TLS at all")) }()
	go func() { _, _ = io.Copy(io.Discard, garbage.Conn) }() // the alert
	garbage.wantNotLetIn(0)
	wantNobodyIn(t, e)
}

// A client that sends faster than handlers run has to wait: what is read stays within a buffer.
func TestBackpressureReachesAServedPeer(t *testing.T) {
	e := newEngine(engine.Config{Limits: engine.Limits{MaxBody: 8 << 20}})
	entered, release := make(chan struct{}), make(chan struct{})
	e.Handle(1, func(*engine.Conn, *protocol.Message) error {
		close(entered)
		<-release
		return nil
	})
	e.Handle(2, echo)
	serve(t, e)
	p := hand(t, e, nil)
	p.send(protocol.Message{Type: 1})
	receive(t, "the handler", entered)
	b := frame(t, protocol.Message{Type: 2, ID: 5, Body: make([]byte, 4<<20)})
	_ = p.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := p.Write(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n > 64<<10 {
		t.Errorf("the peer could write %d bytes (%v) while the handler was at work", n, err)
	}
	close(release)
	_ = p.SetWriteDeadline(time.Time{})
	go func() { _, _ = p.Write(b[n:]) }() // the read below misses what does not come
	if m := p.read(); m.ID != 5 || len(m.Body) != 4<<20 {
		t.Errorf("got %d bytes for %d", len(m.Body), m.ID)
	}
}

// A Write that never returns is ended by closing, at Timeouts.Close.
func TestAWriteThatNeverReturnsEndsAtTheCloseTimeout(t *testing.T) {
	conns := make(chan *engine.Conn, 1)
	e := newEngine(engine.Config{Timeouts: engine.Timeouts{Close: 50 * time.Millisecond}})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		_ = c.Reply(m, nil)
		conns <- c
		return nil
	})
	serve(t, e)
	p := hand(t, e, func(nc net.Conn) net.Conn {
		f := &fakeConn{Conn: nc, over: make(chan struct{})}
		f.write = func([]byte) (int, error) {
			<-f.over
			return 0, net.ErrClosed
		}
		return f
	})
	p.send(protocol.Message{Type: 1, ID: 1})
	c := receive(t, "the connection", conns)
	c.Close(protocol.KickedOut)
	if err := receive(t, "the end of ServeConn", p.ended); !errors.Is(err, protocol.KickedOut) {
		t.Errorf("ServeConn returned %v", err)
	}
	if o := outcomeOf(t, c); o != protocol.OutcomeForced {
		t.Errorf("the outcome is %v", o)
	}
}

// What was handed over when the peer ended its side still goes out, as it does from a kernel's buffer.
func TestAPeerThatEndedItsSideGetsWhatWasHandedOver(t *testing.T) {
	e := newEngine(engine.Config{})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, make([]byte, 32<<10)) })
	serve(t, e)
	ours, theirs := tcpPair(t)
	ended := make(chan error, 1)
	stays := make(chan struct{})
	f := &fakeConn{Conn: theirs}
	f.write = func(b []byte) (int, error) {
		<-stays
		return theirs.Write(b)
	}
	go func() { ended <- e.ServeConn(f) }()
	p := newPeer(t, ours)
	p.send(protocol.Message{Type: 1, ID: 1})
	eventually(t, "the reply", func() bool { return e.Stats().In.Messages == 1 || e.Stats().Conns.Bound == 1 })
	p.endSide()
	close(stays)
	if m := p.read(); len(m.Body) != 32<<10 {
		t.Errorf("got %d bytes", len(m.Body))
	}
	p.wantEOF()
	if err := receive(t, "the end of ServeConn", ended); err != nil {
		t.Errorf("ServeConn returned %v", err)
	}
}

// tcpPair returns two ends of a TCP connection.
func tcpPair(t testing.TB) (ours, theirs net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ours, err = net.Dial("tcp", ln.Addr().String()); err == nil {
		theirs, err = ln.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	return ours, theirs
}

// An engine that gives up on a handler that blocks its loop gives up on the loop's connections.
func TestServeConnReturnsWhenTheEngineGivesUp(t *testing.T) {
	e := newEngine(engine.Config{Loops: 1, Timeouts: engine.Timeouts{Stop: 50 * time.Millisecond}})
	entered, release := make(chan struct{}), make(chan struct{})
	e.HandleDefault(func(*engine.Conn, *protocol.Message) error {
		close(entered)
		<-release
		return nil
	})
	r := run(t, e)
	defer close(release)
	p := hand(t, e, nil)
	p.send(protocol.Message{Type: 1})
	receive(t, "the handler", entered)
	if err := r.stop(t); !errors.Is(err, engine.ErrStopTimeout) {
		t.Errorf("Run returned %v", err)
	}
	if err := receive(t, "the end of ServeConn", p.ended); !errors.Is(err, engine.ErrStopTimeout) {
		t.Errorf("ServeConn returned %v", err)
	}
}

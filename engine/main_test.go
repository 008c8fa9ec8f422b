package engine_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// childJob names, in the environment, what this test binary does when a test starts it as a process of its own.
const childJob = "ROLLCALL_ENGINE_TEST_CHILD"

// childJobs are the mains of such processes.
var childJobs = map[string]func(){}

func TestMain(m *testing.M) {
	if job := childJobs[os.Getenv(childJob)]; job != nil {
		job()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet starts a goroutine pool when it is imported
}

// lighter is by how much some tests send less than make full sends: 4 with the race detector, with which bytes cost ten times as much.
var lighter = 1

// patience is how long a test waits for what must come.
const patience = testkit.Patience

// eventually is testkit.Eventually.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, what, ok)
}

// receive is testkit.Receive.
func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	return testkit.Receive(t, what, ch)
}

// newEngine returns an engine that listens on free ports of 127.0.0.1 and says nothing, unless cfg says otherwise. A client may take
// nothing for a minute: on a busy machine a test may need longer than the default to come to it.
func newEngine(cfg engine.Config) *engine.Engine {
	cfg.Timeouts.Write = cmp.Or(cfg.Timeouts.Write, time.Minute)
	return testkit.Must(engine.New(onFreePorts(cfg)))
}

// hidden returns what the engine shows to this module's other packages.
func hidden(e *engine.Engine) seam.Engine[*engine.Conn, *engine.SendOptions] {
	return seam.EngineOf(e).(seam.Engine[*engine.Conn, *engine.SendOptions])
}

// onFreePorts gives a listener without an address a free port of 127.0.0.1; without a logger nothing is logged.
func onFreePorts(cfg engine.Config) engine.Config {
	cfg.Listeners = slices.Clone(cfg.Listeners)
	if cfg.Listeners == nil {
		cfg.Listeners = make([]engine.Listener, 1)
	}
	for i := range cfg.Listeners {
		cfg.Listeners[i].Addr = cmp.Or(cfg.Listeners[i].Addr, "127.0.0.1:0")
	}
	cfg.Logger = testkit.OrNop(cfg.Logger)
	return cfg
}

// wantNoEngine wants New to object to these settings, and to name what is wrong.
func wantNoEngine(t testing.TB, name string, cfg engine.Config) {
	t.Helper()
	if _, err := engine.New(onFreePorts(cfg)); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("%s: New returned %v", name, err)
	}
}

// running is an engine that runs.
type running struct {
	*engine.Engine
	addr   string // of the first listener
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // what Run returned
}

// run runs e until the test ends.
func run(t testing.TB, e *engine.Engine) *running {
	t.Helper()
	tr := transportOf(t)
	tr.prepare(t, e)
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Engine: e, addr: tr.addr(e), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = e.Run(ctx)
	}()
	t.Cleanup(func() { _ = r.stop(t) })
	return r
}

// stop stops the engine and returns what Run returned.
func (r *running) stop(t testing.TB) error {
	t.Helper()
	r.cancel()
	receive(t, "the end of Run", r.ended)
	return r.err
}

// serve runs e until the test ends, and wants it to stop well.
func serve(t testing.TB, e *engine.Engine) *running {
	t.Helper()
	r := run(t, e)
	t.Cleanup(func() {
		if err := r.stop(t); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return r
}

func echo(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) }

// newEcho returns an engine that sends every message back.
func newEcho(cfg engine.Config) *engine.Engine {
	e := newEngine(cfg)
	e.HandleDefault(echo)
	return e
}

// peer is a client, as plain as can be.
type peer struct {
	net.Conn
	t     testing.TB
	codec protocol.Codec
	in    []byte // read and not yet decoded
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	return newPeer(t, reach(t, addr, nil))
}

// newPeer returns a peer at this end of a connection.
func newPeer(t testing.TB, nc net.Conn) *peer {
	return &peer{Conn: nc, t: t, codec: protocol.Binary}
}

func frame(t testing.TB, m protocol.Message) []byte {
	t.Helper()
	b, err := protocol.Binary.Append(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// send sends messages in one write.
func (p *peer) send(ms ...protocol.Message) {
	p.t.Helper()
	var b []byte
	var err error
	for i := range ms {
		if b, err = p.codec.Append(b, &ms[i]); err != nil {
			p.t.Fatal(err)
		}
	}
	p.sendRaw(b)
}

func (p *peer) sendRaw(b []byte) {
	p.t.Helper()
	_ = p.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// next returns the next message, or the error that ended the connection.
func (p *peer) next() (protocol.Message, error) {
	for {
		var m protocol.Message
		n, _, err := p.codec.Decode(p.in, &m, protocol.DecodeOptions{})
		if err != nil {
			return m, err
		}
		if n > 0 {
			p.in = p.in[n:]
			return m, nil
		}
		_ = p.SetReadDeadline(time.Now().Add(patience))
		r, err := readMore(p.Conn, &p.in)
		if err != nil && r == 0 {
			return m, err
		}
	}
}

// readMore reads up to 64 KiB behind in. What a message has of in stays as it is. The room doubles, since with the race detector each byte that is
// copied costs much.
func readMore(from io.Reader, in *[]byte) (n int, err error) {
	const most, least = 64 << 10, 1 << 10
	b := *in
	if cap(b)-len(b) < least {
		b = append(make([]byte, 0, 2*len(b)+most), b...)
	}
	n, err = from.Read(b[len(b):min(cap(b), len(b)+most)])
	*in = b[:len(b)+n]
	return n, err
}

// read returns the next message, which must come. It passes over the engine's own Heartbeats.
func (p *peer) read() protocol.Message {
	p.t.Helper()
	for {
		m, err := p.next()
		if err != nil {
			p.t.Fatalf("reading a message: %v", err)
		}
		if m.Type == protocol.TypeHeartbeat && m.ID == 0 && !m.IsReply() {
			continue // on a busy machine the engine may think that the peer takes long over a frame
		}
		return m
	}
}

// ask sends a request and returns its reply, which must be the next message.
func (p *peer) ask(typ uint16, id uint32, body string) protocol.Message {
	p.t.Helper()
	p.send(protocol.Message{Type: typ, ID: id, Body: []byte(body)})
	m := p.read()
	if m.Type != typ || m.ID != id || !m.IsReply() {
		p.t.Fatalf("got %v, want the reply to %d", m, id)
	}
	return m
}

// wantClose wants a Close notice with this code next, and then the end of the connection, not a reset.
func (p *peer) wantClose(code protocol.CloseCode) {
	p.t.Helper()
	m, err := p.next()
	if err != nil {
		p.t.Fatalf("got %v, want a Close notice with %v", err, code)
	}
	wantNotice(p.t, m, code)
	p.wantEOF()
}

func wantNotice(t testing.TB, m protocol.Message, code protocol.CloseCode) {
	t.Helper()
	if m.Type != protocol.TypeClose {
		t.Fatalf("got a message of type %#x, want a Close notice with %v", m.Type, code)
	}
	ce, err := protocol.ParseClose(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	if ce.Code != code {
		t.Fatalf("closed with %v, want %v", ce, code)
	}
}

// wantEOF wants the connection to end here, cleanly.
func (p *peer) wantEOF() {
	p.t.Helper()
	m, err := p.next()
	if err == nil {
		p.t.Fatalf("got a message of type %#x, want the end of the connection", m.Type)
	}
	if err.Error() != "EOF" {
		p.t.Fatalf("the connection ended with %v, want a clean end", err)
	}
}

// wantError wants an error reply to the request with this ID next.
func (p *peer) wantError(id uint32, code protocol.CloseCode) *protocol.CloseError {
	p.t.Helper()
	m := p.read()
	if m.ID != id || m.Flags != protocol.FlagReply|protocol.FlagError {
		p.t.Fatalf("got %v, want an error reply to %d", m, id)
	}
	ce, err := protocol.ParseClose(m.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if ce.Code != code {
		p.t.Fatalf("request %d failed with %v, want %v", id, ce, code)
	}
	return ce
}

// endSide ends the peer's side of the connection; it can still read.
func (p *peer) endSide() { _ = p.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// reset ends the connection with a reset, or where there is no such thing without a word.
func (p *peer) reset() {
	nc := p.Conn
	if web, ok := nc.(*webConn); ok {
		nc = web.Conn
	}
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = nc.Close()
}

// healthy keeps a connection of its own busy with echoes until the function that it returns is called, which wants all
// of them to have been answered, and at least one after its call; and then goes. The first has been answered when healthy
// returns: until then the engine may take a later connection for an earlier one.
func healthy(t testing.TB, addr string) (check func()) {
	t.Helper()
	p := dial(t, addr)
	quit := make(chan struct{})
	ended := make(chan error, 1)
	answered := make(chan struct{})
	go func() {
		for id, last := uint32(1), false; !last; time.Sleep(time.Millisecond) { // leaves the processor to the others
			select {
			case <-quit:
				last = true
			default:
			}
			b, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 9, ID: id, Body: []byte("healthy")})
			if _, err := p.Write(b); err != nil {
				ended <- err
				return
			}
			m, err := p.next()
			if err == nil && (m.ID != id || string(m.Body) != "healthy") {
				err = errors.New("a wrong answer")
			}
			if err != nil {
				ended <- err
				return
			}
			if id == 1 {
				close(answered)
			}
			id++
		}
		ended <- nil
	}()
	select {
	case <-answered:
	case err := <-ended:
		t.Fatalf("the healthy connection's first echo: %v", err)
	}
	var once sync.Once
	check = func() {
		once.Do(func() {
			close(quit)
			if err := receive(t, "the last answer to the healthy connection", ended); err != nil {
				t.Errorf("the healthy connection suffered: %v", err)
			}
			_ = p.Close()
		})
	}
	t.Cleanup(check)
	return check
}

package engine_test

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// transport is a way in which the bytes of connections come and go. In a test of eachTransport, serve and dial use the
// test's transport; otherwise TCP.
type transport struct {
	name    string
	network string // of the engine's listener
	piped   bool   // connections are ends of net.Pipe, which ServeConn takes
	secure  *security
	web     bool // clients speak WebSocket
}

// transports returns all there are.
func transports(t testing.TB) []*transport {
	sec := newSecurity(t)
	return []*transport{
		{name: "tcp"},
		{name: "tls", secure: sec},
		{name: "ws", web: true},
		{name: "wss", secure: sec, web: true},
		{name: "unix", network: "unix"},
		{name: "tls over unix", network: "unix", secure: sec},
		{name: "pipe", piped: true},
		{name: "tls over pipe", piped: true, secure: sec},
	}
}

// halfCloses reports whether a peer can end its side alone.
func (tr *transport) halfCloses() bool { return !tr.piped || tr.secure != nil }

// buffers reports whether what a peer sends goes on its way when the server does not read.
func (tr *transport) buffers() bool { return !tr.piped }

// fills returns a number of bytes that is more than the kernel holds for a peer that does not read: tcp says it for TCP. The two
// buffers of a Unix socket hold 208 KiB each, and a pipe has none.
func (tr *transport) fills(tcp int) int {
	if tr.piped || tr.network == "unix" {
		return min(tcp, 1<<20)
	}
	return tcp
}

// speaksTLS reports whether its bytes are those of TLS.
func (tr *transport) speaksTLS() bool { return tr.secure != nil && !tr.web }

// resets reports whether a peer can reset its connection.
func (tr *transport) resets() bool { return !tr.piped && tr.network != "unix" }

var (
	transportsOf sync.Map // by the name of the test
	enginesAt    sync.Map // by address: those that are dialed by pipe
)

// eachTransport runs a test once for each transport.
func eachTransport(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	eachTransportThat(t, func(*transport) bool { return true }, f)
}

// eachTransportThat is eachTransport for those that can do something.
func eachTransportThat(t *testing.T, can func(*transport) bool, f func(t *testing.T)) {
	t.Helper()
	for _, tr := range transports(t) {
		if can(tr) {
			t.Run(tr.name, func(t *testing.T) {
				transportsOf.Store(t.Name(), tr)
				defer transportsOf.Delete(t.Name())
				f(t)
			})
		}
	}
}

// eachLayer is eachTransport for a test that sends much. With the race detector it leaves out the transports whose parts the others have: each
// socket and each layer above it comes once. make full runs it over all.
func eachLayer(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	eachTransportThat(t, func(tr *transport) bool {
		return lighter == 1 || slices.Contains([]string{"tcp", "wss", "tls over unix", "pipe"}, tr.name)
	}, f)
}

// transportOf returns that of a test, which may be a part of the one that eachTransport runs.
func transportOf(t testing.TB) *transport {
	for name := t.Name(); ; {
		if tr, ok := transportsOf.Load(name); ok {
			return tr.(*transport)
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return &transport{name: "tcp"}
		}
		name = name[:i]
	}
}

// listener returns a listener for the transport. The one of a pipe is not used.
func (tr *transport) listener(t testing.TB) (l engine.Listener) {
	l.Addr = "127.0.0.1:0"
	if tr.piped {
		return l
	}
	if l.Network = tr.network; l.Network == "unix" {
		l.Addr = filepath.Join(t.TempDir(), "s")
	}
	if tr.secure != nil {
		l.TLS = tr.secure.server
	}
	if tr.web {
		l.WebSocket = new(engine.WebSocket)
	}
	return l
}

// prepare has an engine's first listener be the transport's.
func (tr *transport) prepare(t testing.TB, e *engine.Engine) {
	if tr.name != "tcp" {
		l := tr.listener(t)
		e.ListenOn(l.Network, l.Addr, l.TLS, l.WebSocket)
	}
}

// addr returns where reach finds an engine that listens.
func (tr *transport) addr(e *engine.Engine) string { return tr.addrAt(e, 0) }

// addrAt is addr for a listener other than the first.
func (tr *transport) addrAt(e *engine.Engine, listener int) string {
	addr := e.Addrs()[listener].String()
	if tr.piped {
		enginesAt.Store(addr, e)
	}
	return addr
}

// way is a way to an engine.
type way struct {
	*transport
	addr string
}

// onAll returns a configuration with a listener for each transport: for tests that mostly wait, which eachTransport would have wait as many times.
func onAll(t testing.TB, all []*transport, cfg engine.Config) engine.Config {
	for _, tr := range all {
		cfg.Listeners = append(cfg.Listeners, tr.listener(t))
	}
	return cfg
}

// waysTo returns the ways to an engine that runs with a configuration of onAll.
func waysTo(e *engine.Engine, all []*transport) (ways []way) {
	for i, tr := range all {
		ways = append(ways, way{tr, tr.addrAt(e, i)})
	}
	return ways
}

// dial is the function dial for a way.
func (w way) dial(t testing.TB) *peer {
	t.Helper()
	return newPeer(t, w.reach(t, w.addr, nil))
}

// dialSlow is dial for a peer whose socket takes little before it is read.
func (w way) dialSlow(t testing.TB) *peer {
	t.Helper()
	return newPeer(t, w.reach(t, w.addr, func(fd uintptr) { setReceiveBuffer(fd, 32<<10) }))
}

// reach returns the client's end of a connection over the test's transport, behind a TLS handshake where there is one. option, when
// not nil, is called with the descriptor of a TCP socket before it connects.
func reach(t testing.TB, addr string, option func(fd uintptr)) net.Conn {
	t.Helper()
	return transportOf(t).reach(t, addr, option)
}

// reach is the function reach for a transport.
func (tr *transport) reach(t testing.TB, addr string, option func(fd uintptr)) net.Conn {
	t.Helper()
	return tr.begin(t, tr.bare(t, addr, option), addr)
}

// begin makes a connection's TLS handshake, and then a WebSocket of it, where the transport has them.
func (tr *transport) begin(t testing.TB, nc net.Conn, addr string) net.Conn {
	t.Helper()
	nc, err := tr.tryBegin(nc, addr)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

// tryBegin is begin for any goroutine.
func (tr *transport) tryBegin(nc net.Conn, addr string) (net.Conn, error) {
	if tr.secure != nil {
		tc, err := tryToShakeHands(nc, tr.secure.client)
		if err != nil {
			return nil, err
		}
		nc = tc
	}
	if tr.web {
		return tryToUpgrade(nc, addr)
	}
	return nc, nil
}

// bare is reach before any TLS handshake.
func bare(t testing.TB, addr string, option func(fd uintptr)) net.Conn {
	t.Helper()
	return transportOf(t).bare(t, addr, option)
}

// bare is the function bare for a transport.
func (tr *transport) bare(t testing.TB, addr string, option func(fd uintptr)) net.Conn {
	t.Helper()
	var nc net.Conn
	var err error
	switch {
	case tr.piped:
		nc = tr.pipe(t, addr)
	case tr.network == "unix":
		nc, err = net.DialTimeout("unix", addr, patience)
	default:
		d := net.Dialer{Timeout: patience}
		if option != nil {
			d.Control = func(_, _ string, rc syscall.RawConn) error { return rc.Control(option) }
		}
		nc, err = d.Dial("tcp", addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// pipe gives one end of a net.Pipe to the engine at addr, and returns the other.
func (tr *transport) pipe(t testing.TB, addr string) net.Conn {
	e, ok := enginesAt.Load(addr)
	if !ok {
		t.Fatalf("no engine at %s", addr)
	}
	ours, theirs := net.Pipe()
	nc := theirs
	if tr.secure != nil {
		nc = tls.Server(theirs, tr.secure.server)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = e.(*engine.Engine).ServeConn(nc)
	}()
	t.Cleanup(func() {
		_ = ours.Close()
		receive(t, "the end of ServeConn", ended)
	})
	return ours
}

// Each transport carries what TCP does, and says its name.
func TestEachTransportServes(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		bothModes(t, func(t *testing.T, workers int) {
			e := newEcho(engine.Config{Workers: workers})
			g := newGate(t, e)
			r := serve(t, e)
			p, b := g.enter(t, r.addr)
			p.read()
			if got, want := b.conn.Transport(), transportNames[transportOf(t).name]; got != want {
				t.Errorf("Transport returned %q, want %q", got, want)
			}
			if secure := transportOf(t).secure != nil; (b.conn.TLS() != nil) != secure {
				t.Errorf("TLS returned %v", b.conn.TLS())
			}
			body := strings.Repeat("0123456789abcdef", 1<<19/16)
			for id := range uint32(4 / lighter) {
				if m := p.ask(1, id+1, body); string(m.Body) != body {
					t.Fatalf("got %d bytes, and not those that were sent", len(m.Body))
				}
			}
			for id := range uint32(100) {
				p.ask(1, id+1, "small")
			}
			b.conn.Close(protocol.Errorf(4000, "enough"))
			p.wantClose(4000)
			_ = p.Close()
			if o := outcomeOf(t, b.conn); o != protocol.OutcomeTold {
				t.Errorf("the outcome is %v", o)
			}
		})
	})
}

// outcomeOf waits for the end of a connection.
func outcomeOf(t testing.TB, c *engine.Conn) protocol.CloseOutcome {
	t.Helper()
	ended := make(chan protocol.CloseOutcome, 1)
	engine.ControlOf(c).WhenClosed(func(o protocol.CloseOutcome) { ended <- o })
	return receive(t, "the end of the connection", ended)
}

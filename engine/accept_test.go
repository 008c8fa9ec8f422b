package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

func TestAddrsTellsTheFreePortsThatListenTook(t *testing.T) {
	e := newEcho(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0"}}})
	if got := e.Addrs(); got != nil {
		t.Errorf("before Listen Addrs returned %v", got)
	}
	serve(t, e) // calls Listen, twice in effect: Run does not open the listeners again
	addrs := e.Addrs()
	if len(addrs) != 2 || addrs[0].String() == addrs[1].String() {
		t.Fatalf("Addrs returned %v", addrs)
	}
	for _, a := range addrs {
		if got := string(dial(t, a.String()).ask(1, 1, "hello").Body); got != "hello" {
			t.Errorf("%v answered %q", a, got)
		}
	}
}

func TestAnEngineRunsOnce(t *testing.T) {
	r := serve(t, newEcho(engine.Config{Timeouts: engine.Timeouts{Close: 100 * time.Millisecond}}))
	dial(t, r.addr).ask(1, 1, "")
	if err := r.Run(context.Background()); !errors.Is(err, engine.ErrRunning) {
		t.Errorf("a second Run returned %v", err)
	}
	if err := r.Listen(); !errors.Is(err, engine.ErrRunning) {
		t.Errorf("Listen while running returned %v", err)
	}
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if err := r.Run(context.Background()); !errors.Is(err, engine.ErrRunning) {
		t.Errorf("Run after the end returned %v", err)
	}
}

// A listener without an address, or no listener, is an error: the engine chooses no address by itself.
func TestAnAddressThatIsMissingOrLeftOutIsAnError(t *testing.T) {
	if _, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}, {}}}); err == nil || !strings.Contains(err.Error(), "Config.Listeners") {
		t.Errorf("a listener without an address: New returned %v", err)
	}
	e := testkit.Must(engine.New(engine.Config{}))
	if err := e.Listen(); err == nil || !strings.Contains(err.Error(), "Config.Listeners") {
		t.Errorf("no listener: Listen returned %v", err)
	}
}

// gnet, with TCP keep-alive on, reports a busy port as a bad file descriptor.
func TestABusyPortIsNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	e := newEngine(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}, {Addr: taken.Addr().String()}}})
	err = e.Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("Run returned %v, want an error that names %v", err, taken.Addr())
	}
	if got := e.Addrs(); got != nil {
		t.Errorf("after the failure the engine listens on %v", got)
	}
}

// gnet: SO_REUSEADDR is off by default. The server closes first, so its side of the connections is the one that stays in
// TIME_WAIT.
func TestARestartBindsWhereConnectionsAreInTimeWait(t *testing.T) {
	r := serve(t, newEcho(engine.Config{}))
	peers := make([]*peer, 20)
	for i := range peers {
		peers[i] = dial(t, r.addr)
		peers[i].ask(1, 1, "")
	}
	r.cancel()
	for _, p := range peers {
		p.wantClose(protocol.ServerStopping)
		_ = p.Close()
	}
	if err := r.stop(t); err != nil {
		t.Fatal(err)
	}
	again := serve(t, newEcho(engine.Config{Listeners: []engine.Listener{{Addr: r.addr}}}))
	dial(t, again.addr).ask(1, 1, "")
}

// Rule 14: a connection over the limit is told so, whatever it has sent already.
func TestOneConnectionTooManyIsToldSo(t *testing.T) {
	frames := func(tr *transport) bool { return tr.buffers() && !tr.web } // a WebSocket is told before it begins
	eachTransportThat(t, frames, oneConnectionTooManyIsToldSo)
}

func oneConnectionTooManyIsToldSo(t *testing.T) {
	e := newEcho(engine.Config{Accept: engine.Accept{MaxConnections: 2}})
	r := serve(t, e)
	a, b := dial(t, r.addr), dial(t, r.addr)
	a.ask(1, 1, "")
	b.ask(1, 1, "")

	c := dial(t, r.addr)
	c.sendRaw(bytes.Repeat([]byte("garbage "), 8<<10))
	c.wantClose(protocol.TooManyConnections)
	if s := e.Stats(); s.Conns.Open != 2 || s.Refused != (engine.Refusals{Full: 1}) || s.Accepted != 3 {
		t.Errorf("Stats returned %+v", s)
	}

	_ = b.Close()
	eventually(t, "the place of the one that left", func() bool { return e.Stats().Conns.Open == 1 })
	dial(t, r.addr).ask(1, 1, "")
	a.ask(1, 2, "")
}

// Rule 14: 64 at a time are told that they are too many; more are closed untold, and cost nothing.
func TestStrangersOverTheLimitLingerSixtyFourAtATime(t *testing.T) {
	e := newEcho(engine.Config{Accept: engine.Accept{MaxConnections: 1}})
	r := serve(t, e)
	inside := dial(t, r.addr)
	inside.ask(1, 1, "")

	lingering := make([]*peer, 64) // they do not end their side, so the server still waits for them
	for i := range lingering {
		lingering[i] = dial(t, r.addr)
		lingering[i].wantClose(protocol.TooManyConnections)
	}
	untold := dial(t, r.addr)
	if m, err := untold.next(); err == nil {
		t.Errorf("the 65th was told a message of type %#x", m.Type)
	}
	_ = lingering[0].Close()
	eventually(t, "the place of a stranger that left", func() bool {
		m, err := dial(t, r.addr).next()
		return err == nil && m.Type == protocol.TypeClose
	})
	inside.ask(1, 2, "")
}

// A stopping engine does not wait for connections that it refused.
func TestStoppingDoesNotWaitForStrangers(t *testing.T) {
	r := serve(t, newEcho(engine.Config{Accept: engine.Accept{MaxConnections: 1}, Timeouts: engine.Timeouts{Stop: time.Minute, Close: time.Hour}}))
	inside := dial(t, r.addr)
	inside.ask(1, 1, "")
	stranger := dial(t, r.addr) // would linger for an hour
	stranger.wantClose(protocol.TooManyConnections)
	_ = inside.Close()
	began := time.Now()
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("stopping took %v", took)
	}
}

// Each listener has its own wire format; the handlers are the same.
func TestListenersWithCodecsOfTheirOwn(t *testing.T) {
	e := newEcho(engine.Config{Listeners: []engine.Listener{
		{Addr: "127.0.0.1:0"},
		{Addr: "127.0.0.1:0", Codec: protocol.Line},
		{Addr: "127.0.0.1:0", Codec: lengthCodec{}},
	}})
	g := newGate(t, e)
	g.first = func(k engine.Control, m *protocol.Message, _ *binding) {
		a := &engine.Admitted{UserID: m.UserID}
		if m.Type != protocol.TypeLogon {
			a.Deliver = m.Clone()
		}
		k.Admit(a)
	}
	serve(t, e)
	addrs := e.Addrs()

	if got := string(dial(t, addrs[0].String()).ask(1, 1, "binary").Body); got != "binary" {
		t.Errorf("Binary answered %q", got)
	}

	line := dial(t, addrs[1].String())
	line.sendRaw([]byte("ann\n#7 1 hello\n"))
	want := "= #7 1 hello\n"
	got := make([]byte, len(want))
	_ = line.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(line, got); err != nil || string(got) != want {
		t.Errorf("Line answered %q, %v; want %q", got, err, want)
	}

	own := dial(t, addrs[2].String())
	own.codec = lengthCodec{}
	own.send(protocol.Message{Body: []byte("a codec of the test's own")})
	if m := own.read(); string(m.Body) != "a codec of the test's own" {
		t.Errorf("the codec of the test's own answered %q", m.Body)
	}
	own.sendRaw([]byte{0xFF, 0xFF, 'x'})
	own.wantEOF() // it has no notices
}

// lengthCodec is a wire format of the test's own: a length of two bytes, then the body. It knows one message type, no
// IDs and no notices.
type lengthCodec struct{}

const lengthMax = 4096

func (lengthCodec) Decode(src []byte, m *protocol.Message, _ protocol.DecodeOptions) (n, need int, err error) {
	if len(src) < 2 {
		return 0, 2, nil
	}
	size := int(src[0])<<8 | int(src[1])
	if size > lengthMax {
		return 0, 0, &protocol.CloseError{Code: protocol.MessageTooLarge}
	}
	if len(src) < 2+size {
		return 0, 2 + size, nil
	}
	*m = protocol.Message{Type: 1, Body: src[2 : 2+size : 2+size]}
	return 2 + size, 0, nil
}

func (lengthCodec) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	if m.Type >= protocol.FirstSystemType {
		return dst, nil
	}
	dst = append(dst, byte(len(m.Body)>>8), byte(len(m.Body)))
	return append(dst, m.Body...), nil
}

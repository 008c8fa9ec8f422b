package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

func TestOnAcceptSeesEachConnection(t *testing.T) {
	seen := make(chan engine.Incoming, 1)
	e := newEngine(engine.Config{
		Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", ProxyProtocol: fromLoopback}},
		OnAccept: func(_ context.Context, in engine.Incoming) error {
			seen <- in
			return nil
		}})
	e.HandleDefault(echo)
	serve(t, e)
	for _, c := range []struct {
		name, source string
		listener     int
		header       []byte
	}{
		{"directly", "", 0, nil},
		{"by a load balancer", "[2001:db8::7]:4711", 1, v2TCP("2001:db8::7", 4711)},
		{"a load balancer itself", "", 1, v2Local},
	} {
		p := dial(t, e.Addrs()[c.listener].String())
		p.sendRaw(c.header)
		own := netip.MustParseAddrPort(p.LocalAddr().String())
		want := engine.Incoming{Remote: own, Local: netip.MustParseAddrPort(p.RemoteAddr().String()), Listener: c.listener}
		if c.listener == 1 {
			want.Proxy = own
		}
		if c.source != "" {
			want.Remote = netip.MustParseAddrPort(c.source)
		}
		if got := receive(t, "a connection", seen); got != want {
			t.Errorf("%s: OnAccept saw %+v, want %+v", c.name, got, want)
		}
		p.ask(1, 1, "")
	}
}

// A *protocol.CloseError is what the client is told, with all that is in it; by another error, or a panic, it is told
// nothing. Neither touches the others.
func TestOnAcceptRefuses(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	e := newEcho(engine.Config{Bans: engine.Bans{Flaps: 2}, Logger: zap.New(core), OnAccept: func(_ context.Context, in engine.Incoming) error {
		switch in.Remote.Addr().As4()[3] {
		case 1:
			return nil
		case 2:
			return fmt.Errorf("in its way: %w", &protocol.CloseError{Code: protocol.KickedOut, Text: "not you"})
		case 3:
			return errors.New("no")
		case 4:
			return &protocol.CloseError{Code: protocol.NetworkError} // is never sent
		}
		if in.Remote.Addr().As4()[3] == 5 {
			panic("on purpose")
		}
		runtime.Goexit()
		return nil
	}})
	r := serve(t, e)
	a := enterFrom(t, "127.0.1.1", r.addr)
	told := dialFrom(t, "127.0.1.2", r.addr)
	m := told.read()
	if ce, err := protocol.ParseClose(m.Body); m.Type != protocol.TypeClose || err != nil || ce.Code != protocol.KickedOut || ce.Text != "not you" {
		t.Errorf("got %v, %v", m, ce)
	}
	told.wantEOF()
	for _, from := range []string{"127.0.1.3", "127.0.1.3", "127.0.1.3", "127.0.1.4", "127.0.1.5", "127.0.1.6"} {
		dialFrom(t, from, r.addr).wantUntold()
	}
	a.ask(1, 2, "")
	if s := e.Stats(); s.Refused != (engine.Refusals{Hook: 7}) || s.Conns.Open != 1 { // who is not let in does not flap
		t.Errorf("Stats returned %+v", s)
	}
	if n := logs.FilterMessageSnippet("OnAccept panicked").Len(); n != 2 {
		t.Errorf("%d panics were logged", n)
	}
	_ = a.Close()
	wantNobodyIn(t, e)
}

// stuckHook holds connections up until it is told to let them go, and pays no heed to its context.
type stuckHook struct {
	release        chan struct{}
	running, most  atomic.Int32
	holds          func(in engine.Incoming) bool
	mu             sync.Mutex
	order          []netip.AddrPort
	releasedByTest sync.Once
}

func newStuckHook(t testing.TB) *stuckHook {
	h := &stuckHook{release: make(chan struct{}), holds: func(engine.Incoming) bool { return true }}
	t.Cleanup(h.letGo)
	return h
}

func (h *stuckHook) letGo() { h.releasedByTest.Do(func() { close(h.release) }) }

func (h *stuckHook) accept(_ context.Context, in engine.Incoming) error {
	n := h.running.Add(1)
	defer h.running.Add(-1)
	for most := h.most.Load(); n > most && !h.most.CompareAndSwap(most, n); most = h.most.Load() {
	}
	h.mu.Lock()
	h.order = append(h.order, in.Remote)
	h.mu.Unlock()
	if h.holds(in) {
		<-h.release
	}
	return nil
}

// A slow hook keeps neither others from coming in, nor those who are in from being served.
func TestASlowHookHoldsUpNobodyElse(t *testing.T) {
	hook := newStuckHook(t)
	hook.holds = func(in engine.Incoming) bool { return in.Remote.Addr().As4()[3] == 2 }
	e := newEcho(engine.Config{Loops: 1, OnAccept: hook.accept})
	r := serve(t, e)
	check := healthy(t, r.addr)
	var held []*peer
	for range 20 {
		p := dialFrom(t, "127.0.1.2", r.addr)
		p.send(protocol.Message{Type: 1, ID: 1})
		held = append(held, p)
	}
	eventually(t, "the hook is at it", func() bool { return hook.running.Load() == 20 && e.Stats().Conns.Handshaking == 20 })
	for range 20 {
		enterFrom(t, "127.0.1.1", r.addr)
	}
	check()
	hook.letGo()
	for _, p := range held {
		p.read()
	}
}

// So many handshakes run at a time and no more; who waits has its turn in order.
func TestHandshakesAreBoundedAndQueue(t *testing.T) {
	const places, clients = 3, 20
	hook := newStuckHook(t)
	e := newEcho(engine.Config{OnAccept: hook.accept, Accept: engine.Accept{MaxHandshakes: places}})
	r := serve(t, e)
	var peers []*peer
	var want []netip.AddrPort
	for i := range clients {
		p := dial(t, r.addr)
		p.send(protocol.Message{Type: 1, ID: 1})
		peers, want = append(peers, p), append(want, netip.MustParseAddrPort(p.LocalAddr().String()))
		eventually(t, "the connection has its place in the queue", func() bool {
			s := e.Stats()
			return s.Conns.Handshaking == min(i+1, places) && s.Conns.HandshakesWaiting == max(i+1-places, 0)
		})
	}
	eventually(t, "all places are taken", func() bool { return hook.running.Load() == places })
	hook.mu.Lock()
	first := slices.Clone(hook.order)
	hook.mu.Unlock()
	if len(first) != places {
		t.Fatalf("%d connections are in the hook", len(first))
	}
	for range clients - places { // one at a time, so that their order is seen
		hook.release <- struct{}{}
		eventually(t, "the next one's turn", func() bool {
			hook.mu.Lock()
			defer hook.mu.Unlock()
			return len(hook.order) > len(first)
		})
		hook.mu.Lock()
		first = slices.Clone(hook.order)
		hook.mu.Unlock()
	}
	if !slices.Equal(first[places:], want[places:]) {
		t.Errorf("the turns were\n%v, want\n%v", first, want)
	}
	hook.letGo()
	for _, p := range peers {
		p.read()
	}
	if n := hook.most.Load(); n != places {
		t.Errorf("%d handshakes ran at a time", n)
	}
	eventually(t, "no handshake is under way", func() bool { return e.Stats().Conns.Handshaking == 0 })
	if s := e.Stats(); s.Refused != (engine.Refusals{}) || s.Conns.Open != clients {
		t.Errorf("Stats returned %+v", s)
	}
}

// At its deadline a connection is closed whether the hook returns or not, and gives its place back; who has waited too
// long for a turn is told so.
func TestHandshakeTimeout(t *testing.T) {
	const timeout = 150 * time.Millisecond
	hook := newStuckHook(t)
	hook.holds = func(in engine.Incoming) bool { return in.Remote.Addr().As4()[3] == 2 }
	e := newEcho(engine.Config{OnAccept: hook.accept, Accept: engine.Accept{MaxHandshakes: 1, MaxPerAddress: 10}, Timeouts: engine.Timeouts{Handshake: timeout}})
	r := serve(t, e)
	began := time.Now()
	stuck := dialFrom(t, "127.0.1.2", r.addr)
	eventually(t, "the hook is at it", func() bool { return hook.running.Load() == 1 })
	var behind []*peer
	for range 5 {
		behind = append(behind, dialFrom(t, "127.0.1.1", r.addr))
	}
	stuck.wantUntold()
	for _, p := range behind {
		p.wantClose(protocol.TooManyConnections)
		_ = p.Close()
	}
	if took := time.Since(began); took < timeout {
		t.Errorf("given up on after %v", took)
	}
	wantNobodyIn(t, e)
	if s := e.Stats(); s.Refused != (engine.Refusals{Handshake: 6}) || s.Conns.Handshaking != 1 {
		t.Errorf("Stats returned %+v", s)
	}
	hook.letGo()
	eventually(t, "the hook has returned", func() bool { return e.Stats().Conns.Handshaking == 0 })
	enterFrom(t, "127.0.1.1", r.addr)
}

// The context of a hook ends at the deadline, and what it says then does not count.
func TestTheHooksContext(t *testing.T) {
	const clients = 30
	causes := make(chan error, clients)
	e := newEcho(engine.Config{Timeouts: engine.Timeouts{Handshake: 50 * time.Millisecond}, OnAccept: func(ctx context.Context, _ engine.Incoming) error {
		<-ctx.Done()
		causes <- ctx.Err()
		return nil
	}})
	r := serve(t, e)
	var peers []*peer
	for range clients {
		peers = append(peers, dial(t, r.addr))
	}
	for _, p := range peers {
		p.wantUntold()
		if err := receive(t, "the end of the context", causes); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the context ended with %v", err)
		}
	}
	wantNobodyIn(t, e)
}

// An engine that stops does not wait for handshakes, nor for those that wait for one.
func TestStoppingInTheMiddleOfHandshakes(t *testing.T) {
	ended := make(chan error, 10)
	e := newProxied(engine.Config{Accept: engine.Accept{MaxHandshakes: 2, MaxPerAddress: 10}, Timeouts: engine.Timeouts{Stop: time.Minute},
		OnAccept: func(ctx context.Context, _ engine.Incoming) error {
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}})
	r := serve(t, e)
	inHook := dial(t, r.addr)
	inHook.sendRaw(v1("203.0.113.7", 1))
	eventually(t, "one is with the hook", func() bool { origins, _ := e.Places(); return origins == 1 })
	inHeader := dial(t, r.addr)
	inHeader.sendRaw([]byte("PROXY "))
	eventually(t, "the other one is in its header", func() bool { return e.Stats().Conns.Handshaking == 2 })
	waits := []*peer{dial(t, r.addr), dial(t, r.addr)}
	eventually(t, "two wait", func() bool { return e.Stats().Conns.HandshakesWaiting == 2 })
	began := time.Now()
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("stopping took %v", took)
	}
	for _, p := range append(waits, inHook, inHeader) {
		p.wantUntold()
	}
	if err := receive(t, "the end of the hook", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("the hook's context ended with %v", err)
	}
	if s := e.Stats(); s.Refused != (engine.Refusals{}) {
		t.Errorf("Stats returned %+v", s)
	}
	wantNobodyIn(t, e)
}

// A hook that never returns is given up on, and Run says so.
func TestStoppingGivesUpOnAStuckHook(t *testing.T) {
	hook := newStuckHook(t)
	e := newEcho(engine.Config{OnAccept: hook.accept, Timeouts: engine.Timeouts{Stop: time.Minute}})
	r := run(t, e)
	p := dial(t, r.addr)
	eventually(t, "the hook is at it", func() bool { return hook.running.Load() == 1 })
	if err := r.stop(t); !errors.Is(err, engine.ErrStopTimeout) {
		t.Errorf("Run returned %v", err)
	}
	p.wantUntold()
	wantNobodyIn(t, e)
	hook.letGo()
	eventually(t, "the hook has returned", func() bool { return e.Stats().Conns.Handshaking == 0 })
}

// Connections die at every stage, of themselves and by every limit there is: every place is given back.
func TestPlacesAreGivenBackAtEveryStage(t *testing.T) {
	e := newProxied(engine.Config{Accept: engine.Accept{MaxConnections: 30, MaxPerAddress: 2, MaxPerSubnet: 12, MaxHandshakes: 16}, Workers: 2,
		Timeouts: engine.Timeouts{Handshake: 40 * time.Millisecond, ProxyHeader: 20 * time.Millisecond, Close: 200 * time.Millisecond},
		OnAccept: func(ctx context.Context, _ engine.Incoming) error {
			switch rand.N(8) {
			case 0:
				return &protocol.CloseError{Code: protocol.KickedOut}
			case 1:
				return errors.New("no")
			case 2:
				select {
				case <-ctx.Done():
				case <-time.After(rand.N(60 * time.Millisecond)):
				}
			}
			return nil
		}})
	r := serve(t, e)
	const clients, rounds = 60, 12
	var wg sync.WaitGroup
	var served atomic.Int64
	shown := func() bool { // every limit was at work
		by := e.Stats().Refused
		return served.Load() > 0 && by.Full > 0 && by.Address > 0 && by.Proxy > 0 && by.Hook > 0 && by.Handshake > 0
	}
	deadline := time.Now().Add(patience / 2)
	for i := range clients {
		wg.Go(func() {
			for round := 0; round < rounds || !shown() && time.Now().Before(deadline); round++ {
				p, err := tryDialFrom("127.0.0.1", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				p.t = t
				header := v2TCP(fmt.Sprintf("203.0.%d.%d", i%3, i%7), 1)
				whole := slices.Concat(header, frame(t, protocol.Message{Type: 1, ID: 1}))
				switch rand.N(8) {
				case 0: // at once
				case 1:
					_, _ = p.Write(header[:rand.N(len(header))])
				case 2:
					_, _ = p.Write(header)
				case 3:
					_, _ = p.Write(whole[:len(header)+rand.N(len(whole)-len(header))])
				case 4: // too slow
					_, _ = p.Write(header[:10])
					_, _ = p.next()
				default:
					_, _ = p.Write(whole)
					if m, err := p.next(); err == nil && m.Type == 1 {
						served.Add(1)
					}
				}
				if rand.N(2) == 0 {
					p.reset()
				}
				_ = p.Close()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	receive(t, "the end of the storm", done)
	wantNobodyIn(t, e)
	eventually(t, "no handshake is under way", func() bool { return e.Stats().Conns.Handshaking == 0 })
	if !shown() {
		t.Errorf("%d were served, Stats returned %+v: the test did not show what it should", served.Load(), e.Stats())
	}
	t.Logf("%d were served, %+v", served.Load(), e.Stats())
}

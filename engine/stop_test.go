package engine_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 16: when an engine stops its listeners close first, then every connection is told ServerStopping, and only then
// closed; its Ended comes before Run returns. gnet: OnShutdown runs before the connections are closed.
func TestStoppingTellsEveryConnection(t *testing.T) {
	eachTransportThat(t, (*transport).buffers, stoppingTellsEveryConnection)
}

func stoppingTellsEveryConnection(t *testing.T) {
	e := newEngine(engine.Config{Timeouts: engine.Timeouts{Stop: time.Minute}})
	g := newGate(t, e)
	e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
	entered, release := make(chan struct{}), make(chan struct{})
	e.Handle(2, func(*engine.Conn, *protocol.Message) error { // holds up the loop, and the stop with it
		close(entered)
		<-release
		return nil
	})
	r := serve(t, e)
	peers := make([]*peer, 20)
	bindings := make([]*binding, len(peers))
	for i := range peers {
		peers[i], bindings[i] = g.enter(t, r.addr)
	}
	silent := dial(t, r.addr) // not admitted yet
	eventually(t, "all connections", func() bool { n := e.Stats().Conns; return n.Bound == len(peers) && n.Accepted == 1 })
	peers[0].send(protocol.Message{Type: 2})
	receive(t, "the handler", entered)
	r.cancel()
	eventually(t, "the end of listening", func() bool {
		network := "tcp"
		if transportOf(t).network == "unix" {
			network = "unix"
		}
		nc, err := net.DialTimeout(network, r.addr, patience)
		if err == nil {
			_ = nc.Close()
		}
		return err != nil
	})
	select {
	case <-r.ended:
		t.Error("Run returned while there were connections")
	default:
	}
	close(release)
	for i, p := range append(peers, silent) {
		p.wantClose(protocol.ServerStopping)
		if i < len(bindings) {
			bindings[i].wantEnd(t, protocol.ServerStopping)
		}
		_ = p.Close()
	}
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if n := e.Stats().Conns.Open; n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// A context that has ended before Run closes what Listen has opened.
func TestRunWithAContextThatHasEndedClosesTheListeners(t *testing.T) {
	e := newEcho(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}})
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	addr := e.Addrs()[0].String()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Run(ended); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("the listener is still open")
	}
	if err := e.Run(context.Background()); !errors.Is(err, engine.ErrRunning) {
		t.Errorf("a second Run returned %v", err)
	}
}

func TestTheEndOfRunsContextStopsTheEngine(t *testing.T) {
	eachTransport(t, theEndOfRunsContextStopsTheEngine)
}

func theEndOfRunsContextStopsTheEngine(t *testing.T) {
	r := serve(t, newEcho(engine.Config{}))
	p := dial(t, r.addr)
	p.ask(1, 1, "")
	r.cancel()
	p.wantClose(protocol.ServerStopping)
	_ = p.Close()
	receive(t, "Run", r.ended)
	if r.err != nil {
		t.Errorf("Run returned %v", r.err)
	}
}

// A stop gives up after Timeouts.Stop, on peers that do not go.
func TestAStopGivesUpOnPeersThatStay(t *testing.T) {
	eachTransport(t, func(t *testing.T) { bothModes(t, aStopGivesUpOnPeersThatStay) })
}

func aStopGivesUpOnPeersThatStay(t *testing.T, workers int) {
	r := run(t, newEcho(engine.Config{Workers: workers, Timeouts: engine.Timeouts{Stop: 100 * time.Millisecond}}))
	p := dial(t, r.addr)
	p.ask(1, 1, "")
	began := time.Now()
	err := r.stop(t)
	if took := time.Since(began); took > patience {
		t.Errorf("the stop took %v", took)
	}
	if !errors.Is(err, engine.ErrStopTimeout) || !strings.Contains(err.Error(), "1 connections") {
		t.Errorf("Run returned %v, want one connection given up on", err)
	}
	if strings.Contains(err.Error(), "loop") || strings.Contains(err.Error(), "worker") {
		t.Errorf("Run returned %v, but no handler is stuck", err)
	}
}

// Rule 5: a handler that is stuck on an event loop is logged and counted; rule 16: Run gives up on it at Timeouts.Stop, and
// says so. Another loop's connections are told as ever. Here a handler is stuck for a connection of each transport, on a loop of its own.
func TestAHandlerThatIsStuckOnALoop(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	core, logs := observer.New(zap.ErrorLevel)
	all := transports(t)
	e := newEngine(onAll(t, all, engine.Config{Loops: len(all) + 1, Timeouts: engine.Timeouts{Stall: 200 * time.Millisecond, Stop: 300 * time.Millisecond},
		Logger: zap.New(core)}))
	g := newGate(t, e)
	e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
	entered, release := make(chan struct{}, len(all)), make(chan struct{})
	e.Handle(2, func(*engine.Conn, *protocol.Message) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	e.Handle(9, echo)
	r := run(t, e)
	free, taken := -1, map[int]bool{} // the loops
	var peers []*peer
	// enter returns a connection on a loop that will do. gnet gives a new one to a loop that has few.
	enter := func(w way, does func(loop int) bool) (*peer, *binding) {
		for range 100 {
			p, b := g.enterOn(t, w.dial(t))
			peers = append(peers, p)
			eventually(t, "its first message", func() bool { return b.received.Load() == 1 })
			if does(b.conn.LoopNumber()) {
				return p, b
			}
		}
		t.Fatalf("%s: no connection on the loop that the test needs", w.name)
		return nil, nil
	}
	var stuck, others []*peer
	var bindings []*binding
	for _, w := range waysTo(r.Engine, all) {
		other, o := enter(w, func(loop int) bool { return free < 0 || loop == free })
		free = o.conn.LoopNumber()
		p, b := enter(w, func(loop int) bool { return loop != free && !taken[loop] })
		taken[b.conn.LoopNumber()] = true
		stuck, others, bindings = append(stuck, p), append(others, other), append(bindings, b)
	}
	for _, p := range stuck {
		p.send(protocol.Message{Type: 2})
		receive(t, "the handler", entered)
	}
	eventually(t, "the stalls", func() bool { return e.Stats().Stalls == uint64(len(all)) })
	if n := logs.FilterMessageSnippet("stuck").Len(); n != len(all) {
		t.Errorf("the log has %d stalls, want each once: %v", n, logs.All())
	}
	for _, p := range others {
		p.ask(9, 1, "")
	}

	r.cancel()
	for _, p := range others {
		p.wantClose(protocol.ServerStopping)
		_ = p.Close()
	}
	began := time.Now()
	err := r.stop(t)
	if !errors.Is(err, engine.ErrStopTimeout) || !strings.Contains(err.Error(), "event loop") {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("stopping took %v", took)
	}
	for _, b := range bindings {
		b.wantEnd(t, protocol.ServerStopping)
	}
	close(release)
	for _, p := range peers {
		p.reset() // over a pipe that is not read a close_notify would wait
	}
	goleak.VerifyNone(t, ignore) // waits for the loops to end
}

// With Workers Run gives up on a stuck handler too, and the loops go on meanwhile.
func TestAHandlerThatIsStuckOnAWorker(t *testing.T) { eachTransport(t, aHandlerThatIsStuckOnAWorker) }

func aHandlerThatIsStuckOnAWorker(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	e := newEngine(engine.Config{Workers: 2, Timeouts: engine.Timeouts{Stop: 300 * time.Millisecond}})
	g := newGate(t, e)
	e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
	entered, release := make(chan struct{}), make(chan struct{})
	sent := make(chan error, 1)
	e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error {
		close(entered)
		<-release
		sent <- c.Send(1, nil)
		return nil
	})
	r := run(t, e)
	p, b := g.enter(t, r.addr)
	p.send(protocol.Message{Type: 2})
	receive(t, "the handler", entered)
	r.cancel()
	p.wantClose(protocol.ServerStopping) // the loop is free
	b.wantEnd(t, protocol.ServerStopping)
	_ = p.Close()
	err := r.stop(t)
	if !errors.Is(err, engine.ErrStopTimeout) || !strings.Contains(err.Error(), "worker") || strings.Contains(err.Error(), "loop") {
		t.Errorf("Run returned %v", err)
	}
	close(release)
	if err := receive(t, "what it sends later", sent); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("what the stuck handler sent later: %v", err)
	}
	goleak.VerifyNone(t, ignore)
}

// Rule 16: Run says how many sessions it gave up on.
func TestRunCountsWhatItGaveUpOn(t *testing.T) {
	e := newEngine(engine.Config{Timeouts: engine.Timeouts{Stop: 100 * time.Millisecond}})
	e.SetAdmission(leftovers(3))
	r := run(t, e)
	if err := r.stop(t); !errors.Is(err, engine.ErrStopTimeout) || !strings.Contains(err.Error(), "3 sessions") {
		t.Errorf("Run returned %v", err)
	}
}

// leftovers is an Admission that does not get rid of its sessions.
type leftovers int

func (leftovers) First(engine.Control, *protocol.Message) engine.Binding  { return nil }
func (leftovers) Addressed(*engine.Conn, *protocol.Message) (bool, error) { return false, nil }
func (n leftovers) Drain(ctx context.Context) int {
	<-ctx.Done()
	return int(n)
}

// An Admission need not want to know of a connection.
func TestAConnectionWithoutABinding(t *testing.T) {
	e := newEngine(engine.Config{})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte(m.UserID)) })
	e.SetAdmission(unbinding{})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1, ID: 1}, protocol.Message{Type: 1, ID: 2, UserID: "eve"})
	for range 2 { // rule 2
		if got := string(p.read().Body); got != "ann" {
			t.Errorf("a message was delivered as %q's", got)
		}
	}
	_ = p.Close()
	eventually(t, "the end", func() bool { return e.Stats().Conns.Open == 0 })
}

type unbinding struct{}

func (unbinding) First(k engine.Control, m *protocol.Message) engine.Binding {
	first := m.Clone()
	first.UserID = "ann"
	k.Admit(&engine.Admitted{UserID: "ann", Deliver: first})
	return nil
}
func (unbinding) Addressed(*engine.Conn, *protocol.Message) (bool, error) { return false, nil }
func (unbinding) Drain(context.Context) int                               { return 0 }

// A running engine leaves no goroutine behind, however it ends.
func TestAnEngineLeavesNothingBehind(t *testing.T) { eachTransport(t, anEngineLeavesNothingBehind) }

func anEngineLeavesNothingBehind(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	for _, workers := range []int{0, 3} {
		r := serve(t, newEcho(engine.Config{Workers: workers, Timeouts: engine.Timeouts{Close: 100 * time.Millisecond}}))
		for range 10 {
			dial(t, r.addr).ask(1, 1, "") // left open
		}
		if err := r.stop(t); err != nil {
			t.Error(err)
		}
	}
	goleak.VerifyNone(t, ignore)
}

// OnDropped is waited for as long as Timeouts.Stop says, whatever the transports of the connections: no less where the stop has no limit, and no more where it has.
func TestAStopWaitsForOnDropped(t *testing.T) {
	for name, limit := range map[string]time.Duration{"without a limit": -1, "with a limit": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := transports(t)
			entered, release := make(chan struct{}, 100), make(chan struct{})
			var told sync.Map // by connection
			e := newQuiet(onAll(t, all, engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 10}, SlowPolicy: engine.SlowDropNewest,
				Timeouts: engine.Timeouts{Close: 50 * time.Millisecond, Stop: limit},
				OnDropped: func(c *engine.Conn, _ protocol.Traffic) {
					entered <- struct{}{}
					<-release
					told.Store(c, true)
				}}))
			g := newGate(t, e)
			r := run(t, e)
			var conns []*engine.Conn
			for _, w := range waysTo(r.Engine, all) {
				_, b := g.enterOn(t, w.dialSlow(t))
				b.awaitAdmission(t)
				eventually(t, "a drop on "+w.name, func() (dropped bool) {
					for range 100 {
						dropped = dropped || errors.Is(b.conn.SendMessage(numbered(1), nil), engine.ErrDropped)
					}
					return dropped
				})
				conns = append(conns, b.conn)
			}
			receive(t, "OnDropped", entered)
			began := time.Now()
			r.cancel()
			if limit < 0 {
				select {
				case <-r.ended:
					t.Fatalf("Run returned %v while OnDropped was running", r.err)
				case <-time.After(1500 * time.Millisecond):
				}
				close(release)
			}
			receive(t, "Run", r.ended)
			if errors.Is(r.err, engine.ErrStopTimeout) != (limit > 0) || time.Since(began) < limit {
				t.Errorf("Run returned %v after %v", r.err, time.Since(began))
			}
			if limit > 0 {
				close(release)
				return
			}
			for _, c := range conns {
				if _, ok := told.Load(c); !ok {
					t.Errorf("OnDropped was not called for %s", c.Transport())
				}
			}
		})
	}
}

package engine_test

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rules 14 and 16: what a handler has replied before the notice is received by the client, all of it and nothing else,
// while every client goes on asking.
func TestEveryReplyBeforeTheNoticeIsReceived(t *testing.T) {
	eachTransportThat(t, (*transport).resets, everyReplyBeforeTheNoticeIsReceived) // those whose clients have addresses, by which they are counted
}

func everyReplyBeforeTheNoticeIsReceived(t *testing.T) {
	bothModes(t, func(t *testing.T, workers int) {
		const clients, flight = 20, 16
		e := newEngine(engine.Config{Workers: workers, Timeouts: engine.Timeouts{StopWindow: 100 * time.Millisecond}})
		var replied sync.Map // by the client's address: how many
		var total atomic.Int64
		e.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
			if c.Reply(m, m.Body) != nil {
				return nil
			}
			n, _ := replied.LoadOrStore(c.RemoteAddr().String(), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			total.Add(1)
			return nil
		})
		r := serve(t, e)
		var wg sync.WaitGroup
		received := make(map[string]int64)
		var mu sync.Mutex
		for range clients {
			p := dial(t, r.addr)
			wg.Go(func() {
				defer p.Close()
				id, n := uint32(0), int64(0)
				ask := func(k int) {
					var b []byte
					for range k {
						id++
						b, _ = protocol.Binary.Append(b, &protocol.Message{Type: 1, ID: id, Body: make([]byte, 100)})
					}
					_, _ = p.Write(b)
				}
				ask(flight)
				for {
					m, err := p.next()
					if err != nil {
						t.Errorf("after %d replies came %v, want a notice", n, err)
						return
					}
					if m.Type == protocol.TypeClose {
						if transportOf(t).name != "tcp" { // close_notify, or a Close of WebSocket's, comes behind it
							_, _ = p.next()
						}
						break
					}
					if n++; m.ID != uint32(n) {
						t.Errorf("reply %d is to request %d", n, m.ID)
						return
					}
					ask(1)
				}
				mu.Lock()
				received[p.LocalAddr().String()] = n
				mu.Unlock()
			})
		}
		eventually(t, "replies to everybody", func() bool {
			served := 0
			replied.Range(func(any, any) bool { served++; return true })
			return served == clients && total.Load() > 100*clients
		})
		err := r.stop(t)
		wg.Wait()
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
		if len(received) != clients {
			t.Errorf("%d clients had a notice, want %d", len(received), clients)
		}
		for addr, got := range received {
			n, _ := replied.Load(addr)
			if want := n.(*atomic.Int64).Load(); got != want {
				t.Errorf("a client received %d replies of %d", got, want)
			}
		}
		if rep := e.Stats().Stop; rep.Told != clients || rep.Connections != clients {
			t.Errorf("the report says: %v", rep)
		}
	})
}

// A handler that is at work when the engine stops finishes before Run returns.
func TestRunWaitsForHandlersAtWork(t *testing.T) {
	eachTransport(t, runWaitsForHandlersAtWork)
}

func runWaitsForHandlersAtWork(t *testing.T) {
	bothModes(t, func(t *testing.T, workers int) {
		e := newEngine(engine.Config{Workers: workers})
		entered, release := make(chan struct{}), make(chan struct{})
		var finished atomic.Bool
		e.Handle(1, func(*engine.Conn, *protocol.Message) error {
			close(entered)
			<-release
			finished.Store(true)
			return nil
		})
		r := serve(t, e)
		p := dial(t, r.addr)
		p.send(protocol.Message{Type: 1})
		receive(t, "the handler", entered)
		r.cancel()
		if workers > 0 { // the connection itself is done with
			p.wantClose(protocol.ServerStopping)
			_ = p.Close()
			eventually(t, "the connection is gone", func() bool { return e.Stats().Conns.Open == 0 })
		}
		select {
		case <-r.ended:
			t.Error("Run returned while a handler was at work")
		case <-time.After(50 * time.Millisecond):
		}
		close(release)
		if workers == 0 {
			p.wantClose(protocol.ServerStopping)
			_ = p.Close()
		}
		if err := r.stop(t); err != nil || !finished.Load() {
			t.Errorf("Run returned %v, the handler has finished: %v", err, finished.Load())
		}
	})
}

// farewellNotice is a client's notice and when it came.
type farewellNotice struct {
	at     time.Time
	retry  time.Duration
	served time.Time // when the last reply before it came
}

// hearNotice goes on asking until the notice comes.
func hearNotice(t *testing.T, p *peer) (f farewellNotice) {
	defer p.Close()
	for id := uint32(2); ; time.Sleep(2 * time.Millisecond) { // leaves the processor to the others
		b, _ := protocol.Binary.Append(nil, &protocol.Message{Type: 1, ID: id})
		id++
		_, _ = p.Write(b)
		m, err := p.next()
		if err != nil {
			t.Errorf("got %v, want a notice", err)
			return f
		}
		if m.Type != protocol.TypeClose {
			f.served = time.Now()
			continue
		}
		f.at = time.Now()
		why, err := protocol.ParseClose(m.Body)
		if err != nil || why.Code != protocol.ServerStopping {
			t.Errorf("got %v, %v", why, err)
			return f
		}
		ms, _ := strconv.Atoi(why.Info[protocol.FieldRetryMS])
		f.retry = time.Duration(ms) * time.Millisecond
		return f
	}
}

// notices has so many clients connect, calls stop, and returns when that was and their notices in the order in which they
// came.
func notices(t *testing.T, r *running, clients int, stop func()) (began time.Time, all []farewellNotice) {
	t.Helper()
	all = make([]farewellNotice, clients)
	var wg sync.WaitGroup
	for i := range all {
		p := dial(t, r.addr)
		p.ask(1, 1, "")
		wg.Go(func() { all[i] = hearNotice(t, p) })
	}
	began = time.Now()
	stop()
	wg.Wait()
	slices.SortFunc(all, func(a, b farewellNotice) int { return a.at.Compare(b.at) })
	return began, all
}

// Config.StopWindow: the notices come evenly over it, and so do the times after which clients are to come back; who is not
// told yet is served.
func TestNoticesAreSpreadOverTheWindow(t *testing.T) {
	const clients, window = 21, 400 * time.Millisecond
	r := serve(t, newEcho(engine.Config{Timeouts: engine.Timeouts{StopWindow: window}}))
	began, all := notices(t, r, clients, r.cancel)
	first, last := all[0], all[clients-1]
	if took := last.at.Sub(began); took < window*9/10 {
		t.Errorf("all were told within %v, want %v", took, window)
	}
	for i, n := range all { // never before its time, but perhaps late: the machine is busy
		share := window * time.Duration(i) / (clients - 1)
		if after := n.at.Sub(began); after < share-40*time.Millisecond {
			t.Errorf("notice %d came after %v, want %v", i, after, share)
		}
	}
	if last.served.Before(first.at) {
		t.Error("the last client was served no more when the first was told")
	}
	slices.SortFunc(all, func(a, b farewellNotice) int { return int(a.retry - b.retry) })
	for i, n := range all {
		if want := window * time.Duration(i) / (clients - 1); n.retry != want {
			t.Errorf("client %d is to wait %v, want %v", i, n.retry, want)
		}
	}
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

// Without a window all are told at once, and nothing of when to come back.
func TestWithoutAWindowNobodyIsToldToWait(t *testing.T) {
	r := serve(t, newEcho(engine.Config{}))
	_, all := notices(t, r, 3, r.cancel)
	for _, n := range all {
		if n.retry != 0 {
			t.Errorf("a client is to wait %v", n.retry)
		}
	}
}

// Rule 16: an engine that fails tells its clients at once, whatever the window, and Run returns why.
func TestAnEngineThatFailsDoesNotWaitForTheWindow(t *testing.T) {
	r := run(t, newEcho(engine.Config{Timeouts: engine.Timeouts{StopWindow: time.Hour}}))
	failure := errors.New("the test's")
	notices(t, r, 3, func() { r.Fail(failure) })
	if err := r.stop(t); !errors.Is(err, failure) {
		t.Errorf("Run returned %v", err)
	}
}

// The notices take no more than half of the time that the stop has. The times to come back stay spread over the whole window.
func TestTheWindowKeepsToTheTimeOfTheStop(t *testing.T) {
	const clients, window = 5, time.Hour
	r := run(t, newEcho(engine.Config{Timeouts: engine.Timeouts{StopWindow: window, Stop: 2 * time.Second}}))
	began := time.Now()
	_, all := notices(t, r, clients, r.cancel)
	if err := r.stop(t); err != nil {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("stopping took %v", took)
	}
	if longest := slices.MaxFunc(all, func(a, b farewellNotice) int { return int(a.retry - b.retry) }); longest.retry != window {
		t.Errorf("the last is to wait %v, want %v", longest.retry, window)
	}
}

// A stop closes by force what is left after Timeouts.Stop, and the report says how many connections ended how, over each transport.
func TestTheReportSaysHowManyOfEach(t *testing.T) {
	t.Parallel() // it mostly waits
	all := transports(t)
	e := newEcho(onAll(t, all, engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 20}, Timeouts: engine.Timeouts{Stop: 5 * time.Second}}))
	conns := make(chan *engine.Conn, 1)
	e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error { conns <- c; return nil })
	e.Handle(3, func(c *engine.Conn, _ *protocol.Message) error { c.Close(protocol.KickedOut); return nil })
	r := run(t, e)
	ways := waysTo(r.Engine, all)
	for _, w := range ways { // gone before the stop: not in the report
		left, kicked := w.dial(t), w.dial(t)
		left.ask(1, 1, "")
		_ = left.Close()
		kicked.send(protocol.Message{Type: 3})
		kicked.wantClose(protocol.KickedOut)
		_ = kicked.Close()
	}
	eventually(t, "the end of the earlier connections", func() bool { return e.Stats().Conns.Open == 0 })

	n := len(ways)
	var told, leaving []*peer
	for _, w := range ways {
		for range 3 {
			told = append(told, w.dial(t))
		}
		leaving = append(leaving, w.dial(t))
		deaf := w.dial(t)
		deaf.send(protocol.Message{Type: 2})
		c := receive(t, "the connection of the deaf peer", conns)
		for range w.fills(30<<20) / (256 << 10) {
			if err := c.Send(1, make([]byte, 256<<10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range append(slices.Clone(told), leaving...) {
		p.ask(1, 1, "")
	}
	r.cancel()
	resets := 0
	for i, p := range leaving {
		if m := p.read(); m.Type != protocol.TypeClose {
			t.Fatalf("got %v, want a notice", m)
		}
		if ways[i].resets() {
			resets++
			p.reset()
			continue
		}
		p.wantEOF() // without a reset it is one more that was told
		_ = p.Close()
	}
	for _, p := range told {
		p.wantClose(protocol.ServerStopping)
		_ = p.Close()
	}
	if err := r.stop(t); !errors.Is(err, engine.ErrStopTimeout) {
		t.Errorf("Run returned %v", err)
	}
	rep := e.Stats().Stop
	if rep.Took < time.Second || rep.Took > patience {
		t.Errorf("stopping took %v", rep.Took)
	}
	rep.Took = 0
	if want := (engine.StopReport{Connections: 5 * n, Told: 4*n - resets, ClosedByPeer: resets, Forced: n}); rep != want {
		t.Errorf("the report says: %v; want: %v", rep, want)
	}
	if o, want := e.Stats().Outcomes, (map[protocol.CloseOutcome]uint64{protocol.OutcomeTold: uint64(5*n - resets),
		protocol.OutcomeClosedByPeer: uint64(n + resets), protocol.OutcomeForced: uint64(n)}); !maps.Equal(o, want) {
		t.Errorf("in all: %+v, want %+v", o, want)
	}
}

// What a handler that blocks its loop keeps from closing is in the report too, over each transport.
func TestTheReportCountsWhatCannotBeClosed(t *testing.T) {
	t.Parallel() // it mostly waits
	all := transports(t)
	e := newEcho(onAll(t, all, engine.Config{Loops: 1, Timeouts: engine.Timeouts{Stop: 100 * time.Millisecond}}))
	entered, release := make(chan struct{}), make(chan struct{})
	e.Handle(2, func(*engine.Conn, *protocol.Message) error {
		close(entered)
		<-release
		return nil
	})
	r := run(t, e)
	var peers []*peer
	for _, w := range waysTo(r.Engine, all) {
		p := w.dial(t)
		p.ask(1, 1, "")
		peers = append(peers, p)
	}
	peers[0].send(protocol.Message{Type: 2})
	receive(t, "the handler", entered)
	if rep := e.Stats().Stop; rep != (engine.StopReport{}) {
		t.Errorf("while it runs the report says: %v", rep)
	}
	err := r.stop(t)
	close(release)
	if !errors.Is(err, engine.ErrStopTimeout) {
		t.Errorf("Run returned %v", err)
	}
	if rep := e.Stats().Stop; rep.Left != len(all) || rep.Connections != len(all) {
		t.Errorf("the report says: %v", rep)
	}
	for _, p := range peers {
		p.wantEventualEnd()
	}
}

// wantEventualEnd waits until the connection is over, however.
func (p *peer) wantEventualEnd() {
	p.t.Helper()
	for {
		if _, err := p.next(); err != nil {
			return
		}
	}
}

// Rule 16: Run gives up on sessions, and the report counts them.
func TestTheReportCountsSessions(t *testing.T) {
	e := newEngine(engine.Config{Timeouts: engine.Timeouts{Stop: 100 * time.Millisecond}})
	e.SetAdmission(leftovers(3))
	_ = run(t, e).stop(t)
	if rep := e.Stats().Stop; rep.Sessions != 3 || rep.Connections != 0 {
		t.Errorf("the report says: %v", rep)
	}
}

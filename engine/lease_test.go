package engine_test

import (
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// leased gives an engine a lease that lasts until the function that it returns is called.
func leased(e *engine.Engine) (end func()) {
	l := seam.NewLease(func() time.Duration { return time.Minute })
	l.SetEnd(time.Hour)
	hidden(e).SetLease(l)
	return func() { l.SetEnd(0) }
}

// Rule 21: what comes when the lease of the cluster's node is over is not delivered: messages, heartbeats, and system messages that a
// package handles. The connection is closed with NodeLost, so that its client knows.
func TestNothingIsDeliveredAfterTheLease(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		bothModes(t, func(t *testing.T, workers int) {
			for what, m := range map[string]protocol.Message{
				"a message":   {Type: 1, ID: 2},
				"a heartbeat": {Type: protocol.TypeHeartbeat, ID: 2},
				"a Renew":     {Type: protocol.TypeRenew, ID: 2},
			} {
				t.Run(what, func(t *testing.T) {
					e := newEngine(engine.Config{Workers: workers})
					var handled atomic.Int64
					count := func(c *engine.Conn, m *protocol.Message) error {
						handled.Add(1)
						return c.Reply(m, nil)
					}
					e.Handle(1, count)
					e.Handle(protocol.TypeRenew, count)
					end := leased(e)
					g := newGate(t, e)
					p, b := g.enter(t, serve(t, e).addr)
					p.read()
					p.ask(m.Type, 2, "")
					before, beats := handled.Load(), b.beats.Load()
					end()
					p.send(m, m, m)
					p.wantClose(protocol.NodeLost)
					b.wantEnd(t, protocol.NodeLost)
					if got := handled.Load(); got != before {
						t.Errorf("%d messages were handled after the lease", got-before)
					}
					if got := b.beats.Load(); got != beats {
						t.Errorf("%d signs of life counted after the lease", got-beats)
					}
				})
			}
		})
	})
}

// Rule 21: with Workers the lease is looked at before each handler, because a message may have waited while it ran out.
func TestAMessageThatWaitedUntilTheLeaseWasOverIsNotHandled(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		e := newEngine(engine.Config{Workers: 1})
		entered, release := make(chan struct{}), make(chan struct{})
		var handled atomic.Int64
		e.Handle(1, echo)
		e.Handle(2, func(*engine.Conn, *protocol.Message) error {
			close(entered)
			<-release
			return nil
		})
		e.Handle(3, func(*engine.Conn, *protocol.Message) error {
			handled.Add(1)
			return nil
		})
		end := leased(e)
		g := newGate(t, e)
		p, b := g.enter(t, serve(t, e).addr)
		p.read()
		p.send(protocol.Message{Type: 2}, protocol.Message{Type: 3}, protocol.Message{Type: 3}, protocol.Message{Type: protocol.TypeHeartbeat, ID: 9})
		receive(t, "the handler's start", entered)
		if m := p.read(); m.ID != 9 { // all have been read
			t.Fatalf("got %v", m)
		}
		end()
		close(release)
		p.wantClose(protocol.NodeLost)
		b.wantEnd(t, protocol.NodeLost)
		if n := handled.Load(); n != 0 {
			t.Errorf("%d messages were handled after the lease", n)
		}
	})
}

// Rule 21: with Workers, what a peer sent before it ended its side is handled until the lease is over.
func TestWhatAPeerLeftBehindIsNotHandledAfterTheLease(t *testing.T) {
	e := newEngine(engine.Config{Workers: 1})
	entered, release := make(chan struct{}), make(chan struct{})
	var handled atomic.Int64
	e.Handle(1, func(*engine.Conn, *protocol.Message) error {
		close(entered)
		<-release
		return nil
	})
	e.Handle(2, func(*engine.Conn, *protocol.Message) error {
		handled.Add(1)
		return nil
	})
	end := leased(e)
	g := newGate(t, e)
	p, b := g.enter(t, serve(t, e).addr)
	receive(t, "the handler's start", entered)
	p.send(protocol.Message{Type: 2}, protocol.Message{Type: protocol.TypeHeartbeat, ID: 9})
	p.read()
	p.reset()
	eventually(t, "the socket's end", func() bool { return errors.Is(b.conn.Send(1, nil), engine.ErrClosed) })
	end()
	close(release)
	receive(t, "the end", b.firstEnd)
	if n := handled.Load(); n != 0 {
		t.Errorf("%d messages were handled after the lease", n)
	}
}

// Rule 21: an answer of the client that comes after the lease is not delivered either; the request ends with ErrClosed.
func TestAnAnswerAfterTheLeaseIsNotDelivered(t *testing.T) {
	bothModes(t, func(t *testing.T, workers int) {
		e := newEngine(engine.Config{Workers: workers})
		end := leased(e)
		e.Handle(1, echo)
		g := newGate(t, e)
		p, b := g.enter(t, serve(t, e).addr)
		p.read()
		outcome := make(chan error, 1)
		if err := b.conn.RequestFunc(5, nil, time.Minute, func(_ *protocol.Message, err error) { outcome <- err }); err != nil {
			t.Fatal(err)
		}
		m := p.read()
		end()
		p.send(protocol.Message{Type: m.Type, Flags: protocol.FlagReply, ID: m.ID})
		if err := receive(t, "the outcome", outcome); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("the request ended with %v", err)
		}
		p.wantClose(protocol.NodeLost)
	})
}

// A logon that comes after the lease goes to the admission, which refuses it with a reason.
func TestALogonAfterTheLeaseIsRefusedByTheAdmission(t *testing.T) {
	e := newEngine(engine.Config{})
	end := leased(e)
	g := newGate(t, e)
	g.first = func(k engine.Control, _ *protocol.Message, _ *binding) {
		k.Refuse(nil, protocol.Errorf(protocol.InternalError, "not now"))
	}
	end()
	p, _ := g.enter(t, serve(t, e).addr)
	p.wantClose(protocol.InternalError)
}

// Clients that a fence closes are told to come back at different times, over StopWindow.
func TestClientsThatAFenceClosesComeBackOverStopWindow(t *testing.T) {
	const window, clients = time.Minute, 20
	e := newEcho(engine.Config{Timeouts: engine.Timeouts{StopWindow: window, Stop: 10 * time.Second}})
	end := leased(e)
	g := newGate(t, e)
	r := run(t, e)
	var peers []*peer
	for range clients {
		p, _ := g.enter(t, r.addr)
		p.read()
		peers = append(peers, p)
	}
	end()
	waits := make(map[time.Duration]bool)
	for _, p := range peers {
		p.send(protocol.Message{Type: 1})
		ce, err := protocol.ParseClose(p.read().Body)
		if err != nil || ce.Code != protocol.NodeLost {
			t.Fatal(ce, err)
		}
		ms, _ := strconv.Atoi(ce.Info[protocol.FieldRetryMS])
		wait := time.Duration(ms) * time.Millisecond
		if wait > window {
			t.Errorf("a client is told to wait %v", wait)
		}
		waits[wait/(window/10)] = true
		p.Close()
	}
	if len(waits) < 3 { // 20 draws from ten parts of the window
		t.Errorf("all clients come back in %d tenths of the window", len(waits))
	}
}

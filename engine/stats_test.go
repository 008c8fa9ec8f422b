package engine_test

import (
	"maps"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

func TestStatsCountConnectionsByState(t *testing.T) {
	bothModes(t, func(t *testing.T, workers int) {
		e := newEngine(engine.Config{Workers: workers, Limits: engine.Limits{MaxOutbound: 64 << 20}, Timeouts: engine.Timeouts{Close: 5 * time.Second}})
		g := newGate(t, e)
		hold := make(chan engine.Control, 1)
		e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
		r := serve(t, e)
		want := func(what string, s engine.ConnStats) {
			t.Helper()
			eventually(t, what, func() bool {
				got := e.Stats()
				s.Open = s.Accepted + s.Verifying + s.Bound + s.Closing
				return got.Conns == s
			})
		}
		silent := dial(t, r.addr)
		want("one is accepted", engine.ConnStats{Accepted: 1})
		in, b := g.enter(t, r.addr)
		want("one is bound", engine.ConnStats{Accepted: 1, Bound: 1})
		g.swap(&gate{arrived: make(chan *binding, 1), first: func(k engine.Control, _ *protocol.Message, _ *binding) { hold <- k }})
		waiting := dial(t, r.addr)
		waiting.send(protocol.Message{Type: 1, UserID: "bob"})
		held := receive(t, "the first message", hold)
		want("one is with the admission", engine.ConnStats{Accepted: 1, Verifying: 1, Bound: 1})
		for range 60 { // more than the peer, which does not read, and its kernel take
			_ = b.conn.Send(1, make([]byte, 512<<10))
		}
		b.conn.Close(protocol.KickedOut)
		want("one is closing", engine.ConnStats{Accepted: 1, Verifying: 1, Closing: 1})
		held.Admit(&engine.Admitted{UserID: "bob"})
		want("the admission has decided", engine.ConnStats{Accepted: 1, Bound: 1, Closing: 1})
		for _, p := range []*peer{silent, in, waiting} {
			_ = p.Close()
		}
		want("all have gone", engine.ConnStats{})
	})
}

func TestStatsCountMessagesAndBytes(t *testing.T) {
	for _, bound := range []bool{false, true} {
		e := newEcho(engine.Config{Loops: 2})
		if bound {
			newGate(t, e)
		}
		r := serve(t, e)
		var want protocol.Traffic
		for range 4 {
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
			p.read()
			want.Messages++
			want.Bytes += layout.HeaderLen + 3
			for id := uint32(2); id < 12; id++ {
				p.ask(1, id, "0123456789")
				want.Messages++
				want.Bytes += layout.HeaderLen + 10
			}
			p.ask(protocol.TypeHeartbeat, 99, "") // upkeep
		}
		wantOut := protocol.Traffic{Messages: want.Messages, Bytes: want.Bytes - 3*4} // replies have no user ID
		eventually(t, "the loops have told what they counted", func() bool {
			s := e.Stats()
			return s.In == want && s.Out == wantOut
		})
		if err := r.stop(t); err != nil {
			t.Error(err)
		}
		if s := e.Stats(); s.In != want || s.Out != wantOut || s.Accepted != 4 {
			t.Errorf("after the end: %+v", s)
		}
	}
}

// What was counted since the last look of the watchdog is there when Run has returned.
func TestStatsAreExactAfterRun(t *testing.T) {
	e := newEcho(engine.Config{})
	r := serve(t, e)
	p := dial(t, r.addr)
	p.ask(1, 1, "")
	_ = p.Close()
	_ = r.stop(t)
	if s := e.Stats(); s.In.Messages != 1 || s.Out.Messages != 1 {
		t.Errorf("counted %+v in, %+v out", s.In, s.Out)
	}
}

func TestStatsCountClosesByCode(t *testing.T) {
	const own = protocol.CloseCode(3456)
	e := newEcho(engine.Config{Accept: engine.Accept{MaxConnections: 1}, Limits: engine.Limits{MaxBody: 100}})
	e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error { c.Close(own); return nil })
	e.Handle(3, func(*engine.Conn, *protocol.Message) error { panic("on purpose") })
	r := serve(t, e)
	for _, how := range []func(p *peer){
		func(p *peer) { _ = p.Close() },
		func(p *peer) { p.send(protocol.Message{Type: protocol.TypeClose}) },
		func(p *peer) { p.reset() },
		func(p *peer) { p.sendRaw(make([]byte, 100)) },
		func(p *peer) { p.send(protocol.Message{Type: 1, Body: make([]byte, 101)}) },
		func(p *peer) { p.send(protocol.Message{Type: 2}) },
		func(p *peer) { p.send(protocol.Message{Type: 3}) },
		func(p *peer) { dial(t, r.addr).wantClose(protocol.TooManyConnections) },
	} {
		p := dial(t, r.addr)
		p.ask(1, 1, "")
		how(p)
		if e.Stats().Refused == (engine.Refusals{}) {
			p.wantEventualEnd()
		}
		_ = p.Close()
		eventually(t, "the connection is gone", func() bool { return e.Stats().Conns.Open == 0 })
	}
	s := e.Stats()
	want := map[protocol.CloseCode]uint64{protocol.ClientClosed: 3, protocol.NetworkError: 1, protocol.InvalidMessage: 1,
		protocol.MessageTooLarge: 1, own: 1, protocol.InternalError: 1, protocol.TooManyConnections: 1}
	if !maps.Equal(s.Closed, want) {
		t.Errorf("closed: %v, want %v", s.Closed, want)
	}
	if s.HandlerPanics != 1 || s.Refused != (engine.Refusals{Full: 1}) || s.Accepted != 9 {
		t.Errorf("%d panics, %+v refused, %d accepted", s.HandlerPanics, s.Refused, s.Accepted)
	}
}

func TestStatsCountWhatWaitsForAClient(t *testing.T) {
	const limit, body = 32 << 20, 512 << 10
	e := newEcho(engine.Config{Limits: engine.Limits{MaxOutbound: limit}})
	conns := make(chan *engine.Conn, 1)
	e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error { conns <- c; return nil })
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 2})
	c := receive(t, "the connection", conns)
	sent := 0
	for ; sent < 60; sent++ {
		if err := c.Send(1, make([]byte, body)); err != nil {
			t.Fatal(err)
		}
	}
	// The kernel takes some megabytes of the thirty.
	eventually(t, "the queue is seen", func() bool {
		q := e.Stats().OutboundQueue
		return q > 15<<20 && q <= int64(sent)*(body+layout.HeaderLen)
	})
	for range sent {
		p.read()
	}
	eventually(t, "the queue is empty", func() bool { return e.Stats().OutboundQueue == 0 })

	for err := error(nil); err == nil; {
		err = c.Send(1, make([]byte, body))
	}
	if d := e.Stats().Dropped; d != (protocol.Traffic{Messages: 1, Bytes: body + layout.HeaderLen}) {
		t.Errorf("dropped %+v, want one message", d)
	}
	_ = p.Close()
	eventually(t, "what waited for a connection that is gone waits no more", func() bool { return e.Stats().OutboundQueue == 0 })
}

func TestStatsCountWhatWaitsForWorkers(t *testing.T) {
	e := newEngine(engine.Config{Workers: 1})
	release := make(chan struct{})
	e.HandleDefault(func(*engine.Conn, *protocol.Message) error { <-release; return nil })
	p := dial(t, serve(t, e).addr)
	const waiting = 10
	for range waiting + 1 {
		p.send(protocol.Message{Type: 1, Body: make([]byte, 84)})
	}
	eventually(t, "all but one wait", func() bool { return e.Stats().InboundQueue == waiting*100 })
	close(release)
	eventually(t, "none waits", func() bool { return e.Stats().InboundQueue == 0 })
	_ = p.Close()
}

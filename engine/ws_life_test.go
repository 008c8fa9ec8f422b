package engine_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// pulsing is a gate that tells a heartbeat timeout of one and a half seconds.
type pulsing struct{ *gate }

func (pulsing) Heartbeat() (timeout, interval time.Duration) { return 1500 * time.Millisecond, 0 }

// Rule 8: by default a client from which nothing comes is pinged after a third of the heartbeat timeout; with a negative
// WebSocket.PingInterval it is never pinged.
func TestANegativePingIntervalMeansNoPings(t *testing.T) {
	t.Parallel() // it mostly waits
	e := newEcho(engine.Config{Listeners: []engine.Listener{{WebSocket: &engine.WebSocket{PingInterval: -1}}, {WebSocket: &engine.WebSocket{}}}, Loops: 1})
	g := pulsing{&gate{arrived: make(chan *binding, 2)}}
	e.SetAdmission(g)
	r := serve(t, e)
	never, _ := g.enterOn(t, dialWeb(t, r))
	often, _ := g.enterOn(t, newPeer(t, upgraded(t, bare(t, e.Addrs()[1].String(), nil), "localhost")))
	never.read()
	often.read()
	w := often.web()
	w.until(t, "Pings", func() bool { return w.pings >= 3 })
	never.ask(1, 2, "")
	never.ask(1, 3, "")
	if n := never.web().pings; n != 0 {
		t.Errorf("there were %d Pings", n)
	}
}

// Rule 15: while a client takes nothing one Pong waits for it, for its latest Ping (RFC 6455 section 5.5.3): a client cannot make the server
// keep more. The Pong comes when the client takes what was sent before.
func TestOnePongWaitsForAClientThatTakesNothing(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		const size, pings = 512 << 10, 5
		const messages = slowBuffers/size + 2
		e := newEcho(engine.Config{Limits: engine.Limits{MaxOutbound: (messages + 2) * size}, Timeouts: engine.Timeouts{Write: -1}})
		var heard atomic.Int64
		e.Handle(3, func(*engine.Conn, *protocol.Message) error { heard.Add(1); return nil })
		g := newGate(t, e)
		p, b := g.enterSlow(t, serve(t, e).addr)
		p.read()
		for range messages {
			if err := b.conn.Send(7, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "a message waits", func() bool { return e.Stats().OutboundQueue > 0 })
		w := p.web()
		for i := range pings {
			w.write(t, wsFrame(9, true, []byte(fmt.Sprint("ping ", i))), wsFrame(2, true, frame(t, protocol.Message{Type: 3})))
			eventually(t, "the read after the Ping", func() bool { return heard.Load() == int64(i+1) })
		}
		w.noted = true
		for range messages {
			if m := p.read(); m.Type != 7 || len(m.Body) != size {
				t.Fatalf("got %v", m)
			}
		}
		p.ask(1, 2, "") // otherwise the Pong would wait for the loop's next look
		w.until(t, "the Pong", func() bool { return len(w.pongs()) > 0 })
		p.ask(1, 3, "")
		if got, want := w.pongs(), []string{fmt.Sprint("ping ", pings-1)}; !slices.Equal(got, want) {
			t.Errorf("the Pongs are %q, want %q", got, want)
		}
		w.got = nil
		w.write(t, wsFrame(9, true, []byte("now")))
		w.until(t, "a Pong at once", func() bool { return slices.Equal(w.pongs(), []string{"now"}) })
	})
}

// Rule 8: a frame of the codec that has begun and does not end is a sign of life for Timeouts.UnfinishedFrame, and Pings and Pongs behind it
// do not make that longer. With the rest of the frame they are signs of life again.
func TestControlFramesDoNotRenewAnUnfinishedFrame(t *testing.T) {
	eachWebSocket(t, func(t *testing.T) {
		const timeout = time.Second
		e := newEcho(engine.Config{Timeouts: engine.Timeouts{UnfinishedFrame: timeout}, Loops: 1})
		g := newGate(t, e)
		p, b := g.enter(t, serve(t, e).addr)
		p.read()
		w := p.web()
		w.noted = true
		beat := func() bool { // the Pong comes after the Ping has counted, or not
			n, pongs := b.beats.Load(), len(w.pongs())
			w.write(t, wsFrame(10, true, nil), wsFrame(9, true, nil))
			w.until(t, "a Pong", func() bool { return len(w.pongs()) > pongs })
			return b.beats.Load() > n
		}
		if !beat() {
			t.Error("a Ping is no sign of life")
		}
		began := time.Now()
		whole := frame(t, protocol.Message{Type: 1, ID: 2, Body: []byte("late")})
		w.write(t, wsFrame(2, false, whole[:len(whole)-1]))
		if !beat() && time.Since(began) < timeout/2 {
			t.Error("a Ping behind the beginning of a frame is no sign of life")
		}
		eventually(t, "the end of the frame's time", func() bool { return !beat() })
		if took := time.Since(began); took < timeout*9/10 {
			t.Errorf("the frame's time was over after %v", took)
		}
		if beat() {
			t.Error("a Ping after Timeouts.UnfinishedFrame is a sign of life")
		}
		w.write(t, wsFrame(0, true, whole[len(whole)-1:]))
		if m := p.read(); string(m.Body) != "late" {
			t.Errorf("got %v", m)
		}
		if !beat() {
			t.Error("a Ping behind the end of the frame is no sign of life")
		}
	})
}

//go:build !race

package engine_test

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// countMallocs runs round n times, after a few for warming up, and returns the heap allocations of the whole process.
func countMallocs(n int, round func()) uint64 {
	for range 2 { // other tests have left small buffers in the pools, which would grow one after another
		runtime.GC()
	}
	for range 1 + n/10 {
		round()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		round()
	}
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// exchange writes frames and reads as many bytes as answer them, without an allocation of its own.
func exchange(t testing.TB, nc net.Conn, frames, answers []byte) {
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := nc.Write(frames); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, answers); err != nil {
		t.Fatal(err)
	}
}

// allocsAllowed is what the timers and the clock of the process may take while 100,000 messages flow.
const allocsAllowed = 500

// The message path allocates nothing: receive, handler, Reply; with and without an Admission, which counts.
func TestTheMessagePathAllocatesNothing(t *testing.T) {
	const rounds, batch = 1000, 100
	for _, c := range []struct {
		name   string
		gated  bool
		leased bool
		userID string
	}{{name: "bare"}, {name: "admitted", gated: true}, {name: "admitted, in a cluster", gated: true, leased: true},
		{name: "admitted, every frame under its UserID", gated: true, userID: "ann"}} {
		t.Run(c.name, func(t *testing.T) {
			e := newEcho(engine.Config{})
			if c.gated {
				newGate(t, e)
			}
			if c.leased {
				l := seam.NewLease(clock.SinceBoot)
				l.SetEnd(clock.SinceBoot() + time.Hour)
				hidden(e).SetLease(l)
			}
			r := serve(t, e)
			p := dial(t, r.addr)
			p.send(protocol.Message{Type: 1, ID: 1, UserID: "ann"})
			p.read()

			var frames []byte
			body := make([]byte, 64)
			for range batch {
				frames = append(frames, frame(t, protocol.Message{Type: 1, ID: 1, UserID: c.userID, DestUserID: "bob", Body: body})...)
			}
			answers := make([]byte, batch*(layout.HeaderLen+len(body)))
			n := countMallocs(rounds, func() { exchange(t, p.Conn, frames, answers) })
			t.Logf("%d allocations for %d messages", n, rounds*batch)
			if n > allocsAllowed {
				t.Errorf("%d allocations for %d messages", n, rounds*batch)
			}
		})
	}
}

// Send allocates nothing either, once the buffers have grown: from a goroutine, and from a handler.
func TestSendAllocatesNothing(t *testing.T) {
	const rounds, batch = 1000, 100
	e := newEngine(engine.Config{})
	conns := make(chan *engine.Conn, 1)
	body := make([]byte, 64)
	e.Handle(1, func(c *engine.Conn, _ *protocol.Message) error { conns <- c; return nil })
	e.Handle(2, func(c *engine.Conn, _ *protocol.Message) error { _ = c.Send(2, body); return nil })
	r := serve(t, e)
	p := dial(t, r.addr)
	p.send(protocol.Message{Type: 1})
	c := receive(t, "a connection", conns)
	answers := make([]byte, batch*(layout.HeaderLen+len(body)))
	var frames []byte
	for range batch {
		frames = append(frames, frame(t, protocol.Message{Type: 2})...)
	}
	for name, write := range map[string]func(){
		"from a goroutine": func() {
			for range batch {
				if err := c.Send(2, body); err != nil {
					t.Fatal(err)
				}
			}
			exchange(t, p.Conn, nil, answers)
		},
		"from a handler": func() { exchange(t, p.Conn, frames, answers) },
	} {
		n := countMallocs(rounds, write)
		t.Logf("%s: %d allocations for %d messages", name, n, rounds*batch)
		if n > allocsAllowed {
			t.Errorf("%s: %d allocations for %d messages", name, n, rounds*batch)
		}
	}
}

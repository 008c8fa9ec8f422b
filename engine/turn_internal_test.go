package engine

import (
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// countingWaker counts how often a loop was woken, by itself too.
type countingWaker struct {
	net.Conn
	wakes atomic.Int32
}

func (w *countingWaker) Write(p []byte) (int, error) {
	w.wakes.Add(1)
	return len(p), nil
}

func newTurns(t *testing.T, conns int) (*Engine, *loop, *countingWaker, []*Conn) {
	e := testkit.Must(New(Config{}))
	w := &countingWaker{}
	l := &loop{engine: e, waker: w}
	t.Cleanup(func() { stopAttending(l) })
	all := make([]*Conn, conns)
	for i := range all {
		all[i] = &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{&recordingConn{}}, loop: l}
		all[i].state.Store(stateBound)
	}
	return e, l, w, all
}

func writtenTo(conns []*Conn) (n int) {
	for _, c := range conns {
		if len(c.tcp.gc.(*recordingConn).written) > 0 {
			n++
		}
	}
	return n
}

// A turn of a loop writes to so many connections that a broadcast goes to and no more, and then has itself woken again, behind
// the input that has come. Those that are sent something by themselves meanwhile come first.
func TestATurnWritesToSoManyConnections(t *testing.T) {
	e, l, w, conns := newTurns(t, 1000)
	m := &protocol.Message{Type: 1, Body: []byte("all")}
	if n, err := e.Broadcast(slices.Values(conns), m, nil); n != len(conns) || err != nil {
		t.Fatalf("Broadcast returned %d, %v", n, err)
	}
	last := conns[len(conns)-1]
	if err := last.Send(2, []byte("by itself")); err != nil { // its turn would come last
		t.Fatal(err)
	}
	other := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{&recordingConn{}}, loop: l}
	other.state.Store(stateBound)
	_ = other.Send(2, nil)
	turns := 0
	for before := 0; before < len(conns); turns++ {
		if int(w.wakes.Load()) != turns+1 {
			t.Fatalf("after %d turns the loop was woken %d times", turns, w.wakes.Load())
		}
		l.run()
		if writtenTo([]*Conn{other}) == 0 {
			t.Fatal("what was sent to one connection waits behind a broadcast")
		}
		now := writtenTo(conns)
		if now-before > 64 || now == before {
			t.Fatalf("turn %d wrote to %d connections", turns+1, now-before)
		}
		before = now
	}
	if l.run(); int(w.wakes.Load()) != turns {
		t.Errorf("the loop was woken %d times for %d turns, though nothing is left", w.wakes.Load(), turns)
	}
}

// A turn that has written to so many connections goes on while its time is not over, until it has written so many bytes.
func TestATurnGoesOnWhileItHasTime(t *testing.T) {
	for _, tc := range []struct{ size, most int }{{0, 1000}, {turnMost / 100, 100 + outputsATime}} {
		e, l, w, conns := newTurns(t, 1000)
		l.turn = time.Hour
		if n, err := e.Broadcast(slices.Values(conns), &protocol.Message{Type: 1, Body: make([]byte, tc.size)}, nil); n != len(conns) || err != nil {
			t.Fatalf("Broadcast returned %d, %v", n, err)
		}
		l.run()
		if n := writtenTo(conns); n <= outputsATime || n > tc.most {
			t.Errorf("the first turn wrote %d bytes each to %d connections", tc.size, n)
		}
		for turns := 1; int(w.wakes.Load()) > turns; turns++ {
			l.run()
		}
		if n := writtenTo(conns); n != len(conns) {
			t.Errorf("the loop wrote to %d of %d connections", n, len(conns))
		}
	}
}

// A turn runs so many tasks and no more; their order is that in which they were posted, also of those that a task posts.
func TestATurnRunsSoManyTasksInTheirOrder(t *testing.T) {
	_, l, w, _ := newTurns(t, 0)
	const tasks = 1000
	var ran []int
	for i := range tasks {
		l.post(func() {
			ran = append(ran, i)
			l.post(func() { ran = append(ran, tasks+i) })
		})
	}
	for turns := 1; len(ran) < 2*tasks; turns++ {
		before := len(ran)
		l.run()
		if n := len(ran) - before; n == 0 || n > 64 || int(w.wakes.Load()) > turns+1 {
			t.Fatalf("turn %d ran %d tasks, and the loop was woken %d times", turns, n, w.wakes.Load())
		}
	}
	if !slices.IsSorted(ran) {
		t.Error("the tasks did not run in their order")
	}
}

// What is posted while a turn leaves a rest is not forgotten when the next turn takes that rest and no more: the loop runs on until
// all is done, though nothing wakes it but itself.
func TestWhatIsPostedBesideARestIsDoneWithoutAnotherWake(t *testing.T) {
	const first, second = 40, 50 // the first is more than a turn takes
	m := &protocol.Message{Type: 1}
	for _, tc := range []struct {
		what string
		post func(e *Engine, l *loop, conns []*Conn, ran *int)
	}{
		{"tasks", func(_ *Engine, l *loop, conns []*Conn, ran *int) {
			for range conns {
				l.post(func() { *ran++ })
			}
		}},
		{"messages", func(_ *Engine, _ *loop, conns []*Conn, _ *int) {
			for _, c := range conns {
				_ = c.Send(1, nil)
			}
		}},
		{"a broadcast", func(e *Engine, _ *loop, conns []*Conn, _ *int) { _, _ = e.Broadcast(slices.Values(conns), m, nil) }},
	} {
		t.Run(tc.what, func(t *testing.T) {
			e, l, w, conns := newTurns(t, first+second)
			ran, turns := 0, 0
			turn := func() bool {
				if int(w.wakes.Load()) == turns {
					return false
				}
				turns++
				l.run()
				return true
			}
			tc.post(e, l, conns[:first], &ran)
			turn()
			tc.post(e, l, conns[first:], &ran)
			for turn() {
			}
			if n := ran + writtenTo(conns); n != first+second {
				t.Errorf("%d of %d were done when the loop slept", n, first+second)
			}
		})
	}
}

// A turn writes a limited number of bytes, to one connection as to many. To a connection that was quiesced it writes all that
// waits, over the limit too.
func TestATurnWritesSoManyBytes(t *testing.T) {
	_, l, _, conns := newTurns(t, 20)
	wrote := func(c *Conn) int { return len(c.tcp.gc.(*recordingConn).written) }
	const size = 1 << 20
	all := 0
	for i, c := range conns {
		n := size
		if i == 19 {
			n = 5 * size
		}
		for range n / (size / 2) {
			if err := c.Send(1, make([]byte, size/2)); err != nil {
				t.Fatal(err)
			}
		}
		all += n
	}
	quiet := false
	Control{conns[19]}.Quiesce(func() { quiet = wrote(conns[19]) > 5*size })
	sum := 0
	for turns := 0; sum < all; turns++ {
		before, rest := sum, wrote(conns[19])
		l.run()
		sum = 0
		for _, c := range conns {
			sum += wrote(c)
		}
		if n := sum - before - (wrote(conns[19]) - rest); n > 4<<20 {
			t.Fatalf("turn %d wrote %d bytes", turns+1, n)
		}
		if turns == 0 && !quiet {
			t.Fatal("a connection became quiet before what was sent to it was written")
		}
	}
}

// What the handlers of a read send to their own connection, by Reply or Send, is written when they have returned, not when the
// loop has written to all that a broadcast went to.
func TestTheAnswersOfAReadDoNotWaitForABroadcast(t *testing.T) {
	e, l, _, conns := newTurns(t, 500)
	e.HandleDefault(func(c *Conn, m *protocol.Message) error {
		_ = c.Send(3, nil)
		return c.Reply(m, nil)
	})
	if _, err := e.Broadcast(slices.Values(conns), &protocol.Message{Type: 1}, nil); err != nil {
		t.Fatal(err)
	}
	l.run()
	c := conns[len(conns)-1]
	gc := c.tcp.gc.(*recordingConn)
	if len(gc.written) > 0 {
		t.Fatal("one turn has written to everybody")
	}
	gc.in, _ = protocol.Binary.Append(nil, &protocol.Message{Type: 2, ID: 1})
	l.read(c)
	var types []uint16
	for b := gc.written; len(b) > 0; {
		var m protocol.Message
		n, _, err := protocol.Binary.Decode(b, &m, protocol.DecodeOptions{})
		if n == 0 || err != nil {
			t.Fatal(n, err)
		}
		types, b = append(types, m.Type), b[n:]
	}
	if !slices.Equal(types, []uint16{1, 3, 2}) {
		t.Errorf("messages of types %d were written, want 1, 3, 2", types)
	}
}

// closableConn is a fullConn that can be closed.
type closableConn struct {
	fullConn
	conn *Conn
}

func (c *closableConn) SetLinger(int) error       { return nil }
func (c *closableConn) EventLoop() gnet.EventLoop { return closer{conn: c.conn} }

type closer struct {
	gnet.EventLoop
	conn *Conn
}

func (c closer) Close(gnet.Conn) error {
	c.conn.ended(nil)
	return nil
}

// A turn frees so many connections that are over the memory budget and no more, also where the loop is to write to many; and in the
// end all of them.
func TestATurnFreesSoManyConnectionsOverTheBudget(t *testing.T) {
	e, l, w, conns := newTurns(t, 2000)
	for _, c := range conns {
		gc := &closableConn{conn: c}
		c.tcp = gnetSocket{gc}
		gc.fill(c, 1000)
		c.closeOverBudget(offender{conn: c, out: 1000})
	}
	others := make([]*Conn, 500)
	for i := range others {
		others[i] = &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{&recordingConn{}}, loop: l}
		others[i].state.Store(stateBound)
	}
	if _, err := e.Broadcast(slices.Values(others), &protocol.Message{Type: 1}, nil); err != nil {
		t.Fatal(err)
	}
	gone := func() (n int) {
		for _, c := range conns {
			if c.gone {
				n++
			}
		}
		return n
	}
	for before, turns := 0, 1; before < len(conns); turns++ {
		l.run()
		now := gone()
		if now-before > 200 || now == before || now < len(conns) && int(w.wakes.Load()) != turns+1 {
			t.Fatalf("turn %d freed %d connections; the loop was woken %d times", turns, now-before, w.wakes.Load())
		}
		before = now
	}
	runAll(l)
	if l.short.Load() || len(l.excess) > 0 || l.published.outboundQueue.Load() != 0 {
		t.Errorf("%d are to be freed still, %d bytes are counted", len(l.excess), l.published.outboundQueue.Load())
	}
}

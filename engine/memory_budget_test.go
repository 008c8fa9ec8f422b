package engine_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 15: past the memory budget the connection for which most waits is closed, then the next, and no others; and the
// memory is freed.
func TestTheMemoryBudgetClosesTheWorstFirst(t *testing.T) {
	eachLayer(t, theMemoryBudgetClosesTheWorstFirst)
}

func theMemoryBudgetClosesTheWorstFirst(t *testing.T) {
	const crowd = 50
	budget, kernel := 24<<20, transportOf(t).fills(slowBuffers) // what the kernel holds for one connection
	if kernel < slowBuffers {
		budget = 8 << 20
	}
	e := newEngine(engine.Config{Limits: engine.Limits{MaxOutbound: 256 << 20, MaxMemory: budget}, Timeouts: engine.Timeouts{Write: -1, Close: 200 * time.Millisecond}})
	e.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
		if m.ID != 0 {
			_ = c.Reply(m, m.Body)
		}
		return nil
	})
	g := newGate(t, e)
	r := serve(t, e)
	var peers []*peer
	var bindings []*binding
	for range crowd {
		p, b := g.enter(t, r.addr)
		peers, bindings = append(peers, p), append(bindings, b)
	}
	_, worse := g.enterSlow(t, r.addr)
	_, bad := g.enterSlow(t, r.addr)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	little := budget/4 + kernel/2 // of which the kernel takes the half at most
	// However fast it is sent: the budget, an eighth, what the kernel holds for both, and what a loop has in hand, which is much
	// where the loop waits for a processor and the sender has one.
	most := 2*budget + 2*kernel
	for n := range little / chunk {
		if err := bad.conn.SendMessage(numbered(n), &engine.SendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	sum := 0
	for worse.conn.SendMessage(numbered(0), &engine.SendOptions{}) == nil {
		if sum += chunk; little+sum > most {
			t.Fatalf("nothing was done about %d MiB", (little+sum)>>20)
		}
	}
	t.Logf("closed when %d MiB had been sent to the one and %d MiB to the other; the budget is %d MiB", sum>>20, little>>20, budget>>20)
	worse.wantEnd(t, protocol.SlowConsumer)
	looks := e.BudgetLooks()
	testkit.EventuallyIn(t, 3*time.Minute, "more looks", func() bool { return e.BudgetLooks() > looks+1 }) // after a long look comes a long rest
	if bad.conn.Context().Err() != nil {
		t.Error("one that was not the worst was closed, too")
	}
	for i, p := range peers {
		p.ask(2, 1, "hello")
		if len(bindings[i].codes()) > 0 {
			t.Fatal("one for whom nothing waits was closed")
		}
	}
	for sum = 0; bad.conn.SendMessage(numbered(0), &engine.SendOptions{}) == nil; sum += chunk {
		if little+sum > most {
			t.Fatalf("nothing was done about %d MiB more", sum>>20)
		}
	}
	bad.wantEnd(t, protocol.SlowConsumer)
	eventually(t, "the end of both", func() bool { return e.Stats().Conns.Open == crowd })
	eventually(t, "the memory", func() bool {
		runtime.GC()
		runtime.ReadMemStats(&after)
		return after.HeapAlloc < before.HeapAlloc+4<<20
	})
	if worse.dropped.Load() == 0 {
		t.Error("what was thrown away was not counted")
	}
}

// What waits to be read counts, too: unfinished frames, and messages that wait for Workers. Where that weighs more the code is
// RateLimited.
func TestTheMemoryBudgetCountsWhatWaitsToBeRead(t *testing.T) {
	eachLayer(t, theMemoryBudgetCountsWhatWaitsToBeRead)
}

func theMemoryBudgetCountsWhatWaitsToBeRead(t *testing.T) {
	const budget = 8 << 20
	release := make(chan struct{})
	e := newEngine(engine.Config{Limits: engine.Limits{MaxBody: 64 << 20, MaxInbound: -1, MaxMemory: budget}, Workers: 2, Timeouts: engine.Timeouts{UnfinishedFrame: -1}})
	e.Handle(1, func(*engine.Conn, *protocol.Message) error { return nil })
	e.Handle(2, echo)
	e.Handle(3, func(*engine.Conn, *protocol.Message) error { <-release; return nil })
	g := newGate(t, e)
	r := serve(t, e)
	defer close(release)
	var peers []*peer
	for range 20 {
		p, _ := g.enter(t, r.addr)
		p.sendRaw(frame(t, protocol.Message{Type: 2, ID: 1, Body: make([]byte, 50<<10)})[:40<<10]) // a little waits for each
		peers = append(peers, p)
	}
	flood := func(p *peer, c *engine.Conn, b []byte) {
		t.Helper()
		for range 200 << 20 / len(b) {
			_ = p.SetWriteDeadline(time.Now().Add(patience))
			if _, err := p.Write(b); err != nil || c.Context().Err() != nil {
				return
			}
		}
		t.Error("nothing was done about 200 MiB")
	}
	half, h := g.enter(t, r.addr)
	long := frame(t, protocol.Message{Type: 2, Body: make([]byte, 1<<20)})
	binary.BigEndian.PutUint32(long[layout.AtLength:], 63<<20) // most of it does not come
	half.sendRaw(long)
	piece := make([]byte, 256<<10)
	flood(half, h.conn, piece)
	h.wantEnd(t, protocol.RateLimited)
	busy, b := g.enter(t, r.addr)
	busy.send(protocol.Message{Type: 3})
	flood(busy, b.conn, frame(t, protocol.Message{Type: 1, Body: piece}))
	b.wantEnd(t, protocol.RateLimited)
	for _, p := range peers {
		p.sendRaw(frame(t, protocol.Message{Type: 2, ID: 1, Body: make([]byte, 50<<10)})[40<<10:])
		if m := p.read(); m.ID != 1 || len(m.Body) != 50<<10 {
			t.Errorf("got %v", m)
		}
	}
}

// What a waiting message takes besides its own bytes counts when it comes, not at the next check.
func TestTheMemoryBudgetCountsTinyMessages(t *testing.T) {
	eachTransport(t, theMemoryBudgetCountsTinyMessages)
}

func theMemoryBudgetCountsTinyMessages(t *testing.T) {
	const budget, cost = 8 << 20, 150 // a message
	release := make(chan struct{})
	e := newEngine(engine.Config{Limits: engine.Limits{MaxInbound: -1, MaxMemory: budget}, Workers: 1})
	e.HandleDefault(func(*engine.Conn, *protocol.Message) error { <-release; return nil })
	g := newGate(t, e)
	r := serve(t, e)
	defer close(release)
	p, b := g.enter(t, r.addr)
	var tiny []byte
	for range 64 << 10 / layout.HeaderLen {
		tiny = append(tiny, frame(t, protocol.Message{Type: 1})...)
	}
	for b.conn.Context().Err() == nil && b.received.Load() < 10*budget/cost {
		_ = p.SetWriteDeadline(time.Now().Add(patience))
		if _, err := p.Write(tiny); err != nil {
			break
		}
	}
	b.wantEnd(t, protocol.RateLimited)
	if n := b.received.Load(); n > budget/8*9/cost {
		t.Errorf("closed when %d messages waited, want %d at most", n, budget/8*9/cost)
	}
}

// Rule 15: a broadcast to many who take nothing does not exceed the memory budget by what all of them would hold: what is
// given up is freed before the event loop writes on.
func TestABroadcastToManyWhoTakeNothingKeepsWithinTheBudget(t *testing.T) {
	const crowd, size, budget = 24, 16 << 20, 32 << 20
	e := newEngine(engine.Config{Loops: 1, Limits: engine.Limits{MaxBody: size, MaxOutbound: 2 * size, MaxMemory: budget}, Timeouts: engine.Timeouts{Write: -1,
		Close: 100 * time.Millisecond}})
	e.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
	g := newGate(t, e)
	var conns []*engine.Conn
	most := 0
	g.panic = func(at string) { // on the one loop, before each write
		if at != "Sent" {
			return
		}
		held := 0
		for _, c := range conns {
			held += c.Held()
		}
		most = max(most, held)
	}
	r := serve(t, e)
	for range crowd {
		_, b := g.enterSlow(t, r.addr)
		conns = append(conns, b.conn)
	}
	eventually(t, "everybody is let in", func() bool { return e.Stats().Conns.Bound == crowd })
	n, err := e.Broadcast(e.Conns(), &protocol.Message{Type: 3, Body: make([]byte, size)}, nil)
	if n != crowd || err != nil {
		t.Fatalf("Broadcast returned %d, %v", n, err)
	}
	eventually(t, "the worst are closed", func() bool { return e.Stats().Closed[protocol.SlowConsumer] > 0 && e.Stats().Out.Messages == crowd })
	if err := r.stop(t); err != nil {
		t.Error(err)
	}
	if limit := budget + budget/8 + size; most > limit {
		t.Errorf("%d MiB were held, want %d at most", most>>20, limit>>20)
	}
}

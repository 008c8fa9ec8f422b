package engine

import (
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// What a client did not send a while ago it may send now, up to the burst.
func TestABucketFillsAtItsRateUpToItsBurst(t *testing.T) {
	const rate, burst = 10, 30
	now := int64(time.Hour)
	var b bucket
	for i, step := range []struct {
		after, unread time.Duration
		n             int
		ok            bool
	}{
		{0, 0, 30, true}, // full at first
		{0, 0, 1, false},
		{200 * time.Millisecond, 0, 1, true}, // what was one too many counts, too
		{time.Hour, 0, 30, true},             // no more than the burst, however long it was silent
		{100 * time.Millisecond, 0, 1, true},
		{time.Second, 0, 11, false},
		{4 * time.Second, 4 * time.Second, 39, true},
		{time.Hour, 4 * time.Second, 60, true}, // rule 25: in 4 s without reading as much more has piled up
		{0, 4 * time.Second, 10, true},
		{0, 4 * time.Second, 1, false},
		{time.Hour, 0, 31, false},
	} {
		now += int64(step.after)
		if ok := b.take(now, step.n, rate, burst, step.unread); ok != step.ok {
			t.Errorf("step %d: taking %d after %v: %t", i, step.n, step.after, ok)
		}
	}
	if b = (bucket{}); !b.take(now, noLimit, noLimit, 0, 0) {
		t.Error("no limit is a limit")
	}
}

// A GOMAXPROCS above the number of processors is room for what is not on a loop, not for more loops.
func TestLoopsAreNoMoreThanProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	for procs, want := range map[int]int{1: 1, runtime.NumCPU(): runtime.NumCPU(), runtime.NumCPU() + 2: runtime.NumCPU()} {
		runtime.GOMAXPROCS(procs)
		if got := (Config{}).withDefaults().Loops; got != want {
			t.Errorf("with GOMAXPROCS %d there are %d loops, want %d", procs, got, want)
		}
	}
}

// What a waiting message takes besides its own bytes is taken off the memory budget when it comes, not at the next
// check: there is none here, because the engine does not run.
func TestAWaitingMessageIsAnnouncedWithAllThatItTakes(t *testing.T) {
	const budget, messages, size = 1 << 30, 1000, 16
	e := testkit.Must(New(Config{Limits: Limits{MaxMemory: budget}, Workers: 1}))
	c := &Conn{setup: &setup{engine: e, box: &mailbox{pool: newWorkerPool(0)}}}
	for range messages {
		c.box.put(c, item{size: size})
	}
	if taken := budget - e.budget.left.Load(); taken != messages*(size+itemCost) {
		t.Errorf("%d messages of %d bytes took %d off, want %d", messages, size, taken, messages*(size+itemCost))
	}
}

// An engine for which nothing waits does not look at its budget again and again, however much it sends: what a queue's memory
// was announced for is taken back when it has been written.
func TestABusyEngineSeldomLooksAtItsBudget(t *testing.T) {
	e := testkit.Must(New(Config{Limits: Limits{MaxMemory: 1 << 20}}))
	l := &loop{engine: e, woken: true}
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{&memoryConn{}}, loop: l, binding: &memoryBinding{}, userBound: true}
	c.state.Store(stateBound)
	before := e.budget.looks.Load()
	for range 10_000 {
		if err := c.Send(1, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		runAll(l)
	}
	if n := e.budget.looks.Load() - before; n > 5 {
		t.Errorf("%d looks for 10 MB that did not wait", n)
	}
}

// The budget counts what waits, not the spare room of a queue: with 640 KB in flight under 1 MiB no connection is closed.
func TestTheMemoryBudgetCountsNoRoomToSpare(t *testing.T) {
	e := testkit.Must(New(Config{Limits: Limits{MaxMemory: 1 << 20}}))
	l := &loop{engine: e, woken: true, waker: deafWaker{}}
	t.Cleanup(func() { stopAttending(l) })
	gc := &fullConn{}
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: l, id: lastConnID.Add(1)}
	c.state.Store(stateBound)
	e.conns.add(c)
	gc.fill(c, 100<<10)
	c.out = &outBuf{b: make([]byte, 540<<10, 1100<<10)}
	e.keepBudget(math.MaxInt64)
	if c.state.Load() != stateBound || c.waits().sum() != 640<<10 {
		t.Errorf("the connection was closed with %v; %d bytes are said to wait", c.code, c.waits().sum())
	}
	c.out.b = c.out.b[:1000<<10]
	e.keepBudget(math.MaxInt64)
	if c.code != protocol.SlowConsumer {
		t.Error("the connection that is over the budget was not closed")
	}
}

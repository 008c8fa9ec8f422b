package engine

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// sendLatest sends n messages under SlowLatest, each with a key of its own, to a client that stays a little behind.
func sendLatest(t testing.TB, n int) (*Conn, *loop) {
	e := testkit.Must(New(Config{Limits: Limits{MaxMemory: 1 << 30}}))
	l := &loop{engine: e, woken: true, waker: deafWaker{}}
	t.Cleanup(func() { stopAttending(l) })
	gc := &fullConn{}
	c := &Conn{setup: e.newSetup(protocol.Binary), tcp: gnetSocket{gc}, loop: l}
	c.state.Store(stateBound)
	body := make([]byte, 32)
	for i := range n {
		if err := c.SendMessage(&protocol.Message{Type: 1, Body: body}, &SendOptions{Policy: SlowLatest, Key: fmt.Sprintf("instrument %d", i)}); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 { // it takes what it was given, and is given one part more
			gc.full = false
			if c.unsent > 0 {
				c.push(l.wrote + flushMost)
			}
			gc.written = nil
			gc.full = true
			c.flushPart(noLimit)
		}
	}
	return c, l
}

// What is kept for SlowLatest is bounded by what waits: keys and places of messages that were sent or dropped are not kept.
func TestSlowLatestKeepsNothingOfWhatWasSent(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c, _ := sendLatest(t, 300_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	w := c.out.waiting
	if w == nil || c.unsent == 0 {
		t.Fatal("nothing waits: the test says nothing")
	}
	live, keys := 0, 0
	for _, f := range w.frames {
		if f.live {
			live++
			keys += len(f.key)
		}
	}
	if len(w.latest) != live || w.keys != keys {
		t.Errorf("%d keys of %d bytes are kept for %d messages, whose keys have %d", len(w.latest), w.keys, live, keys)
	}
	if waits := c.waits().sum(); int64(after.HeapAlloc)-int64(before.HeapAlloc) > int64(4*waits)+2<<20 {
		t.Errorf("%d bytes of heap for %d that are counted", after.HeapAlloc-before.HeapAlloc, waits)
	}
	if n := c.waiting(); n < len(c.out.b)-w.dead+keys {
		t.Errorf("%d bytes wait, and the keys do not count", n)
	}
	runtime.KeepAlive(c)
}

// BenchmarkSlowLatestKeys is the heap that a million messages leave behind, each with a key of its own, to a client that stays
// a little behind.
func BenchmarkSlowLatestKeys(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c, _ := sendLatest(b, 1_000_000)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1e6, "heap-MB")
		runtime.KeepAlive(c)
	}
}

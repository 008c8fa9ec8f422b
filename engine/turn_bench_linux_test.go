package engine_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// threadTime is the processor time that the calling thread has used.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

// BenchmarkTurn is the processor time that the longest turn of an event loop takes, and the 99th percentile of turns, while the
// server broadcasts to six thousand clients, closes them all, or closes them because their backlogs are more than the memory budget
// allows. It needs three descriptors a client.
func BenchmarkTurn(b *testing.B) {
	const n = 6000
	for _, what := range []string{"broadcast", "close", "budget"} {
		b.Run(what, func(b *testing.B) {
			cfg := engine.Config{Loops: 1, Limits: engine.Limits{MaxOutbound: 8 << 20}, Timeouts: engine.Timeouts{Write: -1}}
			size := 112
			if what == "budget" {
				cfg.Limits.MaxMemory, size = 32<<20, 64<<10
			}
			e := newQuiet(cfg)
			var mu sync.Mutex
			var turns []time.Duration
			measured := false
			e.WatchTurns(engine.TurnTime, func(run func(), _ func() int) {
				runtime.LockOSThread()
				before := threadTime()
				run()
				took := threadTime() - before
				runtime.UnlockOSThread()
				mu.Lock()
				if measured {
					turns = append(turns, took)
				}
				mu.Unlock()
			})
			r := serve(b, e)
			for b.Loop() {
				clients := crowd(b, r.addr, n)
				eventually(b, "everybody", func() bool { return r.Stats().Conns.Bound == n })
				runtime.GC()
				mu.Lock()
				measured = true
				mu.Unlock()
				switch what {
				case "close":
					for c := range r.Conns() {
						c.Close(protocol.ServerStopping)
					}
				default:
					for i := range 10 {
						if _, err := r.Broadcast(r.Conns(), &protocol.Message{Type: 1, Body: make([]byte, size)}, nil); err != nil {
							b.Fatal(fmt.Sprint(i, err))
						}
						time.Sleep(100 * time.Millisecond)
					}
				}
				time.Sleep(2 * time.Second)
				mu.Lock()
				measured = false
				mu.Unlock()
				for _, nc := range clients {
					_ = nc.Close()
				}
				eventually(b, "nobody", func() bool { return r.Stats().Conns.Open == 0 })
			}
			slices.Sort(turns)
			if len(turns) == 0 {
				b.Fatal("no turn was taken")
			}
			b.ReportMetric(turns[len(turns)-1].Seconds()*1e3, "longest-ms")
			b.ReportMetric(turns[len(turns)*99/100].Seconds()*1e3, "p99-ms")
			b.ReportMetric(float64(len(turns)), "turns")
		})
	}
}

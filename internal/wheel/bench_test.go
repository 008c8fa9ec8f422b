package wheel

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

func BenchmarkBeat(b *testing.B) {
	b.Run("of a tick", func(b *testing.B) {
		watch := newWheel(time.Second, time.Second).Watch(nothing)
		for b.Loop() {
			watch.Beat()
		}
	})
	b.Run("first of a tick", func(b *testing.B) {
		w := newWheel(time.Second, time.Second)
		watch := w.Watch(nothing)
		for b.Loop() {
			w.advance(w.tick)
			watch.Beat()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		w := newWheel(time.Second, time.Second)
		b.RunParallel(func(pb *testing.PB) {
			watch := w.Watch(nothing)
			for pb.Next() {
				watch.Beat()
			}
		})
	})
}

func BenchmarkWatchAndStop(b *testing.B) {
	b.Run("one goroutine", func(b *testing.B) {
		w := newWheel(time.Second, 30*time.Second)
		b.ReportAllocs()
		for b.Loop() {
			w.Watch(nothing).Stop()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		w := newWheel(time.Second, 30*time.Second)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				w.Watch(nothing).Stop()
			}
		})
	})
}

// BenchmarkTick turns a wheel of a million users who each beat every ten seconds, at 1 s and 30 s.
func BenchmarkTick(b *testing.B) {
	const users, turns = 1_000_000, 50 // a beat every 50 ticks
	w := newWheel(time.Second, 30*time.Second)
	reported := func() { b.Error("reported") }
	before := testkit.Heap().HeapAlloc
	watches := make([]Watch, users)
	for i := range watches {
		watches[i] = w.Watch(reported)
	}
	own := uint64(users) * 16 // the slice of interfaces is the caller's
	perWatch := float64(testkit.Heap().HeapAlloc-before-own) / users
	// In the order of a real day, which is not that of their addresses.
	rand.New(rand.NewPCG(1, 1)).Shuffle(users, func(i, j int) { watches[i], watches[j] = watches[j], watches[i] })

	n := 0
	tick := func() time.Duration {
		for i := n % turns; i < users; i += turns {
			watches[i].Beat()
		}
		n++
		start := time.Now()
		w.advance(w.tick)
		w.report()
		return time.Since(start)
	}
	for range 400 {
		tick()
	}
	var spent, longest time.Duration
	ticks := 0
	for b.Loop() {
		d := tick()
		spent += d
		longest = max(longest, d)
		ticks++
	}
	b.ReportMetric(0, "ns/op") // beats included
	b.ReportMetric(float64(spent)/float64(ticks), "ns/tick")
	b.ReportMetric(float64(longest), "ns/longest-tick")
	b.ReportMetric(100*float64(spent)/float64(ticks)/float64(w.tick), "%core")
	b.ReportMetric(perWatch, "B/watch")
	runtime.KeepAlive(watches)
}

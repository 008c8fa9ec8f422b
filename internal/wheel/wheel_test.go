package wheel

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// nothing is what a watch calls that no test looks at.
func nothing() {}

// linked counts the watches that the wheel still holds.
func linked(w *Wheel) int {
	r := &w.own
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for i := range r.slots {
		slot := &r.slots[i]
		for e := slot.mark.next; e != slot; e = e.mark.next {
			n++
		}
	}
	return n
}

// turn does what the wheel's goroutine does at a tick that comes elapsed after the one before.
func turn(w *Wheel, elapsed time.Duration) {
	w.advance(elapsed)
	w.report()
}

var bounds = []struct{ interval, timeout time.Duration }{
	{time.Second, 30 * time.Second},
	{time.Second, 10 * time.Minute}, // further away than the wheel has slots
	{time.Second, 7301 * time.Millisecond},
	{time.Second, time.Second},
	{time.Second, 50 * time.Millisecond}, // less than a tick
	{time.Second, 1},
	{333 * time.Millisecond, time.Second},
	{5 * time.Millisecond, 12345 * time.Microsecond},
	{10 * time.Millisecond, 5 * time.Second},
	{time.Minute, 90 * time.Second},
}

// rule 8: found within timeout + one check interval, never before the timeout.
func TestSilenceIsFoundWithinItsBounds(t *testing.T) {
	for _, c := range bounds {
		t.Run(fmt.Sprint(c.interval, c.timeout), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := New(c.interval, c.timeout)
				defer w.Close()
				var users sync.WaitGroup
				for i := range uint64(100) {
					rnd := rand.New(rand.NewPCG(1, i))
					users.Go(func() {
						time.Sleep(time.Duration(rnd.Int64N(int64(2*c.interval + c.timeout))))
						reported := make(chan time.Time, 1)
						last := time.Now()
						watch := w.Watch(func() {
							select {
							case reported <- time.Now():
							default:
							}
						})
						for range rnd.IntN(20) {
							time.Sleep(time.Duration(rnd.Int64N(int64(c.timeout))))
							last = time.Now()
							watch.Beat()
						}
						silence := (<-reported).Sub(last)
						watch.Stop()
						if silence < c.timeout || silence > c.timeout+c.interval {
							t.Errorf("reported after %v", silence)
						}
					})
				}
				users.Wait()
			})
		})
	}
}

// The same when no tick comes on time: anything up to two ticks after the one before is no stop of the process.
func TestBoundsHoldWhenTicksJitter(t *testing.T) {
	for _, c := range bounds {
		t.Run(fmt.Sprint(c.interval, c.timeout), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(2, 2))
			upTo := func(d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d)) + 1) }
			w := newWheel(c.interval, c.timeout)
			var now, lastTick time.Duration
			for range 100 {
				var reported bool
				watch := w.Watch(func() { reported = true })
				last, beats := now, rnd.IntN(5)
				for !reported {
					next := lastTick + upTo(2*w.tick)
					if rnd.IntN(3) == 0 {
						next = lastTick + 2*w.tick
					}
					// Just before the tick, just after the one before, or in between.
					when := []time.Duration{next - 1, lastTick, lastTick + upTo(next-lastTick) - 1}[rnd.IntN(3)]
					if beats > 0 && when-last < c.timeout {
						beats--
						last = max(last, when)
						watch.Beat()
					}
					turn(w, next-lastTick)
					now, lastTick = next, next
					if silent := watch.Silent(); reported && !silent || silent && now-last < c.timeout {
						t.Fatalf("reported %v, silent %v, after %v", reported, silent, now-last)
					}
				}
				if silence := now - last; silence < c.timeout || silence > c.timeout+c.interval {
					t.Fatalf("reported after %v", silence)
				}
				watch.Stop()
			}
		})
	}
}

func TestBeatsKeepAUserAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(time.Second, 3*time.Second)
		defer w.Close()
		watch := w.Watch(func() { t.Error("reported") })
		for range 1000 {
			time.Sleep(3 * time.Second)
			if watch.Silent() {
				t.Fatal("silent")
			}
			watch.Beat()
		}
		watch.Stop()
	})
}

func TestAMassThatFallsSilentAtOnceIsReportedInOneTick(t *testing.T) {
	const users = 10*chunk + 1
	w := newWheel(time.Second, time.Second)
	reports := 0
	for range users {
		w.Watch(func() { reports++ })
	}
	for reports == 0 {
		turn(w, w.tick)
	}
	if reports != users {
		t.Errorf("%d of %d", reports, users)
	}
}

func TestSilenceIsReportedAgainOnceATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(time.Second, 10*time.Second)
		defer w.Close()
		reports := make(chan time.Time, 100)
		watch := w.Watch(func() { reports <- time.Now() })
		last := time.Now()
		for range 20 {
			at := <-reports
			if gap := at.Sub(last); gap < 10*time.Second || gap > 11*time.Second {
				t.Fatalf("reported again after %v", gap)
			}
			last = at
		}
		watch.Beat()
		time.Sleep(9500 * time.Millisecond)
		watch.Beat()
		last = time.Now()
		if gap := (<-reports).Sub(last); gap < 10*time.Second || gap > 11*time.Second {
			t.Fatalf("reported %v after a beat that followed a report", gap)
		}
		watch.Stop()
	})
}

// rule 8: a process that was stopped for a minute does not throw out everyone.
func TestTimeInWhichTheProcessWasStoppedIsNobodysSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(time.Second, 30*time.Second)
		defer w.Close()
		var stopped time.Duration
		stop := w.Watch(func() { // a callback that blocks stops the wheel as a stopped process does
			if stopped == 0 {
				stopped = time.Minute
				time.Sleep(stopped)
			}
		})
		time.Sleep(800 * time.Millisecond)
		start := time.Now()
		reported := make(chan time.Duration, 1)
		watch := w.Watch(func() { reported <- time.Since(start) })
		ran := <-reported - stopped
		if ran < 30*time.Second || ran > 31*time.Second+w.tick {
			t.Errorf("reported after %v of running time", ran)
		}
		watch.Stop()
		stop.Stop()
	})
}

func TestTickAfterAStopMovesNobodyNearerToTheTimeout(t *testing.T) {
	w := newWheel(time.Second, 30*time.Second)
	before := w.clock.Load()
	w.advance(time.Minute)
	if now := w.clock.Load(); now != before {
		t.Errorf("the clock moved by %v", time.Duration(now-before))
	}
}

func TestBusyMachineStillFindsSilence(t *testing.T) {
	w := newWheel(time.Second, 30*time.Second)
	found := false
	w.Watch(func() { found = true })
	for range 100 {
		turn(w, time.Second) // every tick is late
	}
	if !found {
		t.Error("not found")
	}
}

func TestDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(0, 0)
		defer w.Close()
		if got := w.Timeout(); got != 30*time.Second {
			t.Errorf("timeout %v", got)
		}
		reported := make(chan time.Time, 1)
		start := time.Now()
		w.Watch(func() { reported <- time.Now() })
		if d := (<-reported).Sub(start); d < 30*time.Second || d > 31*time.Second {
			t.Errorf("reported after %v", d)
		}
	})
}

func TestHugeDurationsDoNotOverflow(t *testing.T) {
	const huge = time.Duration(1<<63 - 1)
	w := newWheel(huge, huge)
	watch := w.Watch(func() { t.Error("reported") })
	for range 3 {
		turn(w, w.tick)
	}
	if watch.Silent() {
		t.Error("silent")
	}
}

// No goroutine: a bubble does not end while one lives.
func TestNobodyIsWatched(t *testing.T) {
	for name, c := range map[string]*Wheel{"negative timeout": New(time.Second, -1), "zero Wheel": &Wheel{}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				watch := c.Watch(func() { t.Error("reported") })
				time.Sleep(24 * time.Hour)
				if watch.Silent() || c.Timeout() != 0 {
					t.Errorf("silent %v, timeout %v", watch.Silent(), c.Timeout())
				}
				watch.Beat()
				watch.Stop()
				c.Close()
				c.Close()
			})
		})
	}
}

func TestWhatAllocates(t *testing.T) {
	w := newWheel(time.Second, time.Second)
	watch, none := w.Watch(nothing), New(0, -1)
	for name, c := range map[string]struct {
		f    func()
		want float64
	}{
		"Beat":             {func() { w.advance(w.tick); watch.Beat() }, 0},
		"Silent":           {func() { watch.Silent() }, 0},
		"Watch":            {func() { w.Watch(nothing).Stop() }, 1},
		"tick":             {func() { w.advance(w.tick); w.own.sweep() }, 0},
		"negative timeout": {func() { o := none.Watch(nothing); o.Beat(); o.Silent(); o.Stop() }, 0},
	} {
		if got := testing.AllocsPerRun(100, c.f); got != c.want {
			t.Errorf("%s allocates %v times", name, got)
		}
	}
}

func TestAWatchTakes48Bytes(t *testing.T) {
	if size := unsafe.Sizeof(watch{}); size > 48 {
		t.Errorf("%d bytes", size)
	}
}

// Stamps have 32 bits: after a month and a half, or 22 years, they begin again. Silences across that are found as all others.
func TestStampsBeginAgain(t *testing.T) {
	w := newWheel(time.Second, 30*time.Second)
	for _, start := range []int64{1<<32 - 100, 1<<31 - 100, 1<<32 - 2, 5<<32 - 1} {
		at := func(ticks int64) {
			w.clock.Store(ticks * int64(w.tick))
			w.now.Store(stampOf(ticks))
			w.own.hand = ticks
		}
		at(start)
		reported := false
		quiet, busy := w.Watch(func() { reported = true }), w.Watch(func() { t.Error("one that beats was reported") })
		var silence time.Duration
		for !reported && silence < time.Minute {
			turn(w, w.tick)
			silence += w.tick
			if busy.Silent() || quiet.Silent() && silence < 30*time.Second {
				t.Fatalf("from %d: silent after %v", start, silence)
			}
			busy.Beat()
		}
		if silence < 30*time.Second || silence > 31*time.Second || !quiet.Silent() || busy.Silent() {
			t.Errorf("from %d: reported %v after %v", start, reported, silence)
		}
		quiet.Stop()
		busy.Stop()
	}
}

// The longest silence does not become the future.
func TestASilenceIsNotForgotten(t *testing.T) {
	w := newWheel(time.Second, 30*time.Second)
	n := 0
	e := w.Watch(func() { n++ }).(*watch)
	w.clock.Store(1 << 31 * int64(w.tick))
	w.now.Store(stampOf(1 << 31))
	w.own.hand = 1<<31 - slotCount
	for range 3 {
		e.mark.seen.Store(w.now.Load() - 1<<31 - 100)
		for range 2 * slotCount {
			turn(w, w.tick)
		}
		if n == 0 || !e.Silent() || int32(w.now.Load()-e.mark.seen.Load()) < 0 {
			t.Fatalf("%d reports, silent %v", n, e.Silent())
		}
	}
}

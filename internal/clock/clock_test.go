package clock

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const tick = 250 * time.Millisecond

// Rule 25: time in which the owner did not run counts for nothing, also before the owner has noticed it.
func TestAGapDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(tick)
		for range 8 {
			time.Sleep(tick)
			c.Tick()
		}
		if got := c.Now(); got != int64(2*time.Second) {
			t.Fatalf("2 s of running time count as %v", time.Duration(got))
		}
		time.Sleep(time.Hour)
		if got := c.Now(); got > int64(2*time.Second+2*tick) {
			t.Errorf("before the tick the gap counts as %v", time.Duration(got)-2*time.Second)
		}
		if got := c.Pause(); got != time.Hour {
			t.Errorf("Pause tells %v of a gap that is not over", got)
		}
		c.Tick()
		if got := c.Now(); got != int64(2*time.Second) || c.Coarse() != got {
			t.Errorf("after the tick the gap counts as %v", time.Duration(got)-2*time.Second)
		}
		if got := c.Pause(); got != time.Hour {
			t.Errorf("Pause tells %v of the gap", got)
		}
	})
}

// Rule 25: a deadline is neither early nor late because its clock was read in a tick.
func TestTheTimeIsWholeInATick(t *testing.T) {
	c := New(time.Hour) // so that nothing here is a gap
	began := c.last.Load()
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !over.Load() {
			c.Tick()
		}
	}()
	before := int64(0)
	for range 200_000 {
		low := Nanoseconds() - began
		now := c.Now()
		if high := Nanoseconds() - began; now < before || now < low || now > high {
			t.Errorf("the clock tells %v after %v; it is between %v and %v", time.Duration(now), time.Duration(before), time.Duration(low), time.Duration(high))
			break
		}
		before = now
	}
	over.Store(true)
	<-done
}

// A gap is remembered for as long as it took, and some seconds more; gaps that follow one another are one.
func TestAPauseIsRememberedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(tick)
		run := func(d time.Duration) {
			for range d / tick {
				time.Sleep(tick)
				c.Tick()
			}
		}
		run(time.Second)
		if got := c.Pause(); got != 0 {
			t.Fatalf("Pause tells %v, and there was none", got)
		}
		time.Sleep(4 * time.Second)
		c.Tick()
		run(4*time.Second + catchUp - tick)
		if got := c.Pause(); got != 4*time.Second {
			t.Errorf("Pause tells %v", got)
		}
		run(tick)
		if got := c.Pause(); got != 0 {
			t.Errorf("Pause still tells %v", got)
		}
		for range 3 {
			time.Sleep(4 * time.Second)
			c.Tick()
			run(time.Second)
		}
		if got := c.Pause(); got != 12*time.Second {
			t.Errorf("of three gaps Pause tells %v", got)
		}
		for range 300 {
			time.Sleep(4 * time.Second)
			c.Tick()
		}
		if got := c.Pause(); got != time.Minute {
			t.Errorf("of 300 gaps Pause tells %v", got)
		}
	})
}

// A machine that is merely busy lets time go on: no deadline is put off for ever.
func TestTimeGoesOnOnABusyMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(tick)
		var fired atomic.Bool
		timer := c.AfterFunc(5*time.Second, func() { fired.Store(true) })
		defer timer.Stop()
		for range 30 {
			time.Sleep(4 * tick) // every tick is late
			c.Tick()
		}
		time.Sleep(tick)
		c.Tick()
		synctest.Wait()
		if got := c.Now(); got < int64(10*time.Second) {
			t.Errorf("30 s of a busy machine count as %v", time.Duration(got))
		}
		time.Sleep(tick)
		c.Tick()
		synctest.Wait()
		if !fired.Load() {
			t.Error("a deadline of 5 s has not passed after 30 s")
		}
	})
}

// Rule 25: a deadline does not pass because of a gap, nor right after one.
func TestADeadlineWaitsOutAGap(t *testing.T) {
	for name, ran := range map[string]time.Duration{"early": tick, "just before the deadline": 4*time.Second - 3*tick} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(tick)
				fired := make(chan struct{})
				timer := c.AfterFunc(4*time.Second, func() { close(fired) })
				for range ran / tick {
					time.Sleep(tick)
					c.Tick()
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				select {
				case <-fired:
					t.Fatal("the deadline passed in the gap")
				default:
				}
				c.Tick()
				resumed := time.Now()
				for {
					time.Sleep(tick / 2)
					synctest.Wait()
					select {
					case <-fired:
					default:
						c.Tick()
						continue
					}
					break
				}
				if got := time.Since(resumed); got < max(4*time.Second-ran, 2*tick) || got > 4*time.Second-ran+3*tick {
					t.Errorf("the deadline passed %v after the gap", got)
				}
				if timer.Stop() {
					t.Error("Stop says that it was in time")
				}
			})
		})
	}
}

func TestAStoppedTimerCallsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(tick)
		timer := c.AfterFunc(time.Second, func() { t.Error("called") })
		if !timer.Stop() || timer.Stop() {
			t.Error("Stop says the wrong thing")
		}
		never := c.AfterFunc(math.MaxInt64, func() { t.Error("called") })
		time.Sleep(time.Hour)
		if !never.Stop() {
			t.Error("a deadline that never comes has passed")
		}
	})
}

// Rule 25: deadlines and watches do not follow the system's clock. What people read does.
func TestTimeHasAMonotonicReading(t *testing.T) {
	now := Nanoseconds()
	at := Time(now)
	if at.Round(0) == at {
		t.Error("no monotonic reading")
	}
	if off := time.Since(at).Abs(); off > time.Minute {
		t.Errorf("off by %v", off)
	}
}

func TestAContextEndsByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(tick)
		ctx, cancel := c.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 4 {
			if ctx.Err() != nil {
				t.Fatal("too early")
			}
			time.Sleep(tick)
			c.Tick()
		}
		synctest.Wait()
		if err := ctx.Err(); err != context.DeadlineExceeded {
			t.Errorf("the context ended with %v", err)
		}
		inner, cancelInner := c.WithTimeout(t.Context(), time.Second)
		cancelInner()
		if err := inner.Err(); err != context.Canceled {
			t.Errorf("a context that was cancelled ended with %v", err)
		}
	})
}

// Rule 25: after a gap in which the whole process stood still, its timers included, deadlines wait until what has come in it
// can have been looked at.
func TestADeadlineThatIsNearWaitsForALookAfterAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(tick)
		fired := make(chan time.Time, 1)
		c.AfterFunc(tick/2, func() { fired <- time.Now() })
		resumed := time.Now()
		c.last.Store(Nanoseconds() - int64(time.Hour)) // no timer runs while a process stands still
		c.Tick()
		for range 4 {
			time.Sleep(tick)
			c.Tick()
		}
		synctest.Wait()
		select {
		case at := <-fired:
			if got := at.Sub(resumed); got < 2*tick {
				t.Errorf("the deadline passed %v after the gap", got)
			}
		default:
			t.Error("the deadline has not passed")
		}
	})
}

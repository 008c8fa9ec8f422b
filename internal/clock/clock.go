// Package clock has a monotonic time, and a Clock that counts only the time in which its owner was running.
//
// [Nanoseconds] is monotonic: it advances by one second per second, whatever happens to the system's clock. A [Clock] leaves
// out gaps. Its owner ticks it; a tick that comes late means that the process, or the owner's goroutine, stood still since the tick
// before. If ticks keep coming late, up to two ticks of each gap count. Clients' bytes may wait unread after a gap, so a gap alone must
// not end a deadline.
package clock

import (
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

var began = time.Now()

// Nanoseconds returns how long ago the process began. Setting the system's clock does not change it.
func Nanoseconds() int64 { return int64(time.Since(began)) }

// Time returns the time of a moment that Nanoseconds has told. Its monotonic reading is there: time.Until and the like
// do not follow the system's clock either.
func Time(ns int64) time.Time { return began.Add(time.Duration(ns)) }

// Steps decides how much of the time between two ticks counts. The zero value with a Tick is ready to use; it is for one
// goroutine.
type Steps struct {
	Tick time.Duration // how often a tick is due
	late bool          // the last tick came late
}

// Next returns how much counts of the time since the tick before: all of it, up to two ticks. The first tick that comes later
// ends a gap, of which nothing counts. When the next one is late too the machine is merely busy, and two ticks count
// each time, so that time does not stand still for ever.
func (s *Steps) Next(elapsed time.Duration) (counts time.Duration) {
	step := min(elapsed, 2*s.Tick)
	late := elapsed > step
	if late && !s.late {
		step = 0
	}
	s.late = late
	return step
}

// Clock counts the time in which its owner ran, or an event loop looked at its connections. Make one with New, or call Init.
// Its owner alone calls Tick; every other method may be called from any goroutine. In the zero Clock no time passes.
type Clock struct {
	steps     Steps
	now, last atomic.Int64  // the counted time at the last tick, and when that was
	version   atomic.Uint32 // odd while Tick changes the two

	gap      atomic.Int64 // the last gap's length; those that followed closely are one
	gapEnd   atomic.Int64 // when the last one ended of which nothing counted
	gapUntil atomic.Int64 // until when what piled up in it may come
}

// catchUp is how long, after a gap, what piled up in it may still come, besides as long as the gap was: networks try again
// after pauses that get longer.
const catchUp = 5 * time.Second

// New returns a clock that its owner will tick once in every tick.
func New(tick time.Duration) *Clock {
	c := new(Clock)
	c.Init(tick)
	return c
}

// Init is New for a clock that is part of something else.
func (c *Clock) Init(tick time.Duration) {
	c.steps.Tick = tick
	c.gapEnd.Store(math.MinInt64 / 2)
	c.gapUntil.Store(math.MinInt64)
	c.Start()
}

// Start says that the time until now is no gap: the owner has not run yet.
func (c *Clock) Start() { c.last.Store(Nanoseconds()) }

// Tick moves the clock on to this moment.
func (c *Clock) Tick() { c.tickAt(Nanoseconds()) }

func (c *Clock) tickAt(now int64) {
	elapsed := now - c.last.Load()
	step := int64(c.steps.Next(time.Duration(elapsed)))
	if step < elapsed {
		c.noteGap(elapsed-step, now)
	}
	if step == 0 {
		c.gapEnd.Store(now)
	}
	c.version.Add(1)
	c.last.Store(now)
	c.now.Add(step)
	c.version.Add(1)
}

// noteGap remembers a gap that ends now. Gaps that follow one another are one, of a minute at most.
func (c *Clock) noteGap(gap, now int64) {
	length := gap
	if now-gap < c.gapUntil.Load() {
		length = max(gap, min(c.gap.Load()+gap, int64(time.Minute)))
	}
	c.gap.Store(length)
	c.gapUntil.Store(now + length + int64(catchUp))
}

// Pause returns how long the gap was that what comes now may have piled up in: the one that is not over, or the last one
// for as long as it took and some seconds more. 0 means that there was none.
func (c *Clock) Pause() time.Duration {
	now := Nanoseconds()
	var before int64
	if now < c.gapUntil.Load() {
		before = c.gap.Load()
	}
	if since := now - c.last.Load(); since > 2*int64(c.steps.Tick) && c.steps.Tick > 0 {
		return time.Duration(before + since)
	}
	return time.Duration(before)
}

// mayEnd reports whether a deadline may pass: not in a gap, nor in the two ticks that follow one, in which what has come
// meanwhile is looked at first.
func (c *Clock) mayEnd() bool {
	now, settle := Nanoseconds(), 2*int64(c.steps.Tick)
	return now-c.last.Load() <= settle && now-c.gapEnd.Load() >= settle
}

// Advance has d pass at once, for tests that do not wait.
func (c *Clock) Advance(d time.Duration) { c.now.Add(int64(d)) }

// Coarse returns the counted time as of the last tick. It costs one load.
func (c *Clock) Coarse() int64 { return c.now.Load() }

// Now returns the counted time of this moment. While a tick is overdue it stands still.
func (c *Clock) Now() int64 {
	for {
		version := c.version.Load()
		now, last := c.now.Load(), c.last.Load()
		if version%2 == 0 && c.version.Load() == version { // the two belong together
			return now + min(max(Nanoseconds()-last, 0), int64(2*c.steps.Tick))
		}
		runtime.Gosched()
	}
}

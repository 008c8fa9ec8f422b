package usermgr

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// clockResolution is how exact SessionInfo.LastActive is.
const clockResolution = 100 * time.Millisecond

// clockStep is the least difference between the system's clock and the expected time that counts as a change of the
// clock: it was set, or it went on while the system was suspended.
const clockStep = time.Second

// coarseClock saves the message path a call of time.Now for each batch of messages. It counts ticks, which take half
// the memory of a time in each session; they last for thirteen years. Ticks go on steadily, and stop while the system
// is suspended. So the age of a tick does not depend on the system's clock; the time of a tick does.
type coarseClock struct {
	ticks atomic.Uint32 // ticks since began
	began time.Time
	ran   clock.Clock  // the time in which the process ran, for deadlines
	wall  atomic.Int64 // the time of tick 0 by the system's present clock, Unix nanoseconds
	quit  chan struct{}
	once  sync.Once // closes quit
	ended chan struct{}
}

func (c *coarseClock) start() {
	c.quit, c.ended = make(chan struct{}), make(chan struct{})
	c.ran.Init(clockResolution)
	c.began = time.Now()
	c.wall.Store(c.began.UnixNano())
	go func() {
		defer close(c.ended)
		t := time.NewTicker(clockResolution)
		defer t.Stop()
		for {
			select {
			case <-c.quit:
				return
			case <-t.C:
				c.ran.Tick()
				now := time.Now()
				c.look(now.Sub(c.began), now.UnixNano())
			}
		}
	}()
}

// look sets the time: since is the time after began, wall the system's clock.
func (c *coarseClock) look(since time.Duration, wall int64) {
	c.ticks.Store(uint32(since / clockResolution))
	if zero := wall - int64(since); time.Duration(zero-c.wall.Load()).Abs() >= clockStep {
		c.wall.Store(zero)
	}
}

// now returns the current tick.
func (c *coarseClock) now() uint32 { return c.ticks.Load() }

// time returns the time of a tick on the system's clock.
func (c *coarseClock) time(tick uint32) time.Time {
	return time.Unix(0, c.wall.Load()+int64(tick)*int64(clockResolution))
}

// exactly returns the current time, on the same clock as time.
func (c *coarseClock) exactly() time.Time {
	return time.Unix(0, c.wall.Load()+int64(time.Since(c.began)))
}

func (c *coarseClock) stop() {
	c.once.Do(func() { close(c.quit) })
	<-c.ended
}

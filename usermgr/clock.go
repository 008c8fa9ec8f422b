package usermgr

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// clockResolution is how exact SessionInfo.LastActive is.
const clockResolution = 100 * time.Millisecond

// clockStep is by how much the system's clock must differ from what was expected of it to have been set, or to have gone on
// while the system was suspended.
const clockStep = time.Second

// coarseClock spares the message path a call of time.Now for each batch of messages. It counts ticks, which take half the
// room of a time in each session; they last for thirteen years. Ticks go on steadily, and stand still while the system is
// suspended: how long ago one was does not depend on the system's clock, and when it was follows that.
type coarseClock struct {
	ticks atomic.Uint32 // since began
	began time.Time
	ran   clock.Clock  // counts the time in which the process ran, for deadlines
	wall  atomic.Int64 // the time of tick 0 by the system's clock as it goes now, Unix nanoseconds
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

// look takes over what time it is: so long after began, and the system's clock says wall.
func (c *coarseClock) look(since time.Duration, wall int64) {
	c.ticks.Store(uint32(since / clockResolution))
	if zero := wall - int64(since); time.Duration(zero-c.wall.Load()).Abs() >= clockStep {
		c.wall.Store(zero)
	}
}

// now returns the current tick.
func (c *coarseClock) now() uint32 { return c.ticks.Load() }

// time returns when a tick was, on the system's clock.
func (c *coarseClock) time(tick uint32) time.Time {
	return time.Unix(0, c.wall.Load()+int64(tick)*int64(clockResolution))
}

// exactly returns the current time, to be compared with time's.
func (c *coarseClock) exactly() time.Time {
	return time.Unix(0, c.wall.Load()+int64(time.Since(c.began)))
}

func (c *coarseClock) stop() {
	c.once.Do(func() { close(c.quit) })
	<-c.ended
}

package usermgr

import (
	"sync"
	"sync/atomic"
	"time"
)

// clockResolution is how exact SessionInfo.LastActive is.
const clockResolution = 100 * time.Millisecond

// coarseClock spares the message path a call of time.Now for each batch of messages. It counts ticks, which take half the
// room of a time in each session; they last for thirteen years.
type coarseClock struct {
	ticks atomic.Uint32 // since began
	began time.Time
	quit  chan struct{}
	once  sync.Once // closes quit
	ended chan struct{}
}

func (c *coarseClock) start() {
	c.quit, c.ended = make(chan struct{}), make(chan struct{})
	c.began = time.Now()
	go func() {
		defer close(c.ended)
		t := time.NewTicker(clockResolution)
		defer t.Stop()
		for {
			select {
			case <-c.quit:
				return
			case <-t.C:
				c.ticks.Store(uint32(time.Since(c.began) / clockResolution))
			}
		}
	}()
}

// now returns the tick at hand.
func (c *coarseClock) now() uint32 { return c.ticks.Load() }

// time returns when a tick was, on the system's clock.
func (c *coarseClock) time(tick uint32) time.Time {
	return c.began.Add(time.Duration(tick) * clockResolution).Round(0) // without the monotonic reading: it is for people
}

func (c *coarseClock) stop() {
	c.once.Do(func() { close(c.quit) })
	<-c.ended
}

package usermgr

import (
	"sync"
	"sync/atomic"
	"time"
)

// clockResolution is how exact SessionInfo.LastActive is.
const clockResolution = 100 * time.Millisecond

// coarseClock spares the message path a call of time.Now for each batch of messages.
type coarseClock struct {
	nanos atomic.Int64 // Unix time
	quit  chan struct{}
	once  sync.Once // closes quit
	ended chan struct{}
}

func (c *coarseClock) start() {
	c.quit, c.ended = make(chan struct{}), make(chan struct{})
	c.nanos.Store(time.Now().UnixNano())
	go func() {
		defer close(c.ended)
		t := time.NewTicker(clockResolution)
		defer t.Stop()
		for {
			select {
			case <-c.quit:
				return
			case now := <-t.C:
				c.nanos.Store(now.UnixNano())
			}
		}
	}()
}

func (c *coarseClock) now() int64 { return c.nanos.Load() }

func (c *coarseClock) stop() {
	c.once.Do(func() { close(c.quit) })
	<-c.ended
}

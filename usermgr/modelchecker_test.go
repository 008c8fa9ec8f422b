package usermgr_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/heartbeat"
)

// modelChecker is a Checker that finds a session silent when the model says so.
type modelChecker struct {
	mu      sync.RWMutex // held for reading while silent runs, so that Close waits
	closed  bool
	watches []*modelWatch
}

type modelWatch struct {
	found    func() // tells the manager
	quiet    atomic.Bool
	stopped  atomic.Bool
	reported atomic.Bool // since it fell silent
}

func (c *modelChecker) Watch(silent func()) heartbeat.Watch {
	w := &modelWatch{found: silent}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches = append(c.watches, w)
	return w
}

func (c *modelChecker) Timeout() time.Duration { return time.Minute }

func (c *modelChecker) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

func (w *modelWatch) Beat() {
	w.quiet.Store(false)
	w.reported.Store(false)
}

func (w *modelWatch) Silent() bool { return w.quiet.Load() && !w.stopped.Load() }
func (w *modelWatch) Stop()        { w.stopped.Store(true) }

// pick returns a watch that has not been stopped, if there is one: for 0 the youngest. It is nil when there is none at all.
func (c *modelChecker) pick(back int) (picked *modelWatch) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, w := range slices.Backward(c.watches) {
		if picked == nil || !w.stopped.Load() {
			picked = w
			back--
		}
		if back < 0 {
			break
		}
	}
	return picked
}

// report tells the manager that w is silent, as the checker's goroutine does: it may have spoken since.
func (c *modelChecker) report(w *modelWatch) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed || w.stopped.Load() {
		return
	}
	w.found()
}

// fallSilent makes w silent, and reports it.
func (c *modelChecker) fallSilent(w *modelWatch) {
	w.quiet.Store(true)
	w.reported.Store(true)
	c.report(w)
}

// overlooked counts the sessions that have been reported, are silent still, and are still watched.
func (c *modelChecker) overlooked() (n int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, w := range c.watches {
		if w.Silent() && w.reported.Load() {
			n++
		}
	}
	return n
}

package heartbeat_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/heartbeat"
)

func Example() {
	checker := heartbeat.New(10*time.Millisecond, 50*time.Millisecond)
	defer checker.Close()

	silent := make(chan string, 1)
	watch := checker.Watch(func() {
		select {
		case silent <- "alice fell silent":
		default: // must not block, and may come again
		}
	})
	defer watch.Stop()

	watch.Beat() // for every read
	fmt.Println(<-silent)
	// Output: alice fell silent
}

// timers is a Checker as a program may bring its own: a timer for each session, which costs more than New's and is
// exact.
type timers struct {
	timeout time.Duration
	mu      sync.RWMutex // held for reading while silent runs, so that Close waits
	closed  bool
}

type timer struct {
	owner *timers
	timer *time.Timer
	last  atomic.Pointer[time.Time] // nil when stopped
}

func (c *timers) Timeout() time.Duration { return c.timeout }
func (c *timers) Close()                 { c.mu.Lock(); c.closed = true; c.mu.Unlock() }

func (c *timers) Watch(silent func()) heartbeat.Watch {
	w := &timer{owner: c}
	now := time.Now()
	w.last.Store(&now)
	w.timer = time.AfterFunc(c.timeout, func() {
		c.mu.RLock()
		defer c.mu.RUnlock()
		if !c.closed && w.Silent() {
			silent()
		}
	})
	return w
}

func (w *timer) Beat() {
	now := time.Now()
	w.last.Store(&now)
	w.timer.Reset(w.owner.timeout)
}

func (w *timer) Silent() bool {
	last := w.last.Load()
	return last != nil && time.Since(*last) >= w.owner.timeout
}

func (w *timer) Stop() { w.last.Store(nil); w.timer.Stop() }

var _ heartbeat.Checker = (*timers)(nil)

// What any Checker does, shown with ours and with one of a program's own.
func TestCheckers(t *testing.T) {
	for name, start := range map[string]func() heartbeat.Checker{
		"ours":      func() heartbeat.Checker { return heartbeat.New(time.Second, 30*time.Second) },
		"one's own": func() heartbeat.Checker { return &timers{timeout: 30 * time.Second} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := start()
				defer c.Close()
				stopped := c.Watch(func() { t.Error("reported after Stop") })
				stopped.Stop()
				reported := make(chan struct{}, 1)
				watch := c.Watch(func() { reported <- struct{}{} })
				for range 10 {
					time.Sleep(c.Timeout() - 1)
					watch.Beat()
				}
				last := time.Now()
				<-reported
				if silence := time.Since(last); silence < c.Timeout() || silence > c.Timeout()+time.Second {
					t.Errorf("reported after %v", silence)
				}
				if !watch.Silent() || stopped.Silent() {
					t.Error("Silent disagrees with the report")
				}
				watch.Stop()
			})
		})
	}
}

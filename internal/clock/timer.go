package clock

import (
	"context"
	"math"
	"sync"
	"time"
)

// Timer calls a function once when so much time of a Clock has passed.
type Timer struct {
	clock    *Clock
	deadline int64 // by the clock
	f        func()

	mu    sync.Mutex // a leaf; not held while f runs
	timer *time.Timer
	over  bool // f was called, or Stop
}

// AfterFunc calls f on a goroutine of its own when d has passed by the clock. A gap delays the call by its length. For
// two ticks after a gap no function is called, so that what has come in the gap is read first.
func (c *Clock) AfterFunc(d time.Duration, f func()) *Timer {
	t := &Timer{clock: c, f: f, deadline: math.MaxInt64}
	if now := c.Now(); int64(d) < math.MaxInt64-now {
		t.deadline = now + int64(d)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(d, t.fire)
	return t
}

// Stop prevents the call, and reports whether it was in time.
func (t *Timer) Stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	inTime := !t.over
	t.over = true
	t.timer.Stop()
	return inTime
}

func (t *Timer) fire() {
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return
	}
	if rest := t.clock.rest(t.deadline); rest > 0 {
		t.timer.Reset(rest)
		t.mu.Unlock()
		return
	}
	t.over = true
	t.mu.Unlock()
	t.f()
}

// rest returns after how long to check a deadline again; 0 means that the time is up.
func (c *Clock) rest(deadline int64) time.Duration {
	if rest := deadline - c.Now(); rest > 0 {
		return time.Duration(rest)
	}
	if !c.mayEnd() {
		return c.steps.Tick / 2
	}
	return 0
}

// WithTimeout is context.WithTimeout by the clock. The context has no Deadline, because the time of the end is not
// known: gaps move it.
func (c *Clock) WithTimeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	t := c.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return timeout{ctx}, func() {
		t.Stop()
		cancel(nil)
	}
}

// timeout is a context that ends by a timer.
type timeout struct{ context.Context }

func (t timeout) Err() error {
	err := t.Context.Err()
	if err != nil && context.Cause(t.Context) == context.DeadlineExceeded {
		return context.DeadlineExceeded
	}
	return err
}

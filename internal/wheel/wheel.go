// Package wheel has the timing wheel that heartbeat.New returns. It also has [Ring], which package usermgr uses: each watched object
// contains its own watch, so that a watch needs no allocation.
package wheel

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
)

const (
	defaultInterval = time.Second
	defaultTimeout  = 30 * time.Second

	ticksPerInterval = 6 // see the bounds at Wheel.limit
	minTick          = 5 * time.Millisecond / ticksPerInterval
	maxTicks         = 1 << 29                          // of a timeout, see longestAge
	maxDuration      = time.Duration(math.MaxInt64 / 4) // sums of a few of them do not overflow

	slotCount = 256 // a watch whose deadline is more ticks away than this is checked once before
	chunk     = 256 // watches that are checked while the lock is held once
)

// Wheel watches any number of sessions, with one goroutine. It is a timing wheel: an entry is moved only when its old deadline is
// reached, so a beat writes to its own watch alone. A watch takes 48 bytes; a watch inside the thing that it watches, made by a [Ring],
// takes 24. Its methods do what heartbeat.Checker says, within the bounds that heartbeat.New says.
//
// Silent returns the state at the last tick, which was at most a sixth of the interval ago.
//
// Make a Wheel with [New], and Close it. The zero Wheel watches no session.
type Wheel struct {
	timeout time.Duration // 0: no session is watched
	tick    time.Duration
	// limit is how many ticks after the stamp of a beat the timeout has surely passed since the beat. Stamps and the clock are
	// whole ticks, rounded down, so the clock has moved on by more than limit - 1 ticks then. The stamp is the clock of the last
	// tick, up to two ticks before the beat (advance makes no longer step). So limit = timeout, rounded up, + 3 ticks. The clock
	// reaches it in a step of up to 2 ticks. So a report comes at most 6 ticks, one interval, after the timeout.
	limit   uint32
	closing chan struct{}
	done    chan struct{} // closed when the goroutine has ended
	once    sync.Once

	_ [64]byte // keeps the fields that every beat reads off the cache lines that Watch and Stop write
	// clock is how long the wheel had run at the last tick, in nanoseconds, and now the stamp of that time, which is stored after it.
	// Only the wheel's goroutine writes them.
	clock atomic.Int64
	now   atomic.Uint32
	_     [64]byte

	steps clock.Steps // only the goroutine uses it
	own   Ring[watch]

	mu    sync.Mutex // guards rings
	rings []reporter // the wheel's own, and those of NewRing
}

// reporter is a Ring of any type.
type reporter interface{ report() }

// Of returns the wheel behind a heartbeat.Checker; nil for a Checker that heartbeat.New has not made.
func Of(checker any) *Wheel {
	if c, ok := checker.(interface{ Wheel() *Wheel }); ok {
		return c.Wheel()
	}
	return nil
}

// New returns a running Wheel; see heartbeat.New.
func New(interval, timeout time.Duration) *Wheel {
	if timeout < 0 {
		return &Wheel{}
	}
	if timeout == 0 {
		timeout = defaultTimeout
	}
	if interval <= 0 {
		interval = defaultInterval
	}
	w := newWheel(interval, timeout)
	go w.run()
	return w
}

// newWheel makes a wheel without a goroutine.
func newWheel(interval, timeout time.Duration) *Wheel {
	least := min(timeout, maxDuration)
	tick := max(min(interval, maxDuration)/ticksPerInterval, minTick, least/maxTicks+1)
	w := &Wheel{
		timeout: timeout,
		tick:    tick,
		steps:   clock.Steps{Tick: tick},
		limit:   uint32((least+tick-1)/tick) + 3,
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	w.now.Store(stampOf(0))
	w.own.init(w, func(e *watch) *Mark[watch] { return &e.mark }, func(e *watch) { e.silent() })
	return w
}

// Watch is a heartbeat.Watch.
type Watch interface {
	Beat()
	Silent() bool
	Stop()
}

// off is the Watch of a session that is not watched.
type off struct{}

func (off) Beat()        {}
func (off) Silent() bool { return false }
func (off) Stop()        {}

// Watch watches a session. It allocates one object, and takes the wheel's lock for a moment.
func (w *Wheel) Watch(silent func()) Watch {
	if w.timeout == 0 {
		return off{}
	}
	e := &watch{wheel: w, silent: silent}
	w.own.Watch(e)
	return e
}

// Timeout returns how long a silence may last; 0 for a wheel that watches no session.
func (w *Wheel) Timeout() time.Duration { return w.timeout }

// Close ends the wheel and waits for its goroutine. Afterwards Silent is false for every watch.
func (w *Wheel) Close() {
	if w.timeout == 0 {
		return
	}
	w.once.Do(func() { close(w.closing) })
	<-w.done
}

func (w *Wheel) run() {
	defer close(w.done)
	defer w.now.Store(none)
	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-w.closing:
			return
		case <-ticker.C:
			w.advance(time.Since(last))
			last = time.Now() // anew: a beat with the old stamp has seen the time in between too
			w.report()
		}
	}
}

// advance moves the clock on by elapsed, the time since the tick before, but by two ticks at most.
func (w *Wheel) advance(elapsed time.Duration) {
	w.clock.Store(w.clock.Load() + int64(w.steps.Next(elapsed)))
	w.now.Store(stampOf(w.ticks()))
}

// ticks returns how many whole ticks the wheel had run at the last tick.
func (w *Wheel) ticks() int64 { return w.clock.Load() / max(int64(w.tick), 1) }

// report calls silent for every session that has been silent for too long.
func (w *Wheel) report() {
	w.mu.Lock()
	rings := w.rings // rings are only appended
	w.mu.Unlock()
	for _, r := range rings {
		r.report()
	}
}

// watch is the Watch of a Wheel.
type watch struct {
	mark   Mark[watch]
	wheel  *Wheel
	silent func()
}

func (e *watch) Beat()        { e.mark.beat(e.wheel) }
func (e *watch) Silent() bool { return e.wheel.own.Silent(e) }
func (e *watch) Stop()        { e.wheel.own.Stop(e) }

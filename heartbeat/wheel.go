package heartbeat

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

	ticksPerInterval = 5 // see the bounds at Wheel.limit
	minTick          = time.Millisecond
	maxDuration      = time.Duration(math.MaxInt64 / 4) // sums of a few of them do not overflow

	slotCount = 256 // a watch whose deadline is further away than this many ticks is looked at on the way
	chunk     = 256 // watches looked at in one hold of the lock
)

// Wheel is a [Checker] for any number of sessions on one goroutine: a timing wheel whose entries are moved only when
// their old deadline comes up, so that a beat touches nothing but its own watch. A watch takes 48 bytes.
//
// A silence is reported within timeout + interval, and never before the timeout has passed since the last beat. The
// same holds for what Silent says, which is as of the last tick, a fifth of the interval ago at most.
//
// Only time in which the process runs counts as silence. When the wheel's goroutine comes late by more than a fifth of
// the interval (the process was stopped, the machine slept or had no time for it, silent blocked), the gap counts for
// nobody, so that the bytes that wait in the sockets can be read first; a silence that lasts across it is found later
// by the length of the gap. When it comes late again and again, two fifths of an interval are counted each time.
//
// Make one with [New], and Close it. The zero Wheel watches nobody.
type Wheel struct {
	timeout time.Duration // 0: nobody is watched
	tick    time.Duration
	// limit is by how much the clock must have passed a stamp for the timeout to have passed since the beat. A beat
	// after one tick carries that tick's clock, up to two ticks behind the truth (advance never steps further), hence
	// limit = timeout + 2 ticks. The deadline rounds up to a slot, 1 tick, and the clock reaches that in a step, 2 ticks:
	// 5 ticks, one interval, from the timeout to the report.
	limit   time.Duration
	closing chan struct{}
	done    chan struct{} // closed when the goroutine has ended
	once    sync.Once

	_ [64]byte // what every beat reads is kept off the cache lines that Watch and Stop write
	// clock is for how long the wheel has run, as of the last tick, in nanoseconds. Written by the wheel's
	// goroutine alone.
	clock atomic.Int64
	_     [64]byte

	mu    sync.Mutex // guards what follows and the links of every watch; never held while silent runs
	hand  int64      // the slot that is being emptied; those before it are empty
	slots [slotCount]watch
	steps clock.Steps // the goroutine's own, needs no lock
}

var _ Checker = (*Wheel)(nil)

// New returns a running Wheel that reports silences longer than timeout, at most interval after that.
//
// An interval of 0 or less means 1 s; one under 5 ms means 5 ms. A timeout of 0 means 30 s; a negative one means
// none: nobody is ever silent, Timeout is 0, and there is no goroutine.
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

// newWheel makes a wheel that nobody turns yet.
func newWheel(interval, timeout time.Duration) *Wheel {
	tick := max(min(interval, maxDuration)/ticksPerInterval, minTick)
	w := &Wheel{
		timeout: timeout,
		tick:    tick,
		steps:   clock.Steps{Tick: tick},
		limit:   min(timeout, maxDuration) + 2*tick,
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	for i := range w.slots {
		slot := &w.slots[i]
		slot.next, slot.prev = slot, slot
	}
	return w
}

// Watch implements [Checker]. It allocates one object, and takes the wheel's lock for a moment.
func (w *Wheel) Watch(silent func()) Watch {
	if w.timeout == 0 {
		return off{}
	}
	e := &watch{wheel: w, silent: silent}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Load()
	e.seen.Store(now)
	w.place(e, now+int64(w.limit))
	return e
}

// Timeout implements [Checker].
func (w *Wheel) Timeout() time.Duration { return w.timeout }

// Close implements [Checker]. Afterwards nobody is silent any more.
func (w *Wheel) Close() {
	if w.timeout == 0 {
		return
	}
	w.once.Do(func() { close(w.closing) })
	<-w.done
}

func (w *Wheel) run() {
	defer close(w.done)
	defer w.clock.Store(0) // no stamp is older
	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()
	due := make([]*watch, 0, chunk)
	last := time.Now()
	for {
		select {
		case <-w.closing:
			return
		case <-ticker.C:
			w.advance(time.Since(last))
			last = time.Now() // anew: what lay between, a beat with the old stamp saw too
			w.report(due)
		}
	}
}

// advance moves the clock on for a tick that came elapsed after the one before, by two ticks at most.
func (w *Wheel) advance(elapsed time.Duration) {
	w.clock.Store(w.clock.Load() + int64(w.steps.Next(elapsed)))
}

// report calls silent for everybody who has been silent for too long. due is its buffer.
func (w *Wheel) report(due []*watch) {
	for more := true; more; {
		due, more = w.sweep(due[:0])
		for _, e := range due {
			select {
			case <-w.closing:
				return
			default:
			}
			if e.Silent() { // neither heard nor stopped in the meantime
				e.silent()
			}
		}
		clear(due)
	}
}

// sweep looks at up to chunk watches whose slot has come up, moves each to the slot of its next deadline, and appends
// those that are silent to due. It tells whether there may be more.
func (w *Wheel) sweep(due []*watch) ([]*watch, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Load()
	for n := 0; n < chunk; {
		slot := &w.slots[w.hand%slotCount]
		e := slot.next
		if e == slot {
			if w.hand == now/int64(w.tick) {
				return due, false
			}
			w.hand++
			continue
		}
		n++
		deadline := e.seen.Load() + int64(w.limit)
		if now >= deadline {
			due = append(due, e)
			deadline = now + int64(w.limit-2*w.tick)
		}
		e.unlink()
		w.place(e, deadline)
	}
	return due, true
}

// place links e into the slot that comes up within a tick of the deadline, which is ahead of the clock. The lock is
// held on entry.
func (w *Wheel) place(e *watch, deadline int64) {
	n := min(deadline/int64(w.tick)+1, w.hand+slotCount-1)
	slot := &w.slots[n%slotCount]
	e.next, e.prev = slot, slot.prev
	e.prev.next, e.next.prev = e, e
}

// forever is the stamp of a watch that was stopped: no beat is later, no clock reaches its deadline.
const forever = math.MaxInt64

// watch is the Watch of a Wheel, and the head of a slot's ring.
type watch struct {
	seen       atomic.Int64 // the wheel's clock at the last beat, or forever
	wheel      *Wheel
	silent     func()
	next, prev *watch // the ring of its slot; nil when stopped
}

// Beat writes at most once a tick, and takes no lock. The stamp never goes back, whichever goroutine was held up.
func (e *watch) Beat() {
	now := e.wheel.clock.Load()
	for {
		seen := e.seen.Load()
		if seen >= now || e.seen.CompareAndSwap(seen, now) {
			return
		}
	}
}

func (e *watch) Silent() bool {
	return e.wheel.clock.Load()-e.seen.Load() >= int64(e.wheel.limit)
}

func (e *watch) Stop() {
	e.wheel.mu.Lock()
	defer e.wheel.mu.Unlock()
	if e.next == nil {
		return
	}
	e.seen.Store(forever)
	e.unlink()
}

// unlink takes e out of its slot. The lock is held on entry.
func (e *watch) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.next, e.prev = nil, nil
}

package clock

import (
	"math"
	"sync"
	"time"
)

// Queue calls a function for each thing that was put in it so long ago. Things leave in the order in which they came, so that all
// share one timer, and one that is taken out in time leaves nothing behind. It is for a length of time that is the same for many;
// otherwise there is Clock.AfterFunc, whose rules hold here, too. Call Init before anything else.
type Queue[T any] struct {
	clock *Clock
	after time.Duration
	f     func(T)

	mu    sync.Mutex // a leaf; not held while f runs
	ring  []queued[T]
	first uint32 // number of the oldest; number n stands at ring[n%len(ring)], whose length is a power of two
	next  uint32 // number of the one that comes next; 0 is no number
	timer *time.Timer
	runs  bool // the timer
}

type queued[T any] struct {
	deadline int64 // by the clock; none where it was taken out
	thing    T
}

const none = -1

// Init has f called for each thing when after has passed by the clock, on a goroutine that all things share: f must not block.
func (q *Queue[T]) Init(c *Clock, after time.Duration, f func(T)) {
	q.clock, q.after, q.f, q.first, q.next = c, after, f, 1, 1
}

// After returns how long things stay.
func (q *Queue[T]) After() time.Duration { return q.after }

// Add puts in a thing, and returns its number, which is never 0.
func (q *Queue[T]) Add(thing T) (n uint32) {
	deadline := int64(math.MaxInt64)
	if now := q.clock.Now(); int64(q.after) < math.MaxInt64-now {
		deadline = now + int64(q.after)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == 0 {
		q.push(queued[T]{deadline: none})
		q.trim() // it may be the oldest
	}
	n = q.next
	q.push(queued[T]{deadline, thing})
	switch {
	case q.runs:
	case q.timer == nil:
		q.timer = time.AfterFunc(q.after, q.fire)
	default:
		q.timer.Reset(q.after)
	}
	q.runs = true
	return n
}

// Remove takes out a thing, and reports whether it was in time: f is not called.
func (q *Queue[T]) Remove(n uint32) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n-q.first >= q.next-q.first || q.at(n).deadline == none {
		return false
	}
	*q.at(n) = queued[T]{deadline: none}
	q.trim()
	return true
}

// The rest but fire is called with q.mu held.

func (q *Queue[T]) at(n uint32) *queued[T] { return &q.ring[n%uint32(len(q.ring))] }

func (q *Queue[T]) push(e queued[T]) {
	if int(q.next-q.first) == len(q.ring) {
		ring := make([]queued[T], max(2*len(q.ring), 16))
		for n := q.first; n != q.next; n++ {
			ring[n%uint32(len(ring))] = *q.at(n)
		}
		q.ring = ring
	}
	*q.at(q.next) = e
	q.next++
}

// trim forgets removed things before the oldest one that is left.
func (q *Queue[T]) trim() {
	for q.first != q.next && q.at(q.first).deadline == none {
		q.first++
	}
	if q.first == q.next && len(q.ring) > 4096 {
		q.ring = nil // it was needed once
	}
}

// fire is called by the timer.
func (q *Queue[T]) fire() {
	var due []T
	q.mu.Lock()
	for q.first != q.next {
		e := q.at(q.first)
		if rest := q.clock.rest(e.deadline); rest > 0 {
			q.timer.Reset(rest)
			break
		}
		due = append(due, e.thing)
		*e = queued[T]{deadline: none}
		q.trim()
	}
	q.runs = q.first != q.next
	q.mu.Unlock()
	for _, thing := range due {
		q.f(thing)
	}
}

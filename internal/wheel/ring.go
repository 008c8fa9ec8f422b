package wheel

import (
	"sync"
	"sync/atomic"
)

// Ring is another way to use a [Wheel]: it watches things of one type, each of which has a [Mark] inside. So a watch needs no
// allocation and no closure. The rules of heartbeat.Checker and heartbeat.Watch hold. All methods may be called from any goroutine.
type Ring[T any] struct {
	wheel  *Wheel
	mark   func(*T) *Mark[T]
	silent func(*T)
	due    []*T // only the wheel's goroutine uses it

	mu    sync.Mutex   // protects the fields below and the links of every mark; never held while silent runs
	hand  int64        // the slot that is being emptied; those before it are empty
	slots [slotCount]T // the heads of the slots' lists; only their marks are used
}

// Mark is the state that a [Ring] keeps inside each thing that it watches. The zero Mark means that the thing is not watched.
type Mark[T any] struct {
	seen       atomic.Uint32 // the stamp of the last beat; none when the thing is not watched
	Note       atomic.Uint32 // for the watched thing; the Ring does not use it, and without it these four bytes would be padding
	next, prev *T            // the list of its slot; nil when stopped
}

// NewRing returns a Ring that runs on the wheel's goroutine and ends with the wheel. mark returns the Mark of a thing, the same one
// at every call. silent is called for a silent thing, under the rules of heartbeat.Checker's Watch.
func NewRing[T any](w *Wheel, mark func(*T) *Mark[T], silent func(*T)) *Ring[T] {
	r := new(Ring[T])
	r.init(w, mark, silent)
	return r
}

func (r *Ring[T]) init(w *Wheel, mark func(*T) *Mark[T], silent func(*T)) {
	r.wheel, r.mark, r.silent, r.due = w, mark, silent, make([]*T, 0, chunk)
	for i := range r.slots {
		slot := &r.slots[i]
		m := mark(slot)
		m.next, m.prev = slot, slot
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r.hand = w.ticks()
	w.rings = append(w.rings, r)
}

// Watch watches e from now on. It must not be watched already.
func (r *Ring[T]) Watch(e *T) {
	if r.wheel.timeout == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ticks := r.wheel.ticks() // before the stamp: a slot that comes up too early does no harm
	r.mark(e).seen.Store(r.wheel.now.Load())
	r.place(e, ticks+int64(r.wheel.limit))
}

// Beat is for the thing that has this mark: see heartbeat.Watch.
func (r *Ring[T]) Beat(m *Mark[T]) { m.beat(r.wheel) }

// Silent tells whether e is silent: see heartbeat.Watch.
func (r *Ring[T]) Silent(e *T) bool { return r.mark(e).silent(r.wheel) }

// Stop ends the watch of e: see heartbeat.Watch.
func (r *Ring[T]) Stop(e *T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.mark(e)
	if m.next == nil {
		return
	}
	m.seen.Store(none)
	r.unlink(m)
}

// beat writes at most once a tick, and takes no lock. The stamp never goes back, even when a goroutine was delayed.
func (m *Mark[T]) beat(w *Wheel) {
	now := w.now.Load()
	for {
		seen := m.seen.Load()
		if seen == now || seen == none || now == none || int32(now-seen) < 0 || m.seen.CompareAndSwap(seen, now) {
			return
		}
	}
}

func (m *Mark[T]) silent(w *Wheel) bool {
	seen := m.seen.Load() // before now, so that it is not later
	now := w.now.Load()
	return seen != none && now != none && now-seen >= w.limit
}

// none is the stamp of what is not watched, and of a wheel that has ended.
const none = 0

// longestAge is the age, in ticks, over which a stamp is renewed, before it seems to be in the future. It is more than any limit.
const longestAge = 1 << 30

// stampOf returns the stamp of a time in ticks. Stamps begin again after 2^32 ticks, which is 41 days at least.
func stampOf(ticks int64) uint32 {
	if s := uint32(ticks + 1); s != none {
		return s
	}
	return none + 1
}

// report calls silent for each thing that has been silent for too long.
func (r *Ring[T]) report() {
	for more := true; more; {
		more = r.sweep()
		for _, e := range r.due {
			select {
			case <-r.wheel.closing:
				return
			default:
			}
			if r.Silent(e) { // it was not heard or stopped meanwhile
				r.silent(e)
			}
		}
		clear(r.due)
	}
}

// sweep checks up to chunk things in the slots that have come up, and moves each to the slot of its next deadline. It
// puts the silent things into due, and reports whether there may be more.
func (r *Ring[T]) sweep() (more bool) {
	w := r.wheel
	r.due = r.due[:0]
	r.mu.Lock()
	defer r.mu.Unlock()
	ticks, now := w.ticks(), w.now.Load()
	for n := 0; n < chunk; {
		slot := &r.slots[r.hand%slotCount]
		e := r.mark(slot).next
		if e == slot {
			if r.hand == ticks {
				return false
			}
			r.hand++
			continue
		}
		n++
		m := r.mark(e)
		seen := m.seen.Load()
		age := now - seen
		if age > longestAge {
			age = longestAge
			m.seen.CompareAndSwap(seen, max(now-age, none+1))
		}
		due := ticks + int64(w.limit) - int64(age)
		if age >= w.limit {
			r.due = append(r.due, e)
			due = ticks + int64(w.limit) - 2
		}
		r.unlink(m)
		r.place(e, due)
	}
	return true
}

// place links e into the slot of a time in ticks, which is later than the clock. The lock is held on entry.
func (r *Ring[T]) place(e *T, due int64) {
	slot := &r.slots[min(due, r.hand+slotCount-1)%slotCount]
	m, head := r.mark(e), r.mark(slot)
	m.next, m.prev = slot, head.prev
	r.mark(m.prev).next, head.prev = e, e
}

// unlink removes the thing with this mark from its slot. The lock is held on entry.
func (r *Ring[T]) unlink(m *Mark[T]) {
	r.mark(m.prev).next, r.mark(m.next).prev = m.next, m.prev
	m.next, m.prev = nil, nil
}

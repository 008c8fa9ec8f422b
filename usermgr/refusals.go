package usermgr

import (
	"cmp"
	"container/heap"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// maxRefusals limits the refused tokens, and the banned users. Each takes some 100 bytes. Over the limit the refusal
// that ends soonest is forgotten.
const maxRefusals = 1_000_000

// refusals has revoked tokens, or banned users, as digests, for as long as they are refused. The zero value is ready to
// use.
type refusals struct {
	limit int          // 0 for maxRefusals
	count atomic.Int64 // of refusals; logons look at it first

	mu     sync.Mutex
	all    map[digest]*refusal
	ends   refusalEnds
	timer  *time.Timer // runs while there are refusals
	closed bool
}

// refusal refuses a digest until a time of internal/clock.
type refusal struct {
	what  digest
	until int64
	at    int // its index in ends
}

// untilAfter returns the time d from now, or the latest possible time where that would overflow.
func untilAfter(d time.Duration) int64 {
	now := clock.Nanoseconds()
	if int64(d) > math.MaxInt64-max(now, 0) {
		return math.MaxInt64
	}
	return now + int64(d)
}

// add refuses the digests until that time. A refusal that lasts longer already is not shortened.
func (r *refusals) add(until int64, what ...digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if r.all == nil {
		r.all = make(map[digest]*refusal)
	}
	for _, d := range what {
		if x := r.all[d]; x != nil {
			if x.until < until {
				x.until = until
				heap.Fix(&r.ends, x.at)
			}
			continue
		}
		x := &refusal{what: d, until: until}
		r.all[d] = x
		heap.Push(&r.ends, x)
		if limit := cmp.Or(r.limit, maxRefusals); len(r.all) > limit {
			r.drop(r.ends[0])
		}
	}
	r.changed()
}

// lift ends a refusal, and reports whether the digest was refused.
func (r *refusals) lift(what digest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.all[what]
	if x == nil {
		return false
	}
	refused := x.until > clock.Nanoseconds()
	r.drop(x)
	r.changed()
	return refused
}

// has reports whether the digest is refused.
func (r *refusals) has(what digest) bool { return r.left(what) > 0 }

// left returns how long the digest is refused yet; 0 or less where it is not.
func (r *refusals) left(what digest) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.all[what]
	if x == nil {
		return 0
	}
	return time.Duration(x.until - clock.Nanoseconds())
}

// any reports whether there may be a refusal. It takes no lock.
func (r *refusals) any() bool { return r.count.Load() > 0 }

// close forgets everything, for good.
func (r *refusals) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.all, r.ends = nil, nil
	r.changed()
}

// drop removes x. r.mu is held.
func (r *refusals) drop(x *refusal) {
	delete(r.all, x.what)
	heap.Remove(&r.ends, x.at)
}

// changed updates the count and the timer. r.mu is held.
func (r *refusals) changed() {
	r.count.Store(int64(len(r.all)))
	if len(r.all) == 0 {
		r.all, r.ends = nil, nil // a map never shrinks
		if r.timer != nil {
			r.timer.Stop()
			r.timer = nil
		}
		return
	}
	wait := time.Duration(r.ends[0].until - clock.Nanoseconds())
	if r.timer == nil {
		r.timer = time.AfterFunc(wait, r.forgetOver)
	} else {
		r.timer.Reset(wait)
	}
}

// forgetOver is called by the timer: it forgets the refusals that are over.
func (r *refusals) forgetOver() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := clock.Nanoseconds()
	for len(r.ends) > 0 && r.ends[0].until <= now {
		r.drop(r.ends[0])
	}
	r.changed()
}

// refusalEnds is a heap for container/heap. The refusal that ends soonest is the first.
type refusalEnds []*refusal

func (e refusalEnds) Len() int           { return len(e) }
func (e refusalEnds) Less(i, j int) bool { return e[i].until < e[j].until }
func (e refusalEnds) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].at, e[j].at = i, j
}

func (e *refusalEnds) Push(x any) {
	added := x.(*refusal)
	added.at = len(*e)
	*e = append(*e, added)
}

func (e *refusalEnds) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return x
}

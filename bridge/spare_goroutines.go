package bridge

import (
	"sync"
	"sync/atomic"
	"time"
)

// spareGoroutines runs each call of do on a goroutine of its own. A goroutine that has finished a call waits for the next one, because a
// new goroutine has a small stack, and growing the stack is a part of a logon's cost. When no call has come for spareTime the goroutines
// that wait end.
type spareGoroutines[T any] struct {
	do      func(T)
	work    chan T // without a buffer: only a goroutine that waits takes a value
	waiting atomic.Int32
	used    atomic.Bool                   // a goroutine has taken a value since the last look
	looking atomic.Bool                   // a look is to come
	idle    atomic.Pointer[chan struct{}] // closed when those that wait are to end
	over    chan struct{}                 // closed when no goroutine is to wait any more
	end     func()                        // closes over
}

const (
	// mostSpare limits the goroutines that wait.
	mostSpare = 16
	spareTime = time.Second
)

func newSpareGoroutines[T any](do func(T)) *spareGoroutines[T] {
	s := &spareGoroutines[T]{do: do, work: make(chan T), over: make(chan struct{})}
	idle := make(chan struct{})
	s.idle.Store(&idle)
	s.end = sync.OnceFunc(func() { close(s.over) })
	return s
}

// run starts do(v) and returns at once.
func (s *spareGoroutines[T]) run(v T) {
	select {
	case s.work <- v:
		if !s.used.Load() {
			s.used.Store(true)
		}
	default:
		go s.serve(v)
	}
}

func (s *spareGoroutines[T]) serve(v T) {
	for ok := true; ok; v, ok = s.next() {
		s.do(v)
	}
}

// next waits for another call. It reports false when the goroutine is to end.
func (s *spareGoroutines[T]) next() (v T, ok bool) {
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > mostSpare {
		return v, false
	}
	idle := *s.idle.Load() // before it is known that a look is to come: see look
	if s.looking.CompareAndSwap(false, true) {
		time.AfterFunc(spareTime, s.look)
	}
	select {
	case v = <-s.work:
		return v, true
	case <-idle:
	case <-s.over:
	}
	return v, false
}

// look ends the goroutines that wait, if none of them was used since the last look.
func (s *spareGoroutines[T]) look() {
	if s.used.Swap(false) {
		time.AfterFunc(spareTime, s.look)
		return
	}
	s.looking.Store(false) // a goroutine that waits from now on sees to a look of its own, or has the channel that is closed here
	idle := make(chan struct{})
	close(*s.idle.Swap(&idle))
}

package bridge

import (
	"sync"
	"sync/atomic"
)

// spareGoroutines runs each call of do on a goroutine of its own. A goroutine that has finished a call waits for the next one, because a
// new goroutine has a small stack, and growing the stack is a part of a logon's cost.
type spareGoroutines[T any] struct {
	do      func(T)
	work    chan T // without a buffer: only a goroutine that waits takes a value
	waiting atomic.Int32
	over    chan struct{} // closed when no goroutine waits any more
	end     func()        // closes over
}

// mostSpare limits the goroutines that wait.
const mostSpare = 16

func newSpareGoroutines[T any](do func(T)) *spareGoroutines[T] {
	s := &spareGoroutines[T]{do: do, work: make(chan T), over: make(chan struct{})}
	s.end = sync.OnceFunc(func() { close(s.over) })
	return s
}

// run starts do(v) and returns at once.
func (s *spareGoroutines[T]) run(v T) {
	select {
	case s.work <- v:
	default:
		go s.serve(v)
	}
}

func (s *spareGoroutines[T]) serve(v T) {
	for {
		s.do(v)
		if s.waiting.Add(1) > mostSpare {
			s.waiting.Add(-1)
			return
		}
		select {
		case v = <-s.work:
			s.waiting.Add(-1)
		case <-s.over:
			return
		}
	}
}

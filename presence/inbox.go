package presence

import (
	"sync"
	"time"
)

// inbox has what the presence goroutine is to do. It takes any number: clients' requests are limited before (requests.go), and there is at
// most one call of each kind for a user under way.
type inbox struct {
	mu    sync.Mutex
	todo  []func()
	awake chan struct{} // holds one token while there is something to do
}

func (i *inbox) init() { i.awake = make(chan struct{}, 1) }

// put has the presence goroutine call f, after all that was put before.
func (i *inbox) put(f func()) {
	i.mu.Lock()
	i.todo = append(i.todo, f)
	i.mu.Unlock()
	i.wake()
}

// wake has the presence goroutine look at the table.
func (i *inbox) wake() {
	select {
	case i.awake <- struct{}{}:
	default:
	}
}

func (i *inbox) take() []func() {
	i.mu.Lock()
	defer i.mu.Unlock()
	todo := i.todo
	i.todo = nil
	return todo
}

// run is the presence goroutine.
func (s *Service) run() {
	defer close(s.ended)
	for {
		select {
		case <-s.inbox.awake:
		case <-s.ctx.Done():
			return
		}
		for _, f := range s.inbox.take() {
			f()
		}
		if s.closing {
			s.settle()
		}
		s.arm()
		s.elsewhere.spread()
		s.loadAndSave()
		if s.closing && s.table.allStored() {
			return
		}
	}
}

// after calls f on the presence goroutine when d has passed.
func (s *Service) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() { s.inbox.put(f) })
}

// finish begins the end: what ticks would still find is noted, and what waits for another try is tried at once.
func (s *Service) finish() {
	s.closing = true
	s.table.hurry()
}

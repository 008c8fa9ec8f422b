package usermgr

import (
	"context"
	"sync"
	"time"
)

const (
	// spareRunners is how many goroutines stay when no step waits, because their stacks have grown already.
	spareRunners = 16
	// heldRunners is how many goroutines may run steps before further goroutines are started slowly.
	heldRunners = 64
	// runnerPause is the time between two such starts.
	runnerPause = time.Millisecond
)

// runners run the steps of the users' turns. A turn has a goroutine only while a step of it runs, and none while it
// waits for a session's message handlers. So the end of a hundred thousand sessions at once takes a few goroutines.
//
// A step may block, because an event handler may. Then another goroutine takes the steps behind it, so that a handler
// delays only its own user. When handlers hold many goroutines, one more starts each millisecond.
type runners struct {
	mu      sync.Mutex
	work    sync.Cond // a parked goroutine waits for a step, or for the end
	steps   []step    // the waiting steps, from first on
	first   int
	coming  int  // goroutines on their way to take a step
	parked  int  // goroutines that wait for a step
	running int  // goroutines that run a step
	pausing bool // one more goroutine starts after runnerPause
	stopped bool // goroutines end when no step waits
	over    bool // ended is closed
	ended   chan struct{}
}

// step is a part of a user's turn; nil takes the next task.
type step struct {
	user *user
	run  func()
}

func (r *runners) init() {
	r.work.L = &r.mu
	r.ended = make(chan struct{})
}

// add queues a step. It never blocks, and may be called with the user's lock held.
func (r *runners) add(s step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, s)
	r.engage()
}

// engage makes sure that a goroutine takes the waiting step. r.mu is held on entry.
func (r *runners) engage() {
	switch {
	case r.coming > 0: // it engages the next one
	case r.parked > 0:
		r.parked--
		r.coming++
		r.work.Signal()
	case r.running < heldRunners || r.stopped:
		r.coming++
		go r.take()
	case !r.pausing:
		r.pausing = true
		time.AfterFunc(runnerPause, r.startOne)
	}
}

// startOne starts a goroutine although many are held.
func (r *runners) startOne() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pausing = false
	if r.coming == 0 && r.waiting() > 0 {
		r.coming++
		go r.take()
	}
}

func (r *runners) waiting() int { return len(r.steps) - r.first }

// take is a goroutine that runs steps. r.coming counts it on entry.
func (r *runners) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for r.waiting() == 0 {
			r.coming--
			if r.stopped || r.parked == spareRunners {
				r.tellEnd()
				return
			}
			r.parked++
			r.work.Wait() // the waker counts it as coming
		}
		s := r.next()
		r.coming--
		r.running++
		if r.waiting() > 0 {
			r.engage()
		}
		r.perform(s)
		r.running--
		r.coming++
	}
}

// perform unlocks r.mu while a step runs. r.mu is held on entry and on return.
func (r *runners) perform(s step) {
	r.mu.Unlock()
	defer r.mu.Lock()
	if s.run != nil {
		s.run()
		return
	}
	s.user.takeTurn()
}

// next removes and returns the first step. r.mu is held on entry, and a step waits.
func (r *runners) next() step {
	s := r.steps[r.first]
	r.steps[r.first] = step{}
	r.first++
	if r.first == len(r.steps) {
		if r.steps, r.first = r.steps[:0], 0; cap(r.steps) > 4096 {
			r.steps = nil // the memory of many steps is not kept
		}
	}
	return s
}

// tellEnd closes ended, once, when all goroutines have ended. r.mu is held on entry.
func (r *runners) tellEnd() {
	if r.stopped && !r.over && r.coming+r.running == 0 {
		r.over = true
		close(r.ended)
	}
}

// stop waits until no step waits and the goroutines have ended. A step that comes later still runs.
func (r *runners) stop(ctx context.Context) error {
	r.mu.Lock()
	r.stopped = true
	r.coming += r.parked
	r.parked = 0
	r.work.Broadcast()
	r.tellEnd()
	r.mu.Unlock()
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package bridge

import (
	"container/list"
	"context"
	"sync"
)

// semaphore has a limited number of places, given in the order of the calls. A nil semaphore has no limit.
type semaphore struct {
	places  int
	mu      sync.Mutex
	free    int
	waiting list.List // of turns
}

// turn is a place, or a position in the queue for a place.
type turn struct {
	in      chan struct{} // closed when the turn is a place; nil for one that was a place at once
	waiting *list.Element // nil for a place, and after leave
	left    bool
}

func newSemaphore(places int) *semaphore { return &semaphore{places: places, free: places} }

// taken returns the number of taken places.
func (t *semaphore) taken() int {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.places - t.free
}

// join takes a place, or joins the queue. It does not block, so that it can be called where the order of the logons is
// known.
func (t *semaphore) join() *turn {
	if t == nil {
		return nil
	}
	p := new(turn)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		return p
	}
	p.in = make(chan struct{})
	p.waiting = t.waiting.PushBack(p)
	return p
}

// wait waits until p is a place. When ctx ends first it returns the cause.
func (p *turn) wait(ctx context.Context) error {
	if p == nil {
		return nil
	}
	if p.in != nil {
		select {
		case <-p.in:
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx) // a client that has gone needs no turn
}

// leave gives p's place to the next in the queue, or removes p from the queue. Only the first call counts.
func (t *semaphore) leave(p *turn) {
	if p == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case p.left:
	case p.waiting != nil:
		t.waiting.Remove(p.waiting)
		p.waiting = nil
	case t.waiting.Len() > 0:
		next := t.waiting.Remove(t.waiting.Front()).(*turn)
		next.waiting = nil
		close(next.in)
	default:
		t.free++
	}
	p.left = true
}

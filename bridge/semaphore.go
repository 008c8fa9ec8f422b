package bridge

import (
	"container/list"
	"context"
	"sync"
)

// semaphore lets so many in at a time, first come first served. A nil one lets everybody in.
type semaphore struct {
	places  int
	mu      sync.Mutex
	free    int
	waiting list.List // of turns
}

// turn is a place, or one in the queue for a place.
type turn struct {
	in      chan struct{} // closed when it is a place
	waiting *list.Element // nil for a place, and when it has been left
	left    bool
}

func newSemaphore(places int) *semaphore { return &semaphore{places: places, free: places} }

// taken returns how many places are taken.
func (t *semaphore) taken() int {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.places - t.free
}

// join takes a place, or one in the queue. It does not block, so that it can be called where the order is still known.
func (t *semaphore) join() *turn {
	if t == nil {
		return nil
	}
	p := &turn{in: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		close(p.in)
		return p
	}
	p.waiting = t.waiting.PushBack(p)
	return p
}

// wait waits until p is a place, or returns the cause of ctx's end.
func (p *turn) wait(ctx context.Context) error {
	if p == nil {
		return nil
	}
	select {
	case <-p.in:
	case <-ctx.Done():
	}
	return context.Cause(ctx) // a client that has gone needs no turn
}

// leave gives a place to the next one who waits, or leaves the queue. Only the first call counts.
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

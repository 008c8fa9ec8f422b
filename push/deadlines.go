package push

import (
	"container/heap"
	"sync"
	"time"
)

// deadlines has the calls with a deadline, and one timer that expires them.
type deadlines struct {
	expire  func(*call) // on the timer's goroutine, without a lock
	mu      sync.Mutex
	calls   callHeap
	timer   *time.Timer
	stopped bool
}

// add makes the call expire after d.
func (h *deadlines) add(c *call, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	c.deadline = time.Now().Add(d)
	heap.Push(&h.calls, c)
	if c.place == 1 {
		h.set(d)
	}
}

// remove removes a call that waits for nothing any more, if it is in the heap.
func (h *deadlines) remove(c *call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.place > 0 {
		heap.Remove(&h.calls, c.place-1) // the timer stays, and may fire for no call
	}
}

// set sets the timer. The lock is held on entry.
func (h *deadlines) set(d time.Duration) {
	if h.timer == nil {
		h.timer = time.AfterFunc(d, h.fire)
		return
	}
	h.timer.Reset(d)
}

func (h *deadlines) fire() {
	var due []*call
	h.mu.Lock()
	now := time.Now()
	for len(h.calls) > 0 && !h.calls[0].deadline.After(now) {
		due = append(due, heap.Pop(&h.calls).(*call))
	}
	if len(h.calls) > 0 && !h.stopped {
		h.set(h.calls[0].deadline.Sub(now))
	}
	h.mu.Unlock()
	for _, c := range due {
		h.expire(c)
	}
}

func (h *deadlines) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	if h.timer != nil {
		h.timer.Stop()
	}
}

// callHeap has the call with the next deadline first.
type callHeap []*call

func (h callHeap) Len() int           { return len(h) }
func (h callHeap) Less(i, j int) bool { return h[i].deadline.Before(h[j].deadline) }

func (h callHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (h *callHeap) Push(x any) {
	c := x.(*call)
	*h = append(*h, c)
	c.place = len(*h)
}

// Pop implements heap.Interface.
func (h *callHeap) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	c.place = 0
	return c
}

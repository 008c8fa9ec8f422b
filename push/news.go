package push

import (
	"context"
	"sync"

	"github.com/rollcall-go/rollcall/internal/contain"
)

// news has the calls of Go with outcomes to tell, in order. One goroutine tells them; it ends when there are none.
type news struct {
	service *Service
	mu      sync.Mutex
	calls   []*call
	running bool
}

// add queues a call. The caller has set its queued.
func (n *news) add(c *call) {
	n.mu.Lock()
	n.calls = append(n.calls, c)
	start := !n.running
	n.running = true
	n.mu.Unlock()
	if start {
		n.service.crew.start(n.tellAll)
	}
}

func (n *news) tellAll() {
	ended := false
	defer func() {
		if !ended { // a done has ended the goroutine
			n.service.crew.start(n.tellAll)
		}
	}()
	for c := n.next(); c != nil; c = n.next() {
		n.tell(c)
	}
	ended = true
}

// next returns the call whose turn it is; nil when there is none, and the goroutine ends.
func (n *news) next() *call {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.calls) == 0 {
		n.calls, n.running = nil, false
		return nil
	}
	c := n.calls[0]
	n.calls[0] = nil
	n.calls = n.calls[1:]
	return c
}

// tell calls done with the new deliveries.
func (n *news) tell(c *call) {
	c.mu.Lock()
	c.queued = false
	r := Result{ID: c.message.ID, Deliveries: c.deliveries, Pending: c.open}
	err := c.failed
	c.deliveries, c.failed = nil, nil
	last := c.open == 0 && !c.told
	c.told = c.told || last
	c.mu.Unlock()
	if len(r.Deliveries) == 0 && err == nil && !last {
		return
	}
	contain.Call(func() { c.done(r, err) }, func(v any) { n.service.panicked("the function that Go tells", v) })
}

// crew counts the service's goroutines.
type crew struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n is 0; nil while no caller waits for that
}

func (w *crew) start(f func()) {
	w.mu.Lock()
	w.n++
	w.mu.Unlock()
	go func() {
		defer w.ended()
		f()
	}()
}

func (w *crew) ended() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n--; w.n == 0 && w.idle != nil {
		close(w.idle)
		w.idle = nil
	}
}

// wait waits until no goroutine runs.
func (w *crew) wait(ctx context.Context) error {
	w.mu.Lock()
	if w.n == 0 {
		w.mu.Unlock()
		return nil
	}
	if w.idle == nil {
		w.idle = make(chan struct{})
	}
	idle := w.idle
	w.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

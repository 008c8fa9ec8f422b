package presence

import (
	"runtime/debug"
	"sync"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
)

// changes has what Config.Changed is to be told. A goroutine tells it; it ends when there is nothing.
type changes struct {
	service *Service
	mu      sync.Mutex
	order   []string // users with a change, the oldest first
	of      map[string]Change
	running bool
}

// add queues a change, after the user's one that waits, which it continues.
func (q *changes) add(c Change) {
	if q.service.cfg.Changed == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if before, ok := q.of[c.UserID]; ok {
		c.Old = before.Old
	} else {
		q.order = append(q.order, c.UserID)
	}
	if q.of == nil {
		q.of = make(map[string]Change)
	}
	q.of[c.UserID] = c
	if !q.running {
		q.running = true
		q.service.crew.Go(q.tellAll)
	}
}

func (q *changes) tellAll() {
	ended := false
	defer func() {
		if !ended { // Changed has ended the goroutine
			q.service.crew.Go(q.tellAll)
		}
	}()
	for c, ok := q.next(); ok; c, ok = q.next() {
		if c.Old != c.New {
			contain.Call(func() { q.service.cfg.Changed(c) }, q.panicked)
		}
	}
	ended = true
}

// next returns the oldest change; there is none when the goroutine ends.
func (q *changes) next() (c Change, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		q.order, q.running = nil, false
		return Change{}, false
	}
	c = q.of[q.order[0]]
	delete(q.of, q.order[0])
	q.order = q.order[1:]
	return c, true
}

func (q *changes) panicked(v any) {
	q.service.panicking.Add(1)
	q.service.log.Error("presence: Config.Changed panicked", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
}

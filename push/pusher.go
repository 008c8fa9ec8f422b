package push

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/seam"
)

// Pusher delivers messages in some way. Several goroutines may call its method at a time.
type Pusher interface {
	// Push delivers m, which it must not change, to the target. It returns a delivery for each user that the target names,
	// online or not, and for each user that it found otherwise. The service fills in Delivery.Pusher. An error concerns the
	// whole call, for example a push service that cannot be reached; Push may return deliveries with it. With Service.Go ctx
	// does not end.
	Push(ctx context.Context, to Target, m *Message) ([]Delivery, error)
}

// Register adds a pusher under a name, which its deliveries carry, and returns the function that removes it again. Pushers are
// called in the order in which they were registered. Register panics for a nil pusher.
func (s *Service) Register(name string, p Pusher) (unregister func()) {
	if p == nil {
		panic("rollcall: Register needs a pusher")
	}
	added := &registered{name: name, pusher: p}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushers = append(slices.Clone(s.pushers), added)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pushers = slices.DeleteFunc(slices.Clone(s.pushers), func(r *registered) bool { return r == added })
	}
}

func (s *Service) all() []*registered {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushers
}

// maxQueued is how many messages of Go may wait for one pusher.
const maxQueued = 1024

// registered is a pusher with its waiting messages. While messages wait a goroutine hands them over, and messages of
// Push wait behind them, so that all stay in order.
type registered struct {
	name   string
	pusher Pusher

	mu      sync.Mutex
	jobs    []job
	running bool
}

// job is a message of Go for a pusher, or one of Push that waits for its turn.
type job struct {
	call *call
	to   Target
	m    *Message
	turn chan struct{} // Push's: closed when its turn has come
}

// push hands the message over, after those that wait.
func (r *registered) push(ctx context.Context, c *call, to Target, m *Message) ([]Delivery, error) {
	r.mu.Lock()
	if r.running {
		turn := make(chan struct{})
		r.jobs = append(r.jobs, job{turn: turn})
		r.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
			return nil, fmt.Errorf("rollcall: pusher %s: %w", r.name, ctx.Err())
		}
	} else {
		r.mu.Unlock()
	}
	return r.call(ctx, c, to, m)
}

// later queues a message of Go.
func (r *registered) later(c *call, to Target, m *Message) {
	r.mu.Lock()
	if len(r.jobs) >= maxQueued {
		r.mu.Unlock()
		c.add(nil, fmt.Errorf("rollcall: pusher %s: %w", r.name, errFull))
		c.pushed()
		return
	}
	c.hold()
	r.jobs = append(r.jobs, job{call: c, to: to, m: m})
	start := !r.running
	r.running = true
	r.mu.Unlock()
	if start {
		c.service.crew.start(r.work)
	}
}

// work is the pusher's goroutine. It hands over the waiting messages.
func (r *registered) work() {
	for {
		r.mu.Lock()
		if len(r.jobs) == 0 {
			r.jobs, r.running = nil, false
			r.mu.Unlock()
			return
		}
		j := r.jobs[0]
		r.jobs[0] = job{}
		r.jobs = r.jobs[1:]
		r.mu.Unlock()
		r.handOver(j)
	}
}

func (r *registered) handOver(j job) {
	if j.turn != nil {
		close(j.turn)
		return
	}
	j.call.add(r.call(context.Background(), j.call, j.to, j.m))
	j.call.pushed()
	j.call.release()
}

// call calls the pusher on a goroutine of its own, because the pusher may end it.
func (r *registered) call(ctx context.Context, c *call, to Target, m *Message) (deliveries []Delivery, err error) {
	s := c.service
	if s.keeper.Load() != nil {
		ctx = context.WithValue(ctx, seam.PushingKey{}, seam.Pushing(c))
	}
	contain.Apart(func() { deliveries, err = r.pusher.Push(ctx, to, m) }, func(v any) {
		s.panicked("a pusher", v, zap.String("pusher", r.name))
		deliveries, err = nil, contain.Error("it", v)
	})
	for i := range deliveries {
		deliveries[i].Pusher = r.name
	}
	if err != nil {
		err = fmt.Errorf("rollcall: pusher %s: %w", r.name, err)
	}
	return deliveries, err
}

package chat

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// A writer stores what has an order in a conversation: messages, recalls, and every change of a group. A conversation belongs to one writer. Its
// first goroutine takes what has queued while the store was busy and stores it, posts in batches. Its second goroutine, the deliverer, answers and
// delivers what was stored, in the same order, while the first one goes on.
type writer struct {
	service *Service
	mu      sync.Mutex
	todo    []*task
	closed  bool
	awake   chan struct{}  // holds one token while there is something to do
	out     chan []*task   // to the deliverer
	ended   chan struct{}  // closed when the deliverer has ended
	told    lru[Key, told] // what was delivered; the deliverer alone uses it
	news    chan struct{}  // holds one token while something was heard
	heard   map[Key]news   // what other servers have stored, and is not delivered here
	hearing []Key          // its conversations, in order
	own     map[sent]*task // posts that are not delivered; what is heard may have them delivered earlier. Nil where there are no other servers
}

// task is one post or one change of a group.
type task struct {
	key Key

	post     *Post
	unknown  bool          // the outcome of the post's first transaction was not known
	but      *engine.Conn  // the session that has sent it, which gets no copy; nil for none
	answered func(p *Post) // called by the deliverer before the delivery

	store   func(ctx context.Context) error // a change: called by the writer's first goroutine
	err     error                           // what store has returned
	deliver func(err error)                 // called by the deliverer, after what was stored before was delivered
}

const mostInBatch = 256

var seed = maphash.MakeSeed()

func startWriter(s *Service) *writer {
	w := &writer{service: s, awake: make(chan struct{}, 1), news: make(chan struct{}, 1), out: make(chan []*task, 1), ended: make(chan struct{})}
	w.told.most = s.cfg.Limits.Rosters / max(s.cfg.Store.Writers(), 1)
	go w.run()
	go w.deliverAll()
	return w
}

// writerOf returns the writer that a conversation belongs to.
func (s *Service) writerOf(k Key) *writer {
	return s.writers[maphash.Comparable(seed, k)%uint64(len(s.writers))]
}

// put queues a task; the error says that the service is closed.
func (w *writer) put(t *task) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errStopping
	}
	w.todo = append(w.todo, t)
	w.noteOwn(t)
	w.wake()
	return nil
}

func (w *writer) wake() {
	select {
	case w.awake <- struct{}{}:
	default:
	}
}

// take returns what is stored next, a batch of posts or one change, or false when the writer is closed and has nothing left.
func (w *writer) take() ([]*task, bool) {
	for {
		w.mu.Lock()
		n := 0
		for n < len(w.todo) && n < mostInBatch && (n == 0 || w.todo[n].post != nil && w.todo[0].post != nil) {
			n++
		}
		batch := w.todo[:n:n]
		w.todo = w.todo[n:]
		closed := w.closed
		w.mu.Unlock()
		if n > 0 || closed {
			return batch, n > 0
		}
		<-w.awake
	}
}

// close has further tasks refused, and waits until all others are stored and delivered.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.wake()
	w.mu.Unlock()
	<-w.ended
}

func (w *writer) run() {
	defer close(w.out)
	for {
		batch, more := w.take()
		if !more {
			return
		}
		if batch[0].post != nil {
			w.append(batch)
			continue
		}
		batch[0].err = w.service.withStore(batch[0].store)
		w.out <- batch
	}
}

// withStore calls f with a context for calls of the store. A panic in the store is an error.
func (s *Service) withStore(f func(ctx context.Context) error) (err error) {
	ctx, cancel := s.storeContext(s.ctx)
	defer cancel()
	contain.Apart(func() { err = f(ctx) }, func(why any) { err = contain.Error("the store", why) })
	return err
}

// append stores a batch and hands it to the deliverer. Where a transaction fails its outcome is not known: it is repeated until StoreTimeout, and
// posts that were stored are found by their IDs then. When single posts are the cause, each is tried alone.
func (w *writer) append(batch []*task) {
	s := w.service
	began := clock.Nanoseconds()
	err := w.service.withStore(func(ctx context.Context) error {
		for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
			err := s.appendOnce(ctx, batch)
			if err == nil || errors.Is(err, ErrBadPost) || ctx.Err() != nil {
				return err
			}
			s.failed("Append", err)
			for _, t := range batch {
				t.unknown = true
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return err
			}
		}
	})
	switch {
	case err == nil:
		s.batches.Add(1)
		s.perPost.Store((clock.Nanoseconds() - began) / int64(len(batch)))
	case errors.Is(err, ErrBadPost) && len(batch) > 1:
		for _, t := range batch {
			w.append([]*task{t})
		}
		return
	default:
		s.failed("Append", err)
		for _, t := range batch {
			t.post.Err = errNotStored
		}
	}
	w.out <- batch
}

var errNotStored = error(&protocol.CloseError{Code: protocol.NotStored, Text: "the store has failed: send the message again with the same ID",
	Info: map[string]string{protocol.FieldRetryMS: "1000"}})

// appendOnce is one transaction.
func (s *Service) appendOnce(ctx context.Context, batch []*task) error {
	posts, now := make([]*Post, len(batch)), now()
	for i, t := range batch {
		p := t.post
		p.Time, p.Seq, p.Dup, p.Err, p.Version = now, 0, false, nil, 0
		posts[i] = p
	}
	return s.cfg.Store.Append(ctx, posts, s.policy.allow)
}

// deliverAll is the deliverer.
func (w *writer) deliverAll() {
	defer close(w.ended)
	for {
		select {
		case batch, more := <-w.out:
			if !more {
				return
			}
			w.deliverBatch(batch)
		case <-w.news:
			w.deliverHeard()
		}
	}
}

// deliverBatch delivers what was stored. Other servers hear of it first: before its senders are answered.
func (w *writer) deliverBatch(batch []*task) {
	for _, t := range batch {
		if p := t.post; p != nil && p.Dup && !t.unknown {
			at, _ := w.told.get(t.key)
			t.unknown = at.find(p.From, p.ID, p.Recalls) != nil // it was not known to be stored, and is not delivered
		}
	}
	w.service.elsewhere.stored(batch)
	for _, t := range batch {
		if t.post == nil {
			t.deliver(t.err)
			continue
		}
		w.deliver(t)
		w.forgetOwn(t)
	}
}

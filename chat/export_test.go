package chat

import (
	"context"
	"time"
)

// Again has what was told to other servers told once more so often, until the function that is returned is called.
func Again(every time.Duration) (back func()) {
	before := againAfter
	againAfter = every
	return func() { againAfter = before }
}

// Settle waits until all that was stored or heard before is delivered.
func (s *Service) Settle() {
	for _, w := range s.writers {
		delivered := make(chan struct{})
		err := w.put(&task{store: func(context.Context) error { return nil }, deliver: func(error) {
			w.deliverHeard()
			close(delivered)
		}})
		if err == nil {
			<-delivered
		}
	}
}

// Queued returns how many posts and changes of groups wait for the store.
func (s *Service) Queued() (n int) {
	for _, w := range s.writers {
		w.mu.Lock()
		n += len(w.todo)
		w.mu.Unlock()
	}
	return n
}

// Allow is what the service says of a post.
func Allow(strangers bool, window time.Duration, p *Post, s *Standing) error {
	return (&policy{strangers: strangers, recallWindow: window}).allow(p, s)
}

package chat

import (
	"context"
	"time"
)

// Settle waits until all that was stored before is delivered.
func (s *Service) Settle() {
	for _, w := range s.writers {
		delivered := make(chan struct{})
		err := w.put(&task{store: func(context.Context) error { return nil }, deliver: func(error) { close(delivered) }})
		if err == nil {
			<-delivered
		}
	}
}

// Allow is what the service says of a post.
func Allow(strangers bool, window time.Duration, p *Post, s *Standing) error {
	return (&policy{strangers: strangers, recallWindow: window}).allow(p, s)
}

package chat

import (
	"context"
	"time"
)

const (
	mostPruned = 500                    // messages that a call of the store removes
	pruneAgain = 100 * time.Millisecond // the pause before the next call, so that messages of users come in between
)

// pruneEvery is how often old messages are looked for.
func (c *Config) pruneEvery() time.Duration {
	return min(max(c.Retention/10, time.Second), time.Minute)
}

// prune removes what is older than Retention, until the service ends. Every server does so, each what the others have left.
func (s *Service) prune() {
	for s.pause(s.cfg.pruneEvery()) {
		for s.pruneSome() == mostPruned && s.pause(pruneAgain) {
		}
	}
}

// pruneSome returns how many messages it has removed.
func (s *Service) pruneSome() (n int) {
	err := s.withStore(func(ctx context.Context) (err error) {
		n, err = s.cfg.Store.Prune(ctx, now().Add(-s.cfg.Retention), mostPruned)
		return err
	})
	if err != nil && s.ctx.Err() == nil {
		_ = s.failed("Prune", err) // it is tried again
	}
	return n
}

// pause reports false when the service ends.
func (s *Service) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

package push

import (
	"testing"
	"time"
)

// SetConfirmTimeout sets how long Push waits without a deadline until the test ends, and returns what it was.
func SetConfirmTimeout(t *testing.T, d time.Duration) time.Duration {
	was := confirmTimeout
	confirmTimeout = d
	t.Cleanup(func() { confirmTimeout = was })
	return was
}

// Asked returns for how many messages, each to a user, the pusher remembers that they are to be acknowledged.
func (p *Engine) Asked() int {
	p.confirmations.mu.Lock()
	defer p.confirmations.mu.Unlock()
	return len(p.confirmations.asked)
}

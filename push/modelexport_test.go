package push

import (
	"fmt"
	"strings"
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

// Outboxes returns how many users have an outbox.
func (s *Service) Outboxes() int { return int(s.outboxes.count.Load()) }

// Looks returns how many of a user's connections were looked at for what has been sent to the user, while something waits.
func (s *Service) Looks(user string) int {
	b := s.outboxes.find(user, false)
	if b == nil {
		return 0
	}
	defer s.outboxes.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.served.work
}

// Describe tells what waits.
func (s *Service) Describe() string {
	var all strings.Builder
	fmt.Fprintf(&all, "%+v", s.Stats())
	for _, b := range s.outboxes.all() {
		b.mu.Lock()
		fmt.Fprintf(&all, "\n%s: busy %v, %d waiting", b.user, b.turn.busy, len(b.turn.waiting))
		for c := range b.served.conns {
			fmt.Fprintf(&all, ", served %d", c.ID())
		}
		for _, p := range b.parcels {
			fmt.Fprintf(&all, "\n\t%v kept %v sending %v answered %v", p.call.message.ID, p.kept, p.sending, p.answered)
			for i := range p.asks {
				a := &p.asks[i]
				fmt.Fprintf(&all, "; %+v over %v extra %v ended %v", b.delivery(a), a.over, a.extra, a.ended())
			}
		}
		b.mu.Unlock()
	}
	return all.String()
}

// KeepAudience sets how often the audience is checked until the test ends.
func KeepAudience(t *testing.T, d time.Duration) {
	was := keepAudience
	keepAudience = d
	t.Cleanup(func() { keepAudience = was })
}

// LookAtAudience looks whether the audience is of use still, and reports whether it is kept.
func (s *Service) LookAtAudience() bool {
	s.audiences.look(s)
	return s.audiences.now.Load() != nil
}

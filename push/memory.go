package push

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Memory is a Pusher that keeps messages to be read, for tests and development. It keeps the last that fit, and forgets
// the oldest. All methods may be called from any goroutine.
type Memory struct {
	mu   sync.Mutex
	max  int
	kept []Kept
}

// Kept is a message as it was pushed.
type Kept struct {
	To      Target
	Message Message
}

// NewMemory returns a Memory that keeps max messages at most; 0 or less means 1,000.
func NewMemory(max int) *Memory {
	if max <= 0 {
		max = 1000
	}
	return &Memory{max: max}
}

// Push implements Pusher. Each user that the target names has one delivery, of no session.
func (p *Memory) Push(_ context.Context, to Target, m *Message) ([]Delivery, error) {
	kept := Kept{To: to.clone(), Message: *m}
	kept.Message.Content, kept.Message.Metadata = slices.Clone(m.Content), maps.Clone(m.Metadata)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kept) == p.max {
		p.kept[0] = Kept{} // what the array behind keeps is not reachable any more
		p.kept = p.kept[1:]
	}
	p.kept = append(p.kept, kept)
	deliveries := make([]Delivery, len(to.Users))
	for i, id := range to.Users {
		deliveries[i].UserID = id
	}
	return deliveries, nil
}

// clone returns a copy that shares nothing with t.
func (t Target) clone() Target {
	t.Users = slices.Clone(t.Users)
	if t.Sessions != nil {
		filter := *t.Sessions
		filter.Devices = slices.Clone(filter.Devices)
		t.Sessions = &filter
	}
	return t
}

// All returns what is kept, the oldest first.
func (p *Memory) All() []Kept {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.kept)
}

// For returns the messages that were pushed to this user, by name or with everyone, the oldest first.
func (p *Memory) For(userID string) []Message {
	var out []Message
	for _, k := range p.All() {
		if k.To.Everyone || slices.Contains(k.To.Users, userID) {
			out = append(out, k.Message)
		}
	}
	return out
}

// Clear forgets what is kept.
func (p *Memory) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = nil
}

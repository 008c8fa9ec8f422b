package push

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Memory is a Pusher that records messages, for tests and development. When it is full it forgets the oldest. All methods may be
// called from any goroutine.
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

// NewMemory returns a Memory that records max messages at most; 0 or less means 1,000.
func NewMemory(max int) *Memory {
	if max <= 0 {
		max = 1000
	}
	return &Memory{max: max}
}

// Push implements Pusher. Each user that the target names has one delivery, of no session.
func (p *Memory) Push(_ context.Context, to Target, m *Message) ([]Delivery, error) {
	kept := Kept{To: to.clone(), Message: *clone(m)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kept) == p.max {
		p.kept[0] = Kept{} // so that the array does not keep it alive
		p.kept = p.kept[1:]
	}
	p.kept = append(p.kept, kept)
	deliveries := make([]Delivery, len(to.Users))
	for i, id := range to.Users {
		deliveries[i].UserID = id
	}
	return deliveries, nil
}

// clone returns a copy that shares no memory with m.
func clone(m *Message) *Message {
	c := *m
	c.Content, c.Metadata = slices.Clone(m.Content), maps.Clone(m.Metadata)
	return &c
}

// All returns the recorded messages, the oldest first.
func (p *Memory) All() []Kept {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.kept)
}

// Clear forgets all recorded messages.
func (p *Memory) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = nil
}

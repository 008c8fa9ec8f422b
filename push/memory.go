package push

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Memory is a Pusher that records messages, for tests and development. The zero value is ready to use. All methods may be called from
// any goroutine.
type Memory struct {
	// Max limits the recorded messages; over the limit, a new message replaces the oldest one. 0 means 1,000; negative means no
	// limit.
	Max int

	mu   sync.Mutex
	kept []Kept
}

// Kept is a message as it was pushed.
type Kept struct {
	To      Target
	Message Message
}

// Push implements Pusher. Each user that the target names has one delivery, of no session.
func (p *Memory) Push(_ context.Context, to Target, m *Message) ([]Delivery, error) {
	kept := Kept{To: to.clone(), Message: *clone(m)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kept) == orDefault(p.Max, 1000) {
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

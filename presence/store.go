package presence

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Record is what is stored of a user.
type Record struct {
	UserID string
	Wanted State // what the user has chosen: Online, Busy or Stealth
	// LastOnline is when others last saw the user come, and LastSeen when they last saw the user go. Time in Stealth moves neither. The
	// zero time is never.
	LastOnline, LastSeen time.Time
}

// Store keeps records. Its methods are called from several goroutines at a time, and may block until ctx ends. A call that fails, panics or does
// not return in Config.StoreTimeout is logged, counted and repeated. There is at most one call of SavePresence for a user at a time;
// a call whose ctx has ended must not store anything later.
type Store interface {
	// LoadPresence returns the records of those of the users that have one, in any order. A Wanted that is no choice counts as Stealth.
	LoadPresence(ctx context.Context, userIDs []string) ([]Record, error)
	// SavePresence stores records, all or none, in the place of those that are stored. Each has another user; they are sorted by UserID.
	SavePresence(ctx context.Context, records []Record) error
}

// Memory is a Store that forgets when the process ends. Any goroutine may call its methods.
type Memory struct {
	mu      sync.Mutex
	records map[string]Record
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{records: make(map[string]Record)} }

// LoadPresence implements Store.
func (m *Memory) LoadPresence(_ context.Context, userIDs []string) ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make([]Record, 0, len(userIDs))
	for _, id := range userIDs {
		if r, ok := m.records[id]; ok {
			found = append(found, r)
		}
	}
	return found, nil
}

// SavePresence implements Store.
func (m *Memory) SavePresence(_ context.Context, records []Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.records[r.UserID] = r
	}
	return nil
}

// All returns the records, sorted by user.
func (m *Memory) All() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.records), func(a, b Record) int { return strings.Compare(a.UserID, b.UserID) })
}

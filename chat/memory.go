package chat

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/rollcall-go/rollcall/presence"
)

// Memory is a Store that forgets when the process ends, for tests and for servers whose history may be lost. Any goroutine may call its methods. One
// mutex makes each of them one transaction: the functions that a method is given run while it is locked, and must not call the store.
type Memory struct {
	records *presence.Memory

	mu            sync.Mutex
	users         map[string]User
	contacts      map[string]map[string]Contact // by user and other
	conversations map[Key]*memConversation
	of            map[string]map[uint64]*memConversation // by user and number: the groups that the user is in, and the user's pairs
	pairs         map[uint64]bool                        // the numbers that pairs have
	lastPair      uint64                                 // the number given last
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		records: presence.NewMemory(), users: make(map[string]User), contacts: make(map[string]map[string]Contact),
		conversations: make(map[Key]*memConversation), of: make(map[string]map[uint64]*memConversation), pairs: make(map[uint64]bool),
		lastPair: 1 << 62,
	}
}

// Writers implements Store: one call at a time goes on.
func (m *Memory) Writers() int { return 1 }

// begin locks the store for a transaction, unless ctx has ended.
func (m *Memory) begin(ctx context.Context) error {
	m.mu.Lock()
	err := ctx.Err()
	if err != nil {
		m.mu.Unlock()
	}
	return err
}

// LoadPresence implements presence.Store.
func (m *Memory) LoadPresence(ctx context.Context, userIDs []string) ([]presence.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return m.records.LoadPresence(ctx, userIDs)
}

// SavePresence implements presence.Store.
func (m *Memory) SavePresence(ctx context.Context, records []presence.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.records.SavePresence(ctx, records)
}

// Users implements Store.
func (m *Memory) Users(ctx context.Context, userIDs []string) ([]User, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	users := make([]User, len(userIDs))
	for i, id := range userIDs {
		users[i] = m.user(id)
	}
	return users, nil
}

func (m *Memory) user(id string) User {
	if u, ok := m.users[id]; ok {
		return u
	}
	return User{UserID: id, Settings: DefaultSettings()}
}

// UpdateUser implements Store.
func (m *Memory) UpdateUser(ctx context.Context, userID string, change func(u *User) error) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	u := m.user(userID)
	if err := change(&u); err != nil {
		return err
	}
	if u.UserID = userID; u.Exists {
		m.users[userID] = u
	}
	return nil
}

// UpdateContact implements Store.
func (m *Memory) UpdateContact(ctx context.Context, a, b string, change func(r *Relation) error) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	r := Relation{
		A: m.user(a), B: m.user(b), AB: m.stored(a, b), BA: m.stored(b, a),
		FriendsA: m.count(a, Friend), FriendsB: m.count(b, Friend), AskedA: m.count(a, AskedByMe), AskB: m.count(b, AsksMe),
	}
	if err := change(&r); err != nil {
		return err
	}
	m.store(a, b, r.AB)
	m.store(b, a, r.BA)
	return nil
}

// stored returns what one has with another, without what the other has with the one.
func (m *Memory) stored(one, other string) Contact {
	c := m.contacts[one][other]
	c.UserID = other
	return c
}

// contact is stored with what the other has blocked.
func (m *Memory) contact(one, other string) Contact {
	c, back := m.stored(one, other), m.contacts[other][one]
	c.BlockedBy, c.BlockedByAnonymous = back.Blocked, back.BlockedAnonymous
	return c
}

func (m *Memory) store(one, other string, c Contact) {
	c.UserID, c.BlockedBy, c.BlockedByAnonymous = other, false, false
	if m.contacts[one] == nil {
		m.contacts[one] = make(map[string]Contact)
	}
	m.contacts[one][other] = c
}

func (m *Memory) count(userID string, s ContactState) (n int) {
	for _, c := range m.contacts[userID] {
		if c.State == s {
			n++
		}
	}
	return n
}

// Contacts implements Store.
func (m *Memory) Contacts(ctx context.Context, userID, after string, limit int) ([]Contact, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var found []Contact
	for other, c := range m.contacts[userID] {
		if other > after && (c.State != 0 || c.Blocked) {
			found = append(found, m.contact(userID, other))
		}
	}
	slices.SortFunc(found, func(a, b Contact) int { return strings.Compare(a.UserID, b.UserID) })
	return first(found, limit), nil
}

// first returns the first entries of a page, all for limit 0.
func first[T any](all []T, limit int) []T {
	if limit > 0 && len(all) > limit {
		return all[:limit]
	}
	return all
}

// ContactsWith implements Store.
func (m *Memory) ContactsWith(ctx context.Context, userID string, others []string) ([]Contact, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	found := make([]Contact, len(others))
	for i, other := range others {
		found[i] = m.contact(userID, other)
	}
	return found, nil
}

// Conversations implements Store.
func (m *Memory) Conversations(ctx context.Context, userID string, after uint64, limit int) ([]ConversationInfo, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var found []ConversationInfo
	for _, number := range slices.Sorted(maps.Keys(m.of[userID])) {
		if number <= after {
			continue
		}
		c := m.of[userID][number]
		named := Conversation{Group: c.key.Group}
		if c.key.Group == 0 {
			if named.With = c.key.A; c.key.A == userID {
				named.With = c.key.B
			}
		}
		found = append(found, ConversationInfo{Conversation: named, ID: number, LastSeq: c.last})
	}
	return first(found, limit), nil
}

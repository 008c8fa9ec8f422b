package chat

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// memConversation is a group's conversation or that of two users. Its messages have numbers without a gap, so that the number of the first one gives
// the place of each.
type memConversation struct {
	key      Key
	number   uint64 // in the store; a group's is its ID
	messages []memMessage
	used     map[memSent]uint64 // the numbers of messages and recalls by what their senders have named them
	last     uint64
	lastTime time.Time

	group   Group // without LastSeq, which is last
	members map[string]Member
	barred  map[string]bar // users who are banned or muted, members or not
}

// bar is a ban, a mute, or both.
type bar struct {
	by         string // who has banned the user
	mutedUntil time.Time
}

// group returns a group, or nil.
func (m *Memory) group(id GroupID) *memConversation {
	c := m.conversations[Key{Group: id}]
	if id == 0 || c == nil || c.group.Dissolved {
		return nil
	}
	return c
}

// info returns the group as it is.
func (c *memConversation) info() Group {
	g := c.group
	g.LastSeq, g.Members = c.last, len(c.members)
	return g
}

// member returns a user in the group, or one that is not.
func (c *memConversation) member(userID string) Member {
	u := c.members[userID]
	u.UserID, u.BannedBy, u.MutedUntil = userID, c.barred[userID].by, c.barred[userID].mutedUntil
	return u
}

// enter notes that a user is in a conversation.
func (m *Memory) enter(userID string, c *memConversation) {
	if m.of[userID] == nil {
		m.of[userID] = make(map[uint64]*memConversation)
	}
	m.of[userID][c.number] = c
}

// groupsOf returns the groups that a user is in, in no order.
func (m *Memory) groupsOf(userID string) (all []*memConversation) {
	for _, c := range m.of[userID] {
		if c.key.Group != 0 {
			all = append(all, c)
		}
	}
	return all
}

// CreateGroup implements Store.
func (m *Memory) CreateGroup(ctx context.Context, g Group, allow func(groups int) error) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if m.conversations[Key{Group: g.ID}] != nil || m.pairs[uint64(g.ID)] {
		return ErrTaken
	}
	if err := allow(len(m.groupsOf(g.Owner))); err != nil {
		return err
	}
	g.Dissolved, g.Version = false, 1
	c := &memConversation{
		key: Key{Group: g.ID}, number: uint64(g.ID), used: make(map[memSent]uint64), group: g,
		members: map[string]Member{g.Owner: {UserID: g.Owner, In: true, Role: Owner}}, barred: make(map[string]bar),
	}
	m.conversations[c.key] = c
	m.enter(g.Owner, c)
	return nil
}

// UpdateGroup implements Store.
func (m *Memory) UpdateGroup(ctx context.Context, id GroupID, userIDs []string, change func(g *Group, users []Member) error) (Group, error) {
	if err := m.begin(ctx); err != nil {
		return Group{}, err
	}
	defer m.mu.Unlock()
	c := m.group(id)
	if c == nil {
		return Group{}, errNoSuchGroup
	}
	g, users := c.info(), make([]Member, len(userIDs))
	for i, userID := range userIDs {
		users[i] = c.member(userID)
		users[i].Groups = len(m.groupsOf(userID))
	}
	if err := change(&g, users); err != nil {
		return Group{}, err
	}
	moved := false
	for i, u := range users {
		u.UserID = userIDs[i]
		moved = m.place(c, u) || moved
	}
	if g.Dissolved {
		for userID := range c.members {
			delete(m.of[userID], c.number)
		}
		c.members, c.barred, c.messages, c.used, moved = nil, nil, nil, nil, true
	}
	g.ID, g.Version = id, c.group.Version
	if moved {
		g.Version++
	}
	c.group = g
	return c.info(), nil
}

// place stores what a change has made of a user in a group, and reports whether the user has come or gone.
func (m *Memory) place(c *memConversation, u Member) (moved bool) {
	was := c.member(u.UserID)
	if delete(c.barred, u.UserID); u.BannedBy != "" || !u.MutedUntil.IsZero() {
		c.barred[u.UserID] = bar{u.BannedBy, u.MutedUntil}
	}
	switch {
	case u.In:
		if u.Joined = was.Joined; !was.In {
			u.Joined = c.last
			m.enter(u.UserID, c)
		}
		u.Groups = 0
		c.members[u.UserID] = u
	case was.In:
		delete(c.members, u.UserID)
		delete(m.of[u.UserID], c.number)
	}
	return u.In != was.In
}

// Group implements Store.
func (m *Memory) Group(ctx context.Context, id GroupID, userID string) (Group, Member, error) {
	if err := m.begin(ctx); err != nil {
		return Group{}, Member{}, err
	}
	defer m.mu.Unlock()
	c := m.group(id)
	if c == nil {
		return Group{}, Member{}, errNoSuchGroup
	}
	return c.info(), c.member(userID), nil
}

// Members implements Store.
func (m *Memory) Members(ctx context.Context, id GroupID, after string, limit int) (Group, []Member, error) {
	if err := m.begin(ctx); err != nil {
		return Group{}, nil, err
	}
	defer m.mu.Unlock()
	c := m.group(id)
	if c == nil {
		return Group{}, nil, errNoSuchGroup
	}
	var found []Member
	for userID := range c.members {
		if userID > after {
			found = append(found, c.member(userID))
		}
	}
	slices.SortFunc(found, func(a, b Member) int { return strings.Compare(a.UserID, b.UserID) })
	return c.info(), first(found, limit), nil
}

// Groups implements Store.
func (m *Memory) Groups(ctx context.Context, userID string) ([]Group, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var found []Group
	for _, number := range slices.Sorted(maps.Keys(m.of[userID])) {
		if c := m.of[userID][number]; c.key.Group != 0 {
			found = append(found, c.info())
		}
	}
	return found, nil
}

// ShareGroup implements Store.
func (m *Memory) ShareGroup(ctx context.Context, asker string, about []string, most int) ([]string, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	groups := slices.DeleteFunc(m.groupsOf(asker), func(c *memConversation) bool { return c.group.MaxMembers > most })
	var found []string
	for _, userID := range about {
		if slices.ContainsFunc(groups, func(c *memConversation) bool { return c.members[userID].In }) {
			found = append(found, userID)
		}
	}
	return found, nil
}

package chat_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/presence"
)

// recordingStore notes each call, with the users and the conversation that it is about.
type recordingStore struct {
	*chat.Memory
	mu    sync.Mutex
	calls []string
}

func (s *recordingStore) note(method string, about ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, strings.TrimSpace(method+" "+fmt.Sprintln(about...)))
}

// take returns the calls since the last one.
func (s *recordingStore) take() (calls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, s.calls = s.calls, nil
	return calls
}

func (s *recordingStore) LoadPresence(ctx context.Context, ids []string) ([]presence.Record, error) {
	s.note("LoadPresence", ids)
	return s.Memory.LoadPresence(ctx, ids)
}

func (s *recordingStore) SavePresence(ctx context.Context, records []presence.Record) error {
	var ids []string
	for _, r := range records {
		ids = append(ids, r.UserID)
	}
	s.note("SavePresence", ids)
	return s.Memory.SavePresence(ctx, records)
}

func (s *recordingStore) Users(ctx context.Context, ids []string) ([]chat.User, error) {
	s.note("Users", ids)
	return s.Memory.Users(ctx, ids)
}

func (s *recordingStore) UpdateUser(ctx context.Context, id string, change func(*chat.User) error) error {
	s.note("UpdateUser", id)
	return s.Memory.UpdateUser(ctx, id, change)
}

func (s *recordingStore) UpdateContact(ctx context.Context, a, b string, change func(*chat.Relation) error) error {
	s.note("UpdateContact", a, b)
	return s.Memory.UpdateContact(ctx, a, b, change)
}

func (s *recordingStore) Contacts(ctx context.Context, id, after string, limit int) ([]chat.Contact, error) {
	s.note("Contacts", id, after, limit)
	return s.Memory.Contacts(ctx, id, after, limit)
}

func (s *recordingStore) ContactsWith(ctx context.Context, id string, others []string) ([]chat.Contact, error) {
	s.note("ContactsWith", id, slices.Sorted(slices.Values(others)))
	return s.Memory.ContactsWith(ctx, id, others)
}

func (s *recordingStore) CreateGroup(ctx context.Context, g chat.Group, allow func(int) error) error {
	s.note("CreateGroup", g.Owner)
	return s.Memory.CreateGroup(ctx, g, allow)
}

func (s *recordingStore) UpdateGroup(ctx context.Context, id chat.GroupID, users []string, change func(*chat.Group, []chat.Member) error) (chat.Group, error) {
	s.note("UpdateGroup", id, users)
	return s.Memory.UpdateGroup(ctx, id, users, change)
}

func (s *recordingStore) Group(ctx context.Context, id chat.GroupID, user string) (chat.Group, chat.Member, error) {
	s.note("Group", id, user)
	return s.Memory.Group(ctx, id, user)
}

func (s *recordingStore) Members(ctx context.Context, id chat.GroupID, after string, limit int) (chat.Group, []chat.Member, error) {
	s.note("Members", id, after, limit)
	return s.Memory.Members(ctx, id, after, limit)
}

func (s *recordingStore) Groups(ctx context.Context, user string) ([]chat.Group, error) {
	s.note("Groups", user)
	return s.Memory.Groups(ctx, user)
}

func (s *recordingStore) ShareGroup(ctx context.Context, asker string, about []string, most int) ([]string, error) {
	s.note("ShareGroup", asker, about)
	return s.Memory.ShareGroup(ctx, asker, about, most)
}

func (s *recordingStore) Append(ctx context.Context, posts []*chat.Post, allow func(*chat.Post, *chat.Standing) error) error {
	for _, p := range posts {
		s.note("Append", p.Key(), p.From)
	}
	return s.Memory.Append(ctx, posts, allow)
}

func (s *recordingStore) History(ctx context.Context, of chat.Key, asker string, r chat.Range) (chat.Page, error) {
	s.note("History", of, asker, r)
	return s.Memory.History(ctx, of, asker, r)
}

func (s *recordingStore) Conversations(ctx context.Context, user string, after uint64, limit int) ([]chat.ConversationInfo, error) {
	s.note("Conversations", user, after, limit)
	return s.Memory.Conversations(ctx, user, after, limit)
}

func (s *recordingStore) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	s.note("Prune")
	return s.Memory.Prune(ctx, before, limit)
}

var _ chat.Store = (*recordingStore)(nil)

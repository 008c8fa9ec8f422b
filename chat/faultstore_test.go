package chat_test

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/presence"
)

// fault is what becomes of one call of a store. do is what the store does without it.
type fault func(ctx context.Context, do func() error) error

// faults are the ways in which a call of a store may fail: before anything was stored, or after all was.
var faults = map[string]fault{
	"fails":  func(context.Context, func() error) error { return errStore },
	"panics": func(context.Context, func() error) error { panic("a bug in the store") },
	"hangs":  func(ctx context.Context, _ func() error) error { return hang(ctx) },
	"loses its answer": func(_ context.Context, do func() error) error {
		return errors.Join(do(), errStore)
	},
	"panics when all is stored": func(_ context.Context, do func() error) error {
		_ = do()
		panic("a bug in the store")
	},
	"hangs when all is stored": func(ctx context.Context, do func() error) error {
		_ = do()
		return hang(ctx)
	},
}

func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// faultyStore is a store of which one call meets a fault. Its presence.Store is not counted.
type faultyStore struct {
	*chat.Memory
	fault fault
	only  string       // the method whose calls are counted; empty for all
	left  atomic.Int64 // calls until the fault; 0 and less for none
	met   atomic.Pointer[string]
}

// arm has the n-th call from now on meet the fault; 0 means no call.
func (s *faultyStore) arm(n int) {
	s.met.Store(nil)
	s.left.Store(int64(n))
}

// hit returns which method has met the fault, or "".
func (s *faultyStore) hit() string {
	if m := s.met.Load(); m != nil {
		return *m
	}
	return ""
}

// call calls a method of the store, or has it meet the fault.
func call[T any](ctx context.Context, s *faultyStore, method string, do func() (T, error)) (v T, err error) {
	if s.only != "" && s.only != method || s.left.Add(-1) != 0 {
		return do()
	}
	s.met.Store(&method)
	err = s.fault(ctx, func() (err error) {
		_, err = do()
		return err
	})
	return v, err
}

// change is call for a method that returns an error alone.
func (s *faultyStore) change(ctx context.Context, method string, do func() error) error {
	_, err := call(ctx, s, method, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

var _ presence.Store = (*faultyStore)(nil)

func (s *faultyStore) Users(ctx context.Context, ids []string) ([]chat.User, error) {
	return call(ctx, s, "Users", func() ([]chat.User, error) { return s.Memory.Users(ctx, ids) })
}

func (s *faultyStore) UpdateUser(ctx context.Context, id string, change func(*chat.User) error) error {
	return s.change(ctx, "UpdateUser", func() error { return s.Memory.UpdateUser(ctx, id, change) })
}

func (s *faultyStore) UpdateContact(ctx context.Context, a, b string, change func(*chat.Relation) error) error {
	return s.change(ctx, "UpdateContact", func() error { return s.Memory.UpdateContact(ctx, a, b, change) })
}

func (s *faultyStore) Contacts(ctx context.Context, id, after string, limit int) ([]chat.Contact, error) {
	return call(ctx, s, "Contacts", func() ([]chat.Contact, error) { return s.Memory.Contacts(ctx, id, after, limit) })
}

func (s *faultyStore) ContactsWith(ctx context.Context, id string, others []string) ([]chat.Contact, error) {
	return call(ctx, s, "ContactsWith", func() ([]chat.Contact, error) { return s.Memory.ContactsWith(ctx, id, others) })
}

func (s *faultyStore) CreateGroup(ctx context.Context, g chat.Group, allow func(int) error) error {
	return s.change(ctx, "CreateGroup", func() error { return s.Memory.CreateGroup(ctx, g, allow) })
}

func (s *faultyStore) UpdateGroup(ctx context.Context, id chat.GroupID, users []string, change func(*chat.Group, []chat.Member) error) (chat.Group, error) {
	return call(ctx, s, "UpdateGroup", func() (chat.Group, error) { return s.Memory.UpdateGroup(ctx, id, users, change) })
}

func (s *faultyStore) Group(ctx context.Context, id chat.GroupID, user string) (g chat.Group, m chat.Member, err error) {
	g, err = call(ctx, s, "Group", func() (g chat.Group, err error) {
		g, m, err = s.Memory.Group(ctx, id, user)
		return g, err
	})
	return g, m, err
}

func (s *faultyStore) Members(ctx context.Context, id chat.GroupID, after string, limit int) (g chat.Group, all []chat.Member, err error) {
	g, err = call(ctx, s, "Members", func() (g chat.Group, err error) {
		g, all, err = s.Memory.Members(ctx, id, after, limit)
		return g, err
	})
	return g, all, err
}

func (s *faultyStore) Append(ctx context.Context, posts []*chat.Post, allow func(*chat.Post, *chat.Standing) error) error {
	return s.change(ctx, "Append", func() error { return s.Memory.Append(ctx, posts, allow) })
}

func (s *faultyStore) History(ctx context.Context, of chat.Key, asker string, r chat.Range) (chat.Page, error) {
	return call(ctx, s, "History", func() (chat.Page, error) { return s.Memory.History(ctx, of, asker, r) })
}

func (s *faultyStore) Conversations(ctx context.Context, id string, after uint64, limit int) ([]chat.ConversationInfo, error) {
	return call(ctx, s, "Conversations", func() ([]chat.ConversationInfo, error) {
		return s.Memory.Conversations(ctx, id, after, limit)
	})
}

func (s *faultyStore) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	return call(ctx, s, "Prune", func() (int, error) { return s.Memory.Prune(ctx, before, limit) })
}

package presence_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
)

// friends are Contacts in which all are friends, unless the test says otherwise.
type friends struct {
	mu      sync.Mutex
	apart   map[[2]string]bool // are no friends
	blocked map[[2]string]bool // the first has blocked the second
	before  func(method, userID string) error
}

func (f *friends) call(method, userID string) error {
	f.mu.Lock()
	before := f.before
	f.mu.Unlock()
	if before != nil {
		return before(method, userID)
	}
	return nil
}

func (f *friends) setBefore(before func(method, userID string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

var people = []string{"ann", "bob", "carol", "dave", "eve"}

func (f *friends) set(m *map[[2]string]bool, a, b string, v bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *m == nil {
		*m = make(map[[2]string]bool)
	}
	(*m)[[2]string{a, b}] = v
}

func (f *friends) unfriend(a, b string, v bool) {
	f.set(&f.apart, a, b, v)
	f.set(&f.apart, b, a, v)
}

// tells reports whether a watcher is told of a user.
func (f *friends) tells(watcher, user string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return watcher != user && !f.apart[[2]string{watcher, user}] && !f.blocked[[2]string{user, watcher}]
}

func (f *friends) Watchers(_ context.Context, userID string) (all []string, err error) {
	for _, p := range people {
		if f.tells(p, userID) {
			all = append(all, p)
		}
	}
	return all, f.call("Watchers", userID)
}

func (f *friends) Watched(_ context.Context, userID string) (all []string, err error) {
	for _, p := range people {
		if f.tells(userID, p) {
			all = append(all, p)
		}
	}
	return all, f.call("Watched", userID)
}

func (f *friends) MaySee(_ context.Context, asker string, about []string) (see, blocked []string, err error) {
	for _, id := range about {
		f.mu.Lock()
		is := f.blocked[[2]string{id, asker}]
		f.mu.Unlock()
		switch {
		case is:
			blocked = append(blocked, id)
		case f.tells(asker, id):
			see = append(see, id)
		}
	}
	return see, blocked, f.call("MaySee", asker)
}

// store is a Memory whose calls are counted, and can fail.
type store struct {
	*presence.Memory
	mu     sync.Mutex
	loads  []string // the users of each call
	saves  []string
	before func(method string, userIDs []string) error
}

func (s *store) setBefore(before func(method string, userIDs []string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

func (s *store) call(method string, ids []string) error {
	s.mu.Lock()
	calls := &s.loads
	if method == "SavePresence" {
		calls = &s.saves
	}
	*calls = append(*calls, strings.Join(ids, " "))
	before := s.before
	s.mu.Unlock()
	if before != nil {
		return before(method, ids)
	}
	return nil
}

func (s *store) calls() (loads, saves []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	loads, saves = s.loads, s.saves
	s.loads, s.saves = nil, nil
	return loads, saves
}

func (s *store) LoadPresence(ctx context.Context, ids []string) ([]presence.Record, error) {
	if err := s.call("LoadPresence", ids); err != nil {
		return nil, err
	}
	return s.Memory.LoadPresence(ctx, ids)
}

func (s *store) SavePresence(ctx context.Context, records []presence.Record) error {
	var ids []string
	for _, r := range records {
		ids = append(ids, r.UserID)
	}
	if err := s.call("SavePresence", ids); err != nil {
		return err
	}
	return s.Memory.SavePresence(ctx, records)
}

// of returns a user's record.
func (s *store) of(userID string) presence.Record {
	for _, r := range s.All() {
		if r.UserID == userID {
			return r
		}
	}
	return presence.Record{}
}

var errDown = errors.New("it is down")

func show(all []protocol.Presence) string {
	var words []string
	for _, p := range all {
		words = append(words, fmt.Sprint(p.UserID, " ", p.State, " ", !p.LastOnline.IsZero(), " ", !p.LastSeen.IsZero()))
	}
	return strings.Join(words, ", ")
}

// code returns the code that a request was refused with.
func code(err error) protocol.CloseCode {
	var ce *protocol.CloseError
	if errors.As(err, &ce) {
		return ce.Code
	}
	return 0
}

// many is one of many users, with a long ID.
func many(i int) string { return fmt.Sprintf("%s%04d", strings.Repeat("x", 240), i) }

// everybody is Contacts where each user has 1,100 friends, and ann watches them all.
type everybody struct{}

func (everybody) Watchers(context.Context, string) ([]string, error) { return []string{"ann"}, nil }

func (everybody) Watched(context.Context, string) (all []string, err error) {
	for i := range 1100 {
		all = append(all, many(i))
	}
	return all, nil
}

func (everybody) MaySee(_ context.Context, _ string, about []string) (see, blocked []string, err error) {
	return about, nil, nil
}

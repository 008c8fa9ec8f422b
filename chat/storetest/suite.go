package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
)

// suite is one test with its store.
type suite struct {
	t     *testing.T
	store chat.Store
	ctx   context.Context
	now   time.Time
}

func newSuite(t *testing.T, store chat.Store) *suite {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	now, err := time.Parse(time.RFC3339Nano, "2026-02-03T04:05:06.789Z")
	if err != nil {
		t.Fatal(err)
	}
	return &suite{t: t, store: store, ctx: ctx, now: now}
}

var errNo = errors.New("refused by the test")

func (s *suite) noError(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) is(err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Fatalf("the error is %v, want %v", err, want)
	}
}

// unchanged wants an error to be the very one that a function of the test has returned.
func (s *suite) unchanged(err error) {
	s.t.Helper()
	if err != errNo {
		s.t.Fatalf("the error is %v, want %v and nothing around it", err, errNo)
	}
}

// same wants two values to be equal.
func same[T comparable](s *suite, what string, got, want T) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

// sameAll wants two lists to be equal.
func sameAll[T comparable](s *suite, what string, got, want []T) {
	s.t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			s.t.Errorf("%s: %+v, want %+v", what, got, want)
			return
		}
	}
}

// together calls f so many times at once, each with its number, and waits for all.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}

// users

func (s *suite) user(id string) chat.User {
	s.t.Helper()
	return s.usersOf(id)[0]
}

func (s *suite) usersOf(ids ...string) []chat.User {
	s.t.Helper()
	all, err := s.store.Users(s.ctx, ids)
	s.noError(err)
	if len(all) != len(ids) {
		s.t.Fatalf("Users returned %d for %d IDs", len(all), len(ids))
	}
	for i := range all {
		all[i].Created = all[i].Created.UTC()
	}
	return all
}

// makes makes users with default settings.
func (s *suite) makes(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		s.noError(s.store.UpdateUser(s.ctx, id, func(u *chat.User) error {
			u.Exists, u.Created = true, s.now
			return nil
		}))
	}
}

// contacts

// relates changes what two users have with each other.
func (s *suite) relates(a, b string, ab, ba chat.Contact) {
	s.t.Helper()
	ab.UserID, ba.UserID = b, a
	s.noError(s.store.UpdateContact(s.ctx, a, b, func(r *chat.Relation) error {
		r.AB, r.BA = ab, ba
		return nil
	}))
}

// with returns what one user has with another.
func (s *suite) with(one, other string) chat.Contact {
	s.t.Helper()
	all, err := s.store.ContactsWith(s.ctx, one, []string{other})
	s.noError(err)
	if len(all) != 1 {
		s.t.Fatalf("ContactsWith returned %d for one ID", len(all))
	}
	return utc(all[0])
}

func utc(c chat.Contact) chat.Contact {
	c.Since, c.Declined = c.Since.UTC(), c.Declined.UTC()
	return c
}

// groups

// creates makes a group with its owner and other members.
func (s *suite) creates(id chat.GroupID, owner string, members ...string) {
	s.t.Helper()
	g := chat.Group{ID: id, Name: fmt.Sprint("group ", id), Owner: owner, MaxMembers: 200}
	s.noError(s.store.CreateGroup(s.ctx, g, func(int) error { return nil }))
	if len(members) > 0 {
		s.joins(id, members...)
	}
}

func (s *suite) joins(id chat.GroupID, users ...string) chat.Group {
	s.t.Helper()
	return s.updates(id, users, func(_ *chat.Group, users []chat.Member) {
		for i := range users {
			users[i].In = true
		}
	})
}

func (s *suite) leaves(id chat.GroupID, users ...string) chat.Group {
	s.t.Helper()
	return s.updates(id, users, func(_ *chat.Group, users []chat.Member) {
		for i := range users {
			users[i].In = false
		}
	})
}

func (s *suite) updates(id chat.GroupID, users []string, change func(g *chat.Group, users []chat.Member)) chat.Group {
	s.t.Helper()
	g, err := s.store.UpdateGroup(s.ctx, id, users, func(g *chat.Group, users []chat.Member) error {
		change(g, users)
		return nil
	})
	s.noError(err)
	return g
}

func (s *suite) group(id chat.GroupID) chat.Group {
	s.t.Helper()
	g, _ := s.groupAnd(id, "someone")
	return g
}

func (s *suite) groupAnd(id chat.GroupID, userID string) (chat.Group, chat.Member) {
	s.t.Helper()
	g, m, err := s.store.Group(s.ctx, id, userID)
	s.noError(err)
	m.MutedUntil = m.MutedUntil.UTC()
	return g, m
}

func (s *suite) membersOf(id chat.GroupID) []string {
	s.t.Helper()
	_, all, err := s.store.Members(s.ctx, id, "", 0)
	s.noError(err)
	return memberIDs(all)
}

func memberIDs(all []chat.Member) (ids []string) {
	for _, m := range all {
		ids = append(ids, m.UserID)
	}
	return ids
}

// messages

func (s *suite) toGroup(id chat.GroupID, from, content string) *chat.Post {
	return &chat.Post{Group: id, From: from, ID: uuid.New(), Type: 7, Content: []byte(content), Time: s.now}
}

func (s *suite) toUser(from, to, content string) *chat.Post {
	return &chat.Post{To: to, From: from, ID: uuid.New(), Type: 7, Content: []byte(content), Time: s.now}
}

// recall is the recall of a message by its sender.
func (s *suite) recall(p *chat.Post, seq uint64) *chat.Post {
	return &chat.Post{Group: p.Group, To: p.To, From: p.From, Anonymous: p.Anonymous, ID: uuid.New(), Recalls: seq, Time: s.now}
}

// again is a post as it was before it was stored.
func again(p *chat.Post) *chat.Post {
	return &chat.Post{
		Group: p.Group, To: p.To, From: p.From, Anonymous: p.Anonymous, ID: p.ID, Type: p.Type, Content: p.Content, Recalls: p.Recalls, Time: p.Time,
	}
}

// possible allows what a store can do.
func possible(p *chat.Post, s *chat.Standing) error {
	if p.Group != 0 && s.Group == nil || p.Recalls != 0 && (s.Message == nil || s.Message.Recalls != 0) {
		return errNo
	}
	return nil
}

// sends stores posts, which must be possible, in one call.
func (s *suite) sends(posts ...*chat.Post) {
	s.t.Helper()
	s.noError(s.store.Append(s.ctx, posts, possible))
	for i, p := range posts {
		if p.Err != nil || p.Seq == 0 {
			s.t.Fatalf("post %d of %d has number %d and the error %v", i+1, len(posts), p.Seq, p.Err)
		}
	}
}

// sendMany stores messages with the contents 1, 2, 3 … in a conversation.
func (s *suite) sendMany(n int, post func(content string) *chat.Post) {
	s.t.Helper()
	var all []*chat.Post
	for i := range n {
		all = append(all, post(fmt.Sprint(i+1)))
	}
	s.sends(all...)
}

// standing returns what allow is given for a post, which is not stored.
func (s *suite) standing(p *chat.Post) (found chat.Standing) {
	s.t.Helper()
	asked := false
	s.noError(s.store.Append(s.ctx, []*chat.Post{p}, func(_ *chat.Post, st *chat.Standing) error {
		asked, found = true, *st
		return errNo
	}))
	if !asked || p.Err != errNo {
		s.t.Fatalf("allow was asked: %v; the post's error is %v", asked, p.Err)
	}
	found.Contact, found.From.Created, found.To.Created = utc(found.Contact), found.From.Created.UTC(), found.To.Created.UTC()
	found.Member.MutedUntil = found.Member.MutedUntil.UTC()
	return found
}

func (s *suite) page(of chat.Key, r chat.Range) chat.Page {
	s.t.Helper()
	if r.Limit == 0 {
		r.Limit = 1000
	}
	page, err := s.store.History(s.ctx, of, "someone", r)
	s.noError(err)
	for i := range page.Messages {
		page.Messages[i].Time = page.Messages[i].Time.UTC()
	}
	return page
}

// message returns one message.
func (s *suite) message(of chat.Key, seq uint64) chat.Message {
	s.t.Helper()
	page := s.page(of, chat.Range{After: seq - 1, FromStart: true, Limit: 1})
	if len(page.Messages) != 1 || page.Messages[0].Seq != seq {
		s.t.Fatalf("message %d is not there: %+v", seq, page)
	}
	return page.Messages[0]
}

// contents returns the contents of a whole conversation, the first number of which is 1, and wants numbers without a gap.
func (s *suite) contents(of chat.Key) (all []string) {
	s.t.Helper()
	page := s.page(of, chat.Range{FromStart: true, Limit: 100_000})
	for i, m := range page.Messages {
		if m.Seq != uint64(i+1) {
			s.t.Fatalf("message %d of the conversation has the number %d", i+1, m.Seq)
		}
		all = append(all, string(m.Content))
	}
	if page.Last != uint64(len(all)) || page.More {
		s.t.Errorf("the conversation has %d messages, and the page says last %d, more %v", len(all), page.Last, page.More)
	}
	return all
}

func (s *suite) listed(userID string) []chat.ConversationInfo {
	s.t.Helper()
	all, err := s.store.Conversations(s.ctx, userID, 0, 1000)
	s.noError(err)
	return all
}

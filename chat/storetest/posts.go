package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
)

var posts = []test{
	{"PostsAreNumberedInTheirOrder", (*suite).numbered},
	{"AMessageIsStoredAsItIs", (*suite).fields},
	{"ContentIsKeptByteForByte", (*suite).content},
	{"ContentIsNotSharedWithTheCaller", (*suite).notShared},
	{"OnePostThatIsRefusedLeavesTheOthers", (*suite).refused},
	{"ACallIsStoredWhollyOrNot", (*suite).wholly},
	{"APostThatCannotBeStoredIsNamed", (*suite).badPost},
	{"AllowIsGivenTheStandingInAGroup", (*suite).groupStanding},
	{"AllowIsGivenTheStandingOfTwoUsers", (*suite).userStanding},
	{"TheServerSends", (*suite).server},
	{"AUserWritesToThemself", (*suite).toSelf},
	{"TimesDoNotRunBackwards", (*suite).times},
	{"APostHasTheVersionOfItsGroup", (*suite).versions},
}

func (s *suite) numbered() {
	s.creates(1, "ann", "bob")
	s.creates(2, "ann")
	s.makes("ann", "bob", "cid")
	all := []*chat.Post{
		s.toGroup(1, "ann", "a"), s.toUser("ann", "bob", "b"), s.toGroup(2, "ann", "c"), s.toGroup(1, "bob", "d"), s.toUser("bob", "ann", "e"),
		s.toUser("ann", "cid", "f"), s.toGroup(1, "ann", "g"),
	}
	s.sends(all...)
	for i, want := range []uint64{1, 1, 1, 2, 2, 1, 3} {
		same(s, fmt.Sprint("the number of post ", i+1), all[i].Seq, want)
	}
	s.sends(s.toGroup(1, "ann", "h"), s.toUser("ann", "bob", "i"))
	s.noError(s.store.Append(s.ctx, nil, possible))
	sameAll(s, "group 1", s.contents(chat.Key{Group: 1}), []string{"a", "d", "g", "h"})
	sameAll(s, "group 2", s.contents(chat.Key{Group: 2}), []string{"c"})
	sameAll(s, "ann and bob", s.contents(chat.PairKey("bob", "ann")), []string{"b", "e", "i"})
	sameAll(s, "ann and cid", s.contents(chat.PairKey("ann", "cid")), []string{"f"})
	sameAll(s, "bob and cid", s.contents(chat.PairKey("bob", "cid")), nil)
	same(s, "LastSeq of group 1", s.group(1).LastSeq, 4)
}

func (s *suite) fields() {
	s.creates(1, long("\u00e9"))
	s.makes("bob")
	for _, p := range []*chat.Post{
		{Group: 1, From: long("\u00e9"), Type: 0xFFFF, Content: []byte("x")},
		{Group: 1, From: long("\u00e9"), Anonymous: true, Type: 1},
		{To: "bob", From: long("\u00e9"), Type: 0, Content: []byte{0}},
	} {
		p.ID, p.Time = uuid.New(), s.now
		s.sends(p)
		if p.Dup || !p.Time.Equal(s.now) {
			s.t.Errorf("the post is %+v", p)
		}
		got := s.message(p.Key(), p.Seq)
		if string(got.Content) != string(p.Content) {
			s.t.Errorf("the content is %q, want %q", got.Content, p.Content)
		}
		got.Content = nil
		want := chat.Message{Seq: p.Seq, ID: p.ID, From: p.From, Time: s.now, Type: p.Type, Anonymous: p.Anonymous}
		same(s, "the message", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
	}
}

func (s *suite) content() {
	s.creates(1, "ann")
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	want := []string{
		string(all), "", "\x00", "'; DROP TABLE message; --", "\xff\xfe\xc0\x80", "\u00e9e\u0301\ufeff", "\r\n\x1a", `\x00\\`, strings.Repeat(string(all), 1<<10),
		strings.Repeat("\x00", 256<<10),
	}
	for _, c := range want {
		s.sends(s.toGroup(1, "ann", c))
	}
	got := s.contents(chat.Key{Group: 1})
	for i := range want {
		if got[i] != want[i] {
			s.t.Errorf("content %d has %d bytes, and is not the %d bytes that were stored", i, len(got[i]), len(want[i]))
		}
	}
}

func (s *suite) notShared() {
	s.creates(1, "ann")
	p := s.toGroup(1, "ann", "hello")
	s.sends(p)
	copy(p.Content, "HELLO")
	got := s.message(chat.Key{Group: 1}, 1)
	same(s, "the content after the post has changed", string(got.Content), "hello")
	copy(got.Content, "HELLO")
	same(s, "the content after a reader has changed its own", string(s.message(chat.Key{Group: 1}, 1).Content), "hello")
}

func (s *suite) refused() {
	s.creates(1, "ann")
	s.makes("bob")
	all := []*chat.Post{
		s.toGroup(1, "ann", "1"), s.toGroup(1, "ann", "no"), s.toGroup(1, "ann", "2"), s.toGroup(9, "ann", "no"), s.toUser("ann", "bob", "no"),
		s.toGroup(1, "ann", "no"), s.toGroup(1, "ann", "3"),
	}
	s.noError(s.store.Append(s.ctx, all, func(p *chat.Post, _ *chat.Standing) error {
		if string(p.Content) == "no" {
			return errNo
		}
		return nil
	}))
	for i, p := range all {
		if string(p.Content) != "no" && p.Err == nil && p.Seq > 0 {
			continue
		}
		if string(p.Content) != "no" || p.Err != errNo || p.Seq != 0 || p.Dup {
			s.t.Errorf("post %d is %+v", i+1, p)
		}
	}
	sameAll(s, "the group", s.contents(chat.Key{Group: 1}), []string{"1", "2", "3"})
	sameAll(s, "the pair", s.contents(chat.PairKey("ann", "bob")), nil)
	for _, id := range []string{"ann", "bob"} {
		for _, c := range s.listed(id) {
			same(s, "a conversation of "+id, c.Conversation, chat.ToGroup(1))
		}
	}
}

// wholly has a call's context end within it, at each of its posts, and a reader see calls that succeed.
func (s *suite) wholly() {
	s.creates(1, "ann")
	s.makes("bob")
	stored := 0
	for at := range 4 {
		ctx, cancel := context.WithCancel(s.ctx)
		asked := 0
		all := []*chat.Post{s.toGroup(1, "ann", "a"), s.toUser("ann", "bob", "b"), s.toGroup(1, "ann", "c"), s.toUser("ann", "bob", "d")}
		err := s.store.Append(ctx, all, func(*chat.Post, *chat.Standing) error {
			if asked == at {
				cancel()
			}
			asked++
			return nil
		})
		cancel()
		group, pair := len(s.contents(chat.Key{Group: 1})), len(s.contents(chat.PairKey("ann", "bob")))
		if err == nil {
			stored += 2
		}
		if group != stored || pair != stored {
			s.t.Fatalf("after a call that returned %v there are %d and %d messages, want %d and %d", err, group, pair, stored, stored)
		}
	}
	const calls, batch = 40, 10
	from := s.group(1).LastSeq
	together(2, func(i int) {
		for range calls {
			if i == 0 {
				var all []*chat.Post
				for range batch {
					all = append(all, s.toGroup(1, "ann", "x"))
				}
				if err := s.store.Append(s.ctx, all, possible); err != nil {
					s.t.Error(err)
				}
				continue
			}
			page, err := s.store.History(s.ctx, chat.Key{Group: 1}, "ann", chat.Range{After: from, FromStart: true, Limit: calls * batch})
			if err != nil {
				s.t.Error(err)
			} else if n := len(page.Messages); n%batch != 0 || page.Last != from+uint64(n) {
				s.t.Errorf("a reader sees %d messages of calls with %d, and the last number %d", n, batch, page.Last)
			}
		}
	})
}

// badPost has a sender and a content that a database might not take. A store that takes them is right, too.
func (s *suite) badPost() {
	s.creates(1, "ann")
	bad := s.toGroup(1, "a\x00n\xff", "bad")
	all := []*chat.Post{s.toGroup(1, "ann", "1"), bad, s.toGroup(1, "ann", "2")}
	err := s.store.Append(s.ctx, all, possible)
	if err == nil {
		sameAll(s, "the group", s.contents(chat.Key{Group: 1}), []string{"1", "bad", "2"})
		return
	}
	s.is(err, chat.ErrBadPost)
	sameAll(s, "after the error, the group", s.contents(chat.Key{Group: 1}), nil)
	s.is(s.store.Append(s.ctx, []*chat.Post{again(bad)}, possible), chat.ErrBadPost)
	s.sends(again(all[0]))
	s.sends(again(all[2]))
	sameAll(s, "the group", s.contents(chat.Key{Group: 1}), []string{"1", "2"})
}

func (s *suite) groupStanding() {
	s.creates(1, "ann", "bob")
	s.makes("ann")
	s.sends(s.toGroup(1, "ann", "1"))
	s.relates("ann", "bob", chat.Contact{State: chat.Friend}, chat.Contact{State: chat.Friend})
	for from, want := range map[string]chat.Member{
		"ann": {UserID: "ann", In: true, Role: chat.Owner}, "bob": {UserID: "bob", In: true}, "eve": {UserID: "eve"},
	} {
		st := s.standing(s.toGroup(1, from, "x"))
		if st.Group == nil || *st.Group != s.group(1) {
			s.t.Fatalf("the group is %+v, want %+v", st.Group, s.group(1))
		}
		same(s, "the member", st.Member, want)
		same(s, "the sender", st.From, s.user(from))
		same(s, "a message to recall", st.Message, nil)
	}
}

func (s *suite) userStanding() {
	s.makes("ann")
	s.noError(s.store.UpdateUser(s.ctx, "bob", func(u *chat.User) error {
		u.Exists, u.Receive, u.Anonymous, u.Requests = true, false, true, chat.Off
		return nil
	}))
	ab := chat.Contact{State: chat.Friend, Blocked: true, BlockedAnonymous: true, Since: s.now, Text: "x", Declined: s.now}
	s.relates("ann", "bob", ab, chat.Contact{State: chat.AskedByMe})
	ab.UserID = "bob"
	st := s.standing(s.toUser("ann", "bob", "x"))
	same(s, "From", st.From, s.user("ann"))
	same(s, "To", st.To, s.user("bob"))
	same(s, "Contact", st.Contact, ab)
	same(s, "Group", st.Group, nil)
	same(s, "Member", st.Member, chat.Member{})
	for _, p := range []*chat.Post{s.toUser("bob", "ann", "x"), {To: "ann", From: "bob", Anonymous: true, ID: uuid.New(), Time: s.now}} {
		st = s.standing(p)
		same(s, "From", st.From, s.user("bob"))
		same(s, "To", st.To, s.user("ann"))
		same(s, "Contact", st.Contact, chat.Contact{UserID: "ann", State: chat.AskedByMe, BlockedBy: true, BlockedByAnonymous: true})
	}
	s.relates("ann", "bob", chat.Contact{BlockedAnonymous: true}, chat.Contact{})
	same(s, "Contact", s.standing(s.toUser("bob", "ann", "x")).Contact, chat.Contact{UserID: "ann", BlockedByAnonymous: true})
	st = s.standing(s.toUser("eve", "nobody", "x"))
	same(s, "From", st.From, chat.User{UserID: "eve", Settings: chat.DefaultSettings()})
	same(s, "To", st.To, chat.User{UserID: "nobody", Settings: chat.DefaultSettings()})
	same(s, "Contact", st.Contact, chat.Contact{UserID: "nobody"})
}

func (s *suite) server() {
	s.creates(1, "ann")
	s.makes("ann")
	inGroup, toAnn := s.toGroup(1, chat.Server, "1"), s.toUser(chat.Server, "ann", "2")
	s.sends(inGroup, toAnn)
	same(s, "the sender in a group", s.message(chat.Key{Group: 1}, 1).From, chat.Server)
	same(s, "the sender to a user", s.message(chat.PairKey("ann", chat.Server), 1).From, chat.Server)
	same(s, "the server is not in the group", s.standing(s.toGroup(1, chat.Server, "")).Member.In, false)
	sameAll(s, "the members", s.membersOf(1), []string{"ann"})
	listed := s.listed("ann")
	if !slices.ContainsFunc(listed, func(c chat.ConversationInfo) bool { return c.Conversation == chat.ToUser(chat.Server) }) {
		s.t.Errorf("ann's conversations are %+v, want one with the server", listed)
	}
	s.sends(s.recall(toAnn, 1))
	same(s, "the message is recalled", s.message(chat.PairKey("ann", chat.Server), 1).Recalled, true)
}

func (s *suite) toSelf() {
	s.makes("ann")
	s.sends(s.toUser("ann", "ann", "1"), s.toUser("ann", "ann", "2"))
	s.sends(s.toUser("ann", "ann", "3"))
	sameAll(s, "the messages", s.contents(chat.PairKey("ann", "ann")), []string{"1", "2", "3"})
	listed := s.listed("ann")
	if len(listed) != 1 || listed[0].Conversation != chat.ToUser("ann") || listed[0].LastSeq != 3 {
		s.t.Errorf("the conversations are %+v", listed)
	}
}

func (s *suite) times() {
	s.creates(1, "ann")
	s.creates(2, "ann")
	at := func(p *chat.Post, ms int) *chat.Post {
		p.Time = s.now.Add(time.Duration(ms) * time.Millisecond)
		return p
	}
	var all []*chat.Post
	for _, ms := range []int{10, 5, 20, 19} {
		all = append(all, at(s.toGroup(1, "ann", ""), ms))
	}
	s.sends(all...)
	all = append(all, at(s.toGroup(1, "ann", ""), 0), at(s.recall(s.toGroup(1, "ann", ""), 1), 1), at(s.toGroup(1, "ann", ""), 30))
	s.sends(all[4:]...)
	elsewhere := at(s.toGroup(2, "ann", ""), 1)
	s.sends(elsewhere)
	for i, ms := range []int{10, 10, 20, 20, 20, 20, 30} {
		want := s.now.Add(time.Duration(ms) * time.Millisecond)
		same(s, "the time of a post", all[i].Time.UTC(), want)
		same(s, "the time of a message", s.message(chat.Key{Group: 1}, uint64(i+1)).Time, want)
	}
	same(s, "the time in another conversation", elsewhere.Time.UTC(), s.now.Add(time.Millisecond))
	_, err := s.store.Prune(s.ctx, s.now.Add(time.Hour), 100)
	s.noError(err)
	late := at(s.toGroup(1, "ann", ""), 0)
	s.sends(late)
	same(s, "the time after the older ones are removed", late.Time.UTC(), s.now.Add(30*time.Millisecond))
}

func (s *suite) versions() {
	s.creates(1, "ann", "bob")
	s.makes("bob")
	p, q := s.toGroup(1, "ann", ""), s.toUser("ann", "bob", "")
	q.Version = 5
	s.sends(p, q)
	same(s, "the version", p.Version, s.group(1).Version)
	same(s, "the version to a user", q.Version, 0)
	s.joins(1, "cid")
	later, repeat := s.toGroup(1, "ann", ""), again(p)
	s.sends(later, repeat)
	same(s, "the version after a join", later.Version, s.group(1).Version)
	same(s, "the version of a repeat", repeat.Version, s.group(1).Version)
}

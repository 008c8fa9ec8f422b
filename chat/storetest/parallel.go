package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
)

var parallel = []test{
	{"NumbersHaveNoGapsUnderManyWriters", (*suite).manyWriters},
	{"TheMaximumHoldsUnderManyJoins", (*suite).manyJoins},
	{"MembersAndTheirGroupAreOfOneMoment", (*suite).oneMoment},
	{"NothingIsLetInAfterAMute", (*suite).mutes},
	{"NothingIsLetInAfterABlock", (*suite).blocks},
	{"OfRecallsAtTheSameTimeOneIsStored", (*suite).manyRecalls},
}

// manyWriters has 16 goroutines write to several conversations in each call (rule P29). Each sender's messages keep their order.
func (s *suite) manyWriters() {
	const writers, calls = 16, 10
	s.creates(1, "ann")
	s.creates(2, "ann")
	s.makes("ann", "bob")
	together(writers, func(w int) {
		for i := range calls {
			content := fmt.Sprint(w, " ", i)
			all := []*chat.Post{s.toGroup(1, "ann", content), s.toGroup(2, "ann", content), s.toUser("ann", "bob", content), s.toUser(fmt.Sprint("user", w), "ann", content)}
			if w%2 == 1 { // conversations in another order
				all[0], all[1], all[2], all[3] = all[3], all[2], all[1], all[0]
			}
			if err := s.store.Append(s.ctx, all, possible); err != nil {
				s.t.Error(err)
				return
			}
		}
	})
	for _, of := range []chat.Key{{Group: 1}, {Group: 2}, chat.PairKey("ann", "bob")} {
		all := s.contents(of)
		same(s, "the number of messages", len(all), writers*calls)
		next := make(map[int]int)
		for _, c := range all {
			var w, i int
			if _, err := fmt.Sscan(c, &w, &i); err != nil {
				s.t.Fatal(err)
			}
			same(s, "the next message of a writer", i, next[w])
			next[w]++
		}
	}
	same(s, "the number of messages", len(s.contents(chat.PairKey("user5", "ann"))), calls)
	same(s, "ann's conversations", len(s.listed("ann")), writers+3)
}

// manyJoins has 100 users join a group with 10 free places (rule P35).
func (s *suite) manyJoins() {
	const free = 10
	s.creates(1, "ann")
	version := s.group(1).Version
	s.updates(1, nil, func(g *chat.Group, _ []chat.Member) { g.MaxMembers = 1 + free })
	var in, full atomic.Int32
	together(100, func(i int) {
		_, err := s.store.UpdateGroup(s.ctx, 1, []string{fmt.Sprint("user", i)}, func(g *chat.Group, users []chat.Member) error {
			if g.Members >= g.MaxMembers {
				return errNo
			}
			users[0].In = true
			return nil
		})
		switch err {
		case nil:
			in.Add(1)
		case errNo:
			full.Add(1)
		default:
			s.t.Error(err)
		}
	})
	same(s, "rule P35: users who came in", in.Load(), free)
	same(s, "rule P35: users who found the group full", full.Load(), 100-free)
	g := s.group(1)
	same(s, "rule P35: members", g.Members, 1+free)
	same(s, "rule P35: members in the list", len(s.membersOf(1)), 1+free)
	same(s, "the version", g.Version, version+free)
}

// oneMoment has members come and go, always by two, while others read.
func (s *suite) oneMoment() {
	s.creates(1, "ann")
	var reading atomic.Int32
	reading.Store(2)
	together(3, func(i int) {
		if i == 0 {
			for n := 0; reading.Load() > 0 && s.ctx.Err() == nil; n++ {
				pair := []string{fmt.Sprint("a", n%3), fmt.Sprint("b", n%3)}
				_, err := s.store.UpdateGroup(s.ctx, 1, pair, func(_ *chat.Group, users []chat.Member) error {
					users[0].In = !users[0].In
					users[1].In = users[0].In
					return nil
				})
				if err != nil {
					s.t.Error(err)
				}
			}
			return
		}
		defer reading.Add(-1)
		for range 30 {
			g, all, err := s.store.Members(s.ctx, 1, "", 0)
			if err != nil || g.Members != len(all) || len(all)%2 == 0 {
				s.t.Errorf("a group of %d has the members %v, %v", g.Members, memberIDs(all), err)
			}
		}
	})
}

// letIn waits until so many messages have been let in.
func (s *suite) letIn(in <-chan struct{}, n int) {
	for range n {
		select {
		case <-in:
		case <-s.ctx.Done():
			s.t.Error("no message is let in")
			return
		}
	}
}

func tell(in chan<- struct{}) {
	select {
	case in <- struct{}{}:
	default:
	}
}

// mutes has a member write from two goroutines while an administrator mutes the member (rule P37).
func (s *suite) mutes() {
	s.creates(1, "ann", "bob")
	allow := func(p *chat.Post, st *chat.Standing) error {
		if st.Member.MutedUntil.After(p.Time) {
			return errNo
		}
		return nil
	}
	for range 20 {
		s.updates(1, []string{"bob"}, func(_ *chat.Group, users []chat.Member) { users[0].MutedUntil = time.Time{} })
		var muted atomic.Bool
		var last atomic.Uint64
		var mu sync.Mutex
		var stored []*chat.Post
		in := make(chan struct{}, 3)
		together(3, func(i int) {
			if i == 0 {
				s.letIn(in, 3)
				g, err := s.store.UpdateGroup(s.ctx, 1, []string{"bob"}, func(_ *chat.Group, users []chat.Member) error {
					users[0].MutedUntil = s.now.Add(time.Hour)
					return nil
				})
				if err != nil {
					s.t.Error(err)
				}
				last.Store(g.LastSeq)
				muted.Store(true)
				return
			}
			for after := 0; after < 3 && s.ctx.Err() == nil; {
				late, all := muted.Load(), []*chat.Post{s.toGroup(1, "bob", "x"), s.toGroup(1, "bob", "y")}
				if err := s.store.Append(s.ctx, all, allow); err != nil {
					s.t.Error(err)
					return
				}
				for _, p := range all {
					switch {
					case p.Err != nil:
						after++
					case late:
						s.t.Errorf("rule P37: number %d was let in after the mute had been answered", p.Seq)
						after++
					default:
						mu.Lock()
						stored = append(stored, p)
						mu.Unlock()
						tell(in)
					}
				}
			}
		})
		for _, p := range stored {
			if p.Seq > last.Load() {
				s.t.Errorf("rule P37: the mute was decided at number %d, and number %d is the muted member's", last.Load(), p.Seq)
			}
		}
	}
}

// blocks has a user write to another, also without a name, while the other blocks the user (rule P37).
func (s *suite) blocks() {
	s.makes("ann", "bob")
	for _, anonymous := range []bool{false, true} {
		post := func() *chat.Post {
			p := s.toUser("bob", "ann", "x")
			p.Anonymous = anonymous
			return p
		}
		for range 10 {
			s.relates("ann", "bob", chat.Contact{}, chat.Contact{})
			var blocked atomic.Bool
			var mu sync.Mutex
			var last, highest uint64
			in := make(chan struct{}, 3)
			together(3, func(i int) {
				if i == 0 {
					s.letIn(in, 3)
					err := s.store.UpdateContact(s.ctx, "ann", "bob", func(r *chat.Relation) error {
						r.AB.Blocked, r.AB.BlockedAnonymous = true, true
						return nil
					})
					if err != nil {
						s.t.Error(err)
					}
					blocked.Store(true)
					page, err := s.store.History(s.ctx, post().Key(), "ann", chat.Range{Limit: 1})
					if err != nil {
						s.t.Error(err)
					}
					last = page.Last
					return
				}
				for after := 0; after < 3 && s.ctx.Err() == nil; {
					late, p := blocked.Load(), post()
					err := s.store.Append(s.ctx, []*chat.Post{p}, func(p *chat.Post, st *chat.Standing) error {
						if st.Contact.BlockedBy != st.Contact.BlockedByAnonymous {
							s.t.Error("half of a block is seen")
						}
						if st.Contact.BlockedBy {
							return errNo
						}
						return nil
					})
					switch {
					case err != nil:
						s.t.Error(err)
						return
					case p.Err != nil:
						after++
					case late:
						s.t.Errorf("rule P37: number %d was let in after the block had been answered", p.Seq)
						after++
					default:
						mu.Lock()
						highest = max(highest, p.Seq)
						mu.Unlock()
						tell(in)
					}
				}
			})
			if highest > last {
				s.t.Errorf("rule P37: after the block the last number was %d, and number %d is the blocked user's", last, highest)
			}
		}
	}
}

func (s *suite) manyRecalls() {
	s.creates(1, "ann")
	s.sends(s.toGroup(1, "ann", "gone"))
	var stored atomic.Int32
	together(8, func(int) {
		r := s.recall(s.toGroup(1, "ann", ""), 1)
		if err := s.store.Append(s.ctx, []*chat.Post{r}, possible); err != nil || r.Err != nil || r.Seq != 2 {
			s.t.Errorf("the recall is %+v, the error %v", r, err)
		}
		if !r.Dup {
			stored.Add(1)
		}
	})
	same(s, "rule P32: the recalls that are stored", stored.Load(), 1)
	same(s, "the number of messages and recalls", len(s.contents(chat.Key{Group: 1})), 2)
}

var contexts = []test{
	{"ACallWhoseContextHasEndedStoresNothing", (*suite).endedContext},
	{"WhatWasStoredOutlivesTheStore", (*suite).reopened},
	{"TheStoreHasAWriter", func(s *suite) {
		if n := s.store.Writers(); n < 1 {
			s.t.Errorf("Writers returns %d", n)
		}
	}},
}

func (s *suite) endedContext() {
	s.creates(1, "ann")
	s.makes("ann")
	s.sends(s.toGroup(1, "ann", "1"), s.toGroup(1, "ann", "2"))
	before := s.group(1)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	st := s.store
	for name, call := range map[string]func() error{
		"Users": func() error { _, err := st.Users(ctx, []string{"ann"}); return err },
		"UpdateUser": func() error {
			return st.UpdateUser(ctx, "bob", func(u *chat.User) error { u.Exists = true; return nil })
		},
		"UpdateContact": func() error {
			return st.UpdateContact(ctx, "ann", "bob", func(r *chat.Relation) error { r.AB.State = chat.Friend; return nil })
		},
		"Contacts":     func() error { _, err := st.Contacts(ctx, "ann", "", 0); return err },
		"ContactsWith": func() error { _, err := st.ContactsWith(ctx, "ann", []string{"bob"}); return err },
		"CreateGroup": func() error {
			return st.CreateGroup(ctx, chat.Group{ID: 2, Owner: "ann"}, func(int) error { return nil })
		},
		"UpdateGroup": func() error {
			_, err := st.UpdateGroup(ctx, 1, []string{"bob"}, func(_ *chat.Group, users []chat.Member) error { users[0].In = true; return nil })
			return err
		},
		"Group":         func() error { _, _, err := st.Group(ctx, 1, "ann"); return err },
		"Members":       func() error { _, _, err := st.Members(ctx, 1, "", 0); return err },
		"Groups":        func() error { _, err := st.Groups(ctx, "ann"); return err },
		"ShareGroup":    func() error { _, err := st.ShareGroup(ctx, "ann", []string{"bob"}, 200); return err },
		"Append":        func() error { return st.Append(ctx, []*chat.Post{s.toGroup(1, "ann", "3")}, possible) },
		"History":       func() error { _, err := st.History(ctx, chat.Key{Group: 1}, "ann", chat.Range{Limit: 1}); return err },
		"Conversations": func() error { _, err := st.Conversations(ctx, "ann", 0, 1); return err },
		"Prune":         func() error { _, err := st.Prune(ctx, s.now.Add(time.Hour), 10); return err },
		"LoadPresence":  func() error { _, err := st.LoadPresence(ctx, []string{"ann"}); return err },
		"SavePresence":  func() error { return st.SavePresence(ctx, []presence.Record{{UserID: "ann"}}) },
	} {
		if err := call(); err == nil {
			s.t.Errorf("%s returned no error", name)
		} else if errors.Is(err, protocol.NoSuchGroup) || errors.Is(err, chat.ErrTaken) || errors.Is(err, chat.ErrBadPost) {
			s.t.Errorf("%s returned %v", name, err)
		}
	}
	same(s, "the group", s.group(1), before)
	same(s, "bob", s.user("bob").Exists, false)
	same(s, "the contact", s.with("ann", "bob"), chat.Contact{UserID: "bob"})
	s.noGroup(2, "ann")
	sameAll(s, "the messages", s.contents(chat.Key{Group: 1}), []string{"1", "2"})
	same(s, "the number of records", len(s.load("ann")), 0)
}

// reopened closes and opens a store that is a Reopener.
func (s *suite) reopened() {
	store, ok := s.store.(Reopener)
	if !ok {
		return
	}
	s.creates(1, "ann", "bob")
	s.creates(2, "ann")
	s.dissolves(2)
	s.updates(1, []string{"bob", "eve"}, func(_ *chat.Group, users []chat.Member) { users[0].MutedUntil, users[1].BannedBy = s.now, "ann" })
	s.makes("ann", "bob")
	contact := chat.Contact{State: chat.Friend, Blocked: true, BlockedAnonymous: true, Since: s.now, Text: "t", Declined: s.now}
	s.relates("ann", "bob", contact, chat.Contact{})
	p := s.toGroup(1, "ann", "1")
	s.sends(p, s.toGroup(1, "ann", "gone"), s.toUser("ann", "bob", "x"))
	s.sends(s.recall(p, 2))
	record := presence.Record{UserID: "ann", Wanted: presence.Stealth, LastSeen: s.now}
	s.noError(s.store.SavePresence(s.ctx, []presence.Record{record}))
	group, members, listed := s.group(1), s.membersOf(1), s.listed("ann")
	_, bob := s.groupAnd(1, "bob")
	_, eve := s.groupAnd(1, "eve")

	s.store = store.Reopen(s.t)
	same(s, "the group", s.group(1), group)
	sameAll(s, "the members", s.membersOf(1), members)
	sameAll(s, "the conversations", s.listed("ann"), listed)
	for _, want := range []chat.Member{bob, eve} {
		_, got := s.groupAnd(1, want.UserID)
		same(s, "the user in the group", got, want)
	}
	s.takenID(2)
	contact.UserID = "bob"
	same(s, "the contact", s.with("ann", "bob"), contact)
	same(s, "the user", s.user("ann"), chat.User{UserID: "ann", Exists: true, Created: s.now, Settings: chat.DefaultSettings()})
	same(s, "the record", s.load("ann")["ann"], record)
	s.repeated(p, again(p))
	sameAll(s, "the messages", s.contents(chat.Key{Group: 1}), []string{"1", "", ""})
	next := s.toGroup(1, "ann", "4")
	s.sends(next)
	same(s, "the next number", next.Seq, 4)
}

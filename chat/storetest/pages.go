package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/chat"
)

var pages = []test{
	{"PagesGoByNumber", (*suite).ranges},
	{"BytesEndAPage", (*suite).byteLimit},
	{"APageTellsOfTheGroupAndTheAsker", (*suite).asker},
	{"APairWithoutMessagesHasAnEmptyPage", (*suite).emptyPages},
	{"PagesAreWholeWhileOthersWrite", (*suite).pagesWhileWriting},
	{"PruneKeepsTheLastNumber", (*suite).prune},
	{"PruneRemovesTheOldestUpToItsLimit", (*suite).pruneLimit},
	{"APageSaysWhatIsKept", (*suite).prunedPages},
}

// want is what a page has: its messages' numbers from and to, 0 and 0 for none, and more.
type want struct {
	from, to uint64
	more     bool
}

func (s *suite) wantPage(of chat.Key, r chat.Range, w want) {
	s.t.Helper()
	page := s.page(of, r)
	var numbers, wanted []uint64
	for _, m := range page.Messages {
		numbers = append(numbers, m.Seq)
	}
	for n := w.from; n <= w.to && n > 0; n++ {
		wanted = append(wanted, n)
	}
	if !slices.Equal(numbers, wanted) || page.More != w.more {
		s.t.Errorf("the range %+v has %v, more %v; want %v, more %v", r, numbers, page.More, wanted, w.more)
	}
}

func (s *suite) ranges() {
	s.creates(1, "ann")
	s.makes("bob")
	s.sendMany(10, func(c string) *chat.Post { return s.toGroup(1, "ann", c) })
	s.sendMany(10, func(c string) *chat.Post { return s.toUser("bob", "ann", c) })
	for _, of := range []chat.Key{{Group: 1}, chat.PairKey("ann", "bob")} {
		for _, c := range []struct {
			chat.Range
			want
		}{
			{chat.Range{Limit: 3}, want{8, 10, true}},
			{chat.Range{Limit: 9}, want{2, 10, true}},
			{chat.Range{Limit: 10}, want{1, 10, false}},
			{chat.Range{Limit: 11}, want{1, 10, false}},
			{chat.Range{Limit: 3, FromStart: true}, want{1, 3, true}},
			{chat.Range{Limit: 10, FromStart: true}, want{1, 10, false}},
			{chat.Range{Limit: 3, After: 4}, want{5, 7, true}},
			{chat.Range{Limit: 3, After: 4, FromStart: true}, want{5, 7, true}},
			{chat.Range{Limit: 3, After: 7}, want{8, 10, false}},
			{chat.Range{Limit: 3, After: 8}, want{9, 10, false}},
			{chat.Range{Limit: 3, After: 10}, want{0, 0, false}},
			{chat.Range{Limit: 3, After: 11}, want{0, 0, false}},
			{chat.Range{Limit: 3, After: 1<<63 - 1}, want{0, 0, false}},
			{chat.Range{Limit: 3, Before: 6}, want{3, 5, true}},
			{chat.Range{Limit: 3, Before: 5}, want{2, 4, true}},
			{chat.Range{Limit: 3, Before: 4}, want{1, 3, false}},
			{chat.Range{Limit: 3, Before: 3}, want{1, 2, false}},
			{chat.Range{Limit: 3, Before: 1}, want{0, 0, false}},
			{chat.Range{Limit: 3, Before: 11}, want{8, 10, true}},
			{chat.Range{Limit: 3, Before: 12}, want{8, 10, true}},
			{chat.Range{Limit: 3, Before: 1<<63 - 1}, want{8, 10, true}},
			{chat.Range{Limit: 3, Before: 6, After: 2}, want{3, 5, true}}, // Before does not count
			{chat.Range{Limit: 5, Before: 6, After: 2}, want{3, 7, true}},
			{chat.Range{Limit: 5, Before: 3, FromStart: true}, want{1, 5, true}},
		} {
			s.wantPage(of, c.Range, c.want)
		}
		page := s.page(of, chat.Range{Limit: 2, Before: 5})
		same(s, "First", page.First, 1)
		same(s, "Last", page.Last, 10)
		same(s, "the content", string(page.Messages[0].Content), "3")
	}
}

func (s *suite) byteLimit() {
	s.creates(1, "ann")
	for _, n := range []int{10, 20, 0, 30, 40, 5} {
		s.sends(s.toGroup(1, "ann", string(make([]byte, n))))
	}
	of := chat.Key{Group: 1}
	for _, c := range []struct {
		chat.Range
		want
	}{
		{chat.Range{FromStart: true, Bytes: 1}, want{1, 1, true}}, // the first is never too large
		{chat.Range{FromStart: true, Bytes: 10}, want{1, 1, true}},
		{chat.Range{FromStart: true, Bytes: 29}, want{1, 1, true}},
		{chat.Range{FromStart: true, Bytes: 30}, want{1, 3, true}},
		{chat.Range{FromStart: true, Bytes: 30, Limit: 2}, want{1, 2, true}},
		{chat.Range{FromStart: true, Bytes: 104}, want{1, 5, true}},
		{chat.Range{FromStart: true, Bytes: 105}, want{1, 6, false}},
		{chat.Range{After: 3, Bytes: 35}, want{4, 4, true}}, // the last one would find place, but not the one before it
		{chat.Range{Bytes: 1}, want{6, 6, true}},
		{chat.Range{Bytes: 44}, want{6, 6, true}},
		{chat.Range{Bytes: 45}, want{5, 6, true}},
		{chat.Range{Bytes: 75}, want{3, 6, true}},
		{chat.Range{Bytes: 104}, want{2, 6, true}},
		{chat.Range{Bytes: 105}, want{1, 6, false}},
		{chat.Range{Before: 5, Bytes: 49}, want{3, 4, true}},
		{chat.Range{Before: 5, Bytes: 50}, want{2, 4, true}},
	} {
		s.wantPage(of, c.Range, c.want)
	}
	s.sends(s.recall(s.toGroup(1, "ann", ""), 2))
	s.wantPage(of, chat.Range{FromStart: true, Bytes: 40}, want{1, 4, true}) // what is recalled has no bytes
}

func (s *suite) asker() {
	s.creates(1, "ann", "bob")
	s.updates(1, []string{"bob", "eve"}, func(_ *chat.Group, users []chat.Member) { users[0].Role, users[1].BannedBy = chat.Administrator, "ann" })
	s.sends(s.toGroup(1, "ann", "1"))
	for asker, want := range map[string]chat.Member{
		"bob": {UserID: "bob", In: true, Role: chat.Administrator}, "cid": {UserID: "cid"}, "eve": {UserID: "eve", BannedBy: "ann"},
	} {
		page, err := s.store.History(s.ctx, chat.Key{Group: 1}, asker, chat.Range{Limit: 1})
		s.noError(err)
		if page.Group == nil || *page.Group != s.group(1) {
			s.t.Fatalf("the group is %+v, want %+v", page.Group, s.group(1))
		}
		same(s, "the asker", page.Member, want)
		same(s, "the number of messages", len(page.Messages), 1)
	}
	s.makes("bob")
	s.sends(s.toUser("ann", "bob", "1"))
	page := s.page(chat.PairKey("ann", "bob"), chat.Range{})
	same(s, "the group of a pair", page.Group, nil)
}

func (s *suite) emptyPages() {
	s.creates(1, "ann")
	for _, of := range []chat.Key{chat.PairKey("ann", "bob"), {Group: 1}} {
		for _, r := range []chat.Range{{}, {FromStart: true}, {After: 1}, {Before: 5}} {
			page := s.page(of, r)
			if len(page.Messages) != 0 || page.First != 0 || page.Last != 0 || page.More || (page.Group != nil) != (of.Group != 0) {
				s.t.Errorf("the page is %+v", page)
			}
		}
	}
}

// pagesWhileWriting reads a conversation in pages, from both ends, while others write (rule P31).
func (s *suite) pagesWhileWriting() {
	const messages = 300
	s.creates(1, "ann")
	of := chat.Key{Group: 1}
	s.sendMany(messages/3, func(c string) *chat.Post { return s.toGroup(1, "ann", c) })
	together(3, func(i int) {
		switch i {
		case 0:
			for n := messages / 3; n < messages; n += 2 {
				if err := s.store.Append(s.ctx, []*chat.Post{s.toGroup(1, "ann", fmt.Sprint(n+1)), s.toGroup(1, "ann", fmt.Sprint(n+2))}, possible); err != nil {
					s.t.Error(err)
				}
			}
		case 1:
			for next := uint64(1); next <= messages && s.ctx.Err() == nil && !s.t.Failed(); {
				page, err := s.store.History(s.ctx, of, "ann", chat.Range{After: next - 1, FromStart: true, Limit: 7})
				next = s.follows(page, err, next)
				if err == nil && (page.Last < next-1 || page.More != (page.Last >= next)) {
					s.t.Errorf("the page ends with %d, the last is %d, and More is %v", next-1, page.Last, page.More)
				}
			}
		case 2:
			page, err := s.store.History(s.ctx, of, "ann", chat.Range{Limit: 7})
			for err == nil && len(page.Messages) > 0 && page.Messages[0].Seq > 1 && !s.t.Failed() {
				before := page.Messages[0].Seq
				page, err = s.store.History(s.ctx, of, "ann", chat.Range{Before: before, Limit: 7})
				if next := s.follows(page, err, max(before, 8)-7); next != before {
					s.t.Errorf("the page before %d ends before %d", before, next)
				}
			}
			s.follows(page, err, 1)
		}
	})
	same(s, "the number of messages", len(s.contents(of)), messages)
}

// follows wants the messages of a page to have the numbers from next on, each with its content, and returns the next one.
func (s *suite) follows(page chat.Page, err error, next uint64) uint64 {
	if err != nil {
		s.t.Error(err)
	}
	for _, m := range page.Messages {
		if m.Seq != next || string(m.Content) != fmt.Sprint(next) {
			s.t.Errorf("message %d with the content %q comes where %d is expected", m.Seq, m.Content, next)
		}
		next++
	}
	return next
}

// ages stores n messages in a conversation, a second after each other.
func (s *suite) ages(n int, post func(content string) *chat.Post) {
	s.t.Helper()
	i := 0
	s.sendMany(n, func(c string) *chat.Post {
		p := post(c)
		p.Time = s.now.Add(time.Duration(i) * time.Second)
		i++
		return p
	})
}

func (s *suite) pruned(before time.Time, limit, want int) {
	s.t.Helper()
	n, err := s.store.Prune(s.ctx, before, limit)
	s.noError(err)
	same(s, "the number of removed messages", n, want)
}

func (s *suite) prune() {
	s.creates(1, "ann")
	s.makes("bob")
	s.pruned(s.now.Add(time.Hour), 100, 0)
	s.ages(5, func(c string) *chat.Post { return s.toGroup(1, "ann", c) })
	s.ages(4, func(c string) *chat.Post { return s.toUser("ann", "bob", c) })
	s.pruned(s.now, 100, 0)                    // what was sent at the time is not older
	s.pruned(s.now.Add(2*time.Second), 100, 4) // two of each
	s.wantPage(chat.Key{Group: 1}, chat.Range{FromStart: true}, want{3, 5, false})
	s.wantPage(chat.PairKey("ann", "bob"), chat.Range{FromStart: true}, want{3, 4, false})
	s.pruned(s.now.Add(time.Hour), 100, 3)
	s.pruned(s.now.Add(time.Hour), 100, 0)
	s.wantPage(chat.Key{Group: 1}, chat.Range{FromStart: true}, want{5, 5, false})
	s.wantPage(chat.PairKey("ann", "bob"), chat.Range{}, want{4, 4, false})
	p, q := s.toGroup(1, "ann", "x"), s.toUser("bob", "ann", "x")
	s.sends(p, q)
	same(s, "the next number in the group", p.Seq, 6)
	same(s, "the next number of the pair", q.Seq, 5)
	same(s, "what is recalled is gone", s.standing(s.recall(p, 2)).Message, nil)
	same(s, "the number of conversations", len(s.listed("ann")), 2)
}

func (s *suite) pruneLimit() {
	s.creates(1, "ann")
	s.makes("bob")
	s.ages(20, func(c string) *chat.Post { return s.toGroup(1, "ann", c) })
	s.ages(10, func(c string) *chat.Post { return s.toUser("ann", "bob", c) })
	removed := 0
	for _, limit := range []int{1, 3, 7, 5, 100} {
		n, err := s.store.Prune(s.ctx, s.now.Add(15*time.Second), limit)
		s.noError(err)
		if removed += n; n > limit || n == 0 {
			s.t.Errorf("Prune has removed %d, the limit is %d", n, limit)
		}
		kept := 0
		for _, of := range []chat.Key{{Group: 1}, chat.PairKey("ann", "bob")} {
			page := s.page(of, chat.Range{FromStart: true})
			s.follows(page, nil, page.Last+1-uint64(len(page.Messages))) // the oldest ones are gone
			kept += len(page.Messages)
		}
		same(s, "the messages that are kept", kept, 30-removed)
	}
	for range 100 { // a store may remove less than the limit at a time
		n, err := s.store.Prune(s.ctx, s.now.Add(15*time.Second), 100)
		s.noError(err)
		if removed += n; n == 0 {
			break
		}
	}
	same(s, "the messages that are removed", removed, 15+9)
}

func (s *suite) prunedPages() {
	s.creates(1, "ann")
	s.ages(10, func(c string) *chat.Post { return s.toGroup(1, "ann", c) })
	s.pruned(s.now.Add(4*time.Second), 100, 4)
	of := chat.Key{Group: 1}
	page := s.page(of, chat.Range{Limit: 1})
	same(s, "First", page.First, 5)
	same(s, "Last", page.Last, 10)
	for _, c := range []struct {
		chat.Range
		want
	}{
		{chat.Range{FromStart: true, Limit: 2}, want{5, 6, true}},
		{chat.Range{After: 2, Limit: 2}, want{5, 6, true}},
		{chat.Range{After: 4, Limit: 2}, want{5, 6, true}},
		{chat.Range{After: 5, Limit: 2}, want{6, 7, true}},
		{chat.Range{Limit: 6}, want{5, 10, false}},
		{chat.Range{Before: 7, Limit: 2}, want{5, 6, false}},
		{chat.Range{Before: 6, Limit: 2}, want{5, 5, false}},
		{chat.Range{Before: 5, Limit: 2}, want{0, 0, false}},
		{chat.Range{Before: 3, Limit: 2}, want{0, 0, false}},
	} {
		s.wantPage(of, c.Range, c.want)
	}
}

var conversations = []test{
	{"ConversationsAreListedInPages", (*suite).conversationPages},
	{"OnlyMembersHaveAGroupInTheirList", (*suite).conversationMembers},
	{"APairWithoutMessagesIsNoConversation", (*suite).noConversation},
}

func (s *suite) conversationPages() {
	s.makes("ann", "bob")
	want := make(map[chat.Conversation]uint64)
	for i := range 6 {
		group, pair := chat.GroupID(i+1), fmt.Sprint("user", i)
		s.creates(group, "ann")
		s.sendMany(i, func(c string) *chat.Post { return s.toGroup(group, "ann", c) })
		s.sendMany(i+1, func(c string) *chat.Post { return s.toUser("ann", pair, c) })
		want[chat.ToGroup(group)], want[chat.ToUser(pair)] = uint64(i), uint64(i+1)
	}
	s.creates(100, "bob")
	s.sends(s.toUser("bob", "cid", "x"))
	for _, limit := range []int{1, 5, len(want), len(want) + 1} {
		found := make(map[chat.Conversation]bool)
		for after := uint64(0); ; {
			page, err := s.store.Conversations(s.ctx, "ann", after, limit)
			s.noError(err)
			if len(page) > limit {
				s.t.Fatalf("a page of %d has %d conversations", limit, len(page))
			}
			for _, c := range page {
				if last, ok := want[c.Conversation]; !ok || found[c.Conversation] || c.LastSeq != last || c.ID <= after {
					s.t.Fatalf("after %d comes %+v", after, c)
				}
				if found[c.Conversation] = true; c.Group != 0 && c.ID != uint64(c.Group) {
					s.t.Errorf("group %d has the number %d", c.Group, c.ID)
				}
				after = c.ID
			}
			if len(page) == 0 {
				break
			}
		}
		same(s, "the number of conversations", len(found), len(want))
	}
}

func (s *suite) conversationMembers() {
	s.creates(1, "ann", "bob")
	s.sends(s.toGroup(1, "bob", "1"))
	same(s, "bob's conversations", len(s.listed("bob")), 1)
	s.updates(1, []string{"bob"}, func(_ *chat.Group, users []chat.Member) { users[0].In, users[0].BannedBy = false, "ann" })
	same(s, "bob's conversations after bob has gone", len(s.listed("bob")), 0)
	same(s, "ann's conversations", len(s.listed("ann")), 1)
}

// noConversation changes contacts and has messages refused. A user who blocks the sender of an anonymous message must not learn from the list who it was.
func (s *suite) noConversation() {
	s.makes("ann", "bob")
	s.relates("ann", "bob", chat.Contact{State: chat.Friend, BlockedAnonymous: true}, chat.Contact{State: chat.Friend})
	s.standing(s.toUser("ann", "bob", "refused"))
	s.standing(s.recall(s.toUser("ann", "bob", ""), 1))
	s.standing(s.anonymousTo("ann", "bob", "refused"))
	page := s.page(chat.PairKey("ann", "bob"), chat.Range{})
	same(s, "the number of messages", len(page.Messages), 0)
	for _, id := range []string{"ann", "bob"} {
		same(s, "the conversations of "+id, len(s.listed(id)), 0)
	}
	s.sends(s.toUser("ann", "bob", "1"))
	for _, id := range []string{"ann", "bob"} {
		same(s, "the conversations of "+id, len(s.listed(id)), 1)
	}
}

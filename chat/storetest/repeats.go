package storetest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
)

var repeats = []test{
	{"ARepeatIsTheSameMessage", (*suite).repeat},
	{"ARepeatInTheSameCallIsTheSameMessage", (*suite).repeatInCall},
	{"AnIDIsOneSendersInOneConversation", (*suite).sameID},
	{"APostThatWasRefusedMayComeAgain", (*suite).refusedAgain},
	{"OfRepeatsAtTheSameTimeOneIsStored", (*suite).repeatsTogether},
}

// repeated posts posts, the last of which has been stored, and wants that one to be Dup without a question (rule P33).
func (s *suite) repeated(first *chat.Post, posts ...*chat.Post) {
	s.t.Helper()
	last := posts[len(posts)-1]
	s.noError(s.store.Append(s.ctx, posts, func(p *chat.Post, _ *chat.Standing) error {
		if p == last {
			s.t.Error("allow was asked about a repeat")
			return errNo
		}
		return nil
	}))
	if !last.Dup || last.Err != nil || last.Seq != first.Seq || !last.Time.Equal(first.Time) {
		s.t.Errorf("rule P33: the repeat is %+v, the message had number %d and time %v", last, first.Seq, first.Time)
	}
}

func (s *suite) repeat() {
	s.creates(1, "ann", "bob")
	s.makes("bob")
	for _, p := range []*chat.Post{
		s.toGroup(1, "ann", "first"), s.toUser("ann", "bob", "first"), s.toGroup(1, chat.Server, "first"),
		{To: "bob", From: "ann", Anonymous: true, ID: uuid.New(), Content: []byte("first"), Time: s.now},
	} {
		s.sends(p)
		if p.Dup {
			s.t.Errorf("a new message is Dup: %+v", p)
		}
		before := len(s.contents(p.Key()))
		q := again(p)
		q.Content, q.Type, q.Time = []byte("other"), 9, s.now.Add(time.Minute)
		s.repeated(p, q)
		other := again(p)
		other.ID = uuid.New()
		s.repeated(p, other, again(q)) // also after another one, and although something else is stored
		same(s, "the content", string(s.message(p.Key(), p.Seq).Content), "first")
		same(s, "the number of messages", len(s.contents(p.Key())), before+1)
	}
	s.leaves(1, "bob")
}

func (s *suite) repeatInCall() {
	s.creates(1, "ann")
	s.makes("bob")
	first, toBob := s.toGroup(1, "ann", "first"), s.toUser("ann", "bob", "first")
	second, secondToBob := again(first), again(toBob)
	second.Content, second.Time = []byte("second"), s.now.Add(time.Minute)
	s.sends(first, toBob, second, secondToBob, s.toGroup(1, "ann", "third"))
	for _, p := range []*chat.Post{second, secondToBob} {
		if !p.Dup || p.Seq != 1 || !p.Time.Equal(s.now) {
			s.t.Errorf("rule P33: the repeat is %+v", p)
		}
	}
	if first.Dup || toBob.Dup {
		s.t.Error("the first one is Dup")
	}
	sameAll(s, "the group", s.contents(chat.Key{Group: 1}), []string{"first", "third"})
	sameAll(s, "the pair", s.contents(chat.PairKey("ann", "bob")), []string{"first"})
}

func (s *suite) sameID() {
	s.creates(1, "ann", "bob", "Ann")
	s.creates(2, "ann")
	s.makes("bob", "cid", "ann")
	id := uuid.New()
	anonymous := s.toUser("ann", "bob", "")
	anonymous.Anonymous = true
	all := []*chat.Post{
		s.toGroup(1, "ann", ""), s.toGroup(1, "bob", ""), s.toGroup(1, "Ann", ""), s.toGroup(2, "ann", ""), s.toUser("ann", "bob", ""), s.toUser("bob", "ann", ""),
		s.toUser("ann", "cid", ""), anonymous,
	}
	for i, p := range all {
		if p.ID = id; i > 3 {
			s.sends(p)
		}
	}
	s.sends(all[:4]...)
	for i, want := range []uint64{1, 2, 3, 1, 1, 2, 1, 1} {
		if all[i].Dup || all[i].Seq != want {
			s.t.Errorf("post %d is %+v, want number %d", i, all[i], want)
		}
	}
}

func (s *suite) refusedAgain() {
	s.creates(1, "ann")
	p := s.toGroup(1, "ann", "x")
	s.standing(p) // which is refused
	q, r := again(p), again(p)
	asked := 0
	s.noError(s.store.Append(s.ctx, []*chat.Post{q, r}, func(*chat.Post, *chat.Standing) error {
		if asked++; asked == 1 {
			return errNo
		}
		return nil
	}))
	if q.Err != errNo || q.Dup || r.Err != nil || r.Dup || r.Seq != 1 {
		s.t.Errorf("the posts are %+v and %+v, want one that is refused and one that is stored", q, r)
	}
}

func (s *suite) repeatsTogether() {
	const goroutines, messages = 8, 10
	s.creates(1, "ann")
	var first []*chat.Post
	for i := range messages {
		first = append(first, s.toGroup(1, "ann", fmt.Sprint(i)))
	}
	var mu sync.Mutex
	numbers, stored := make(map[string]uint64), 0
	together(goroutines, func(i int) {
		for j := range messages {
			p := again(first[(i+j)%messages])
			if err := s.store.Append(s.ctx, []*chat.Post{p}, possible); err != nil || p.Err != nil {
				s.t.Error(err, p.Err)
				return
			}
			mu.Lock()
			if was := numbers[string(p.Content)]; was != 0 && was != p.Seq {
				s.t.Errorf("rule P33: a message has the numbers %d and %d", was, p.Seq)
			}
			if numbers[string(p.Content)] = p.Seq; !p.Dup {
				stored++
			}
			mu.Unlock()
		}
	})
	same(s, "messages that are not Dup", stored, messages)
	for i, c := range s.contents(chat.Key{Group: 1}) {
		same(s, "the number of a message", numbers[c], uint64(i+1))
	}
}

var recalls = []test{
	{"ARecallErasesTheContent", (*suite).recallErases},
	{"ARecallMayBeInTheCallOfItsMessage", (*suite).recallInCall},
	{"ASecondRecallIsTheFirst", (*suite).recallTwice},
	{"ARecallThatIsRefusedChangesNothing", (*suite).recallRefused},
	{"AllowIsGivenWhatIsRecalled", (*suite).recallStanding},
	{"ARepeatAfterARecallBringsNothingBack", (*suite).repeatRecalled},
}

func (s *suite) recallErases() {
	s.creates(1, "ann")
	s.makes("bob")
	for _, p := range []*chat.Post{s.toGroup(1, "ann", "gone"), s.toUser("ann", "bob", "gone"), s.toGroup(1, "ann", strings.Repeat("x", 256<<10))} {
		s.sends(p)
		other := again(p)
		other.ID, other.Content = uuid.New(), []byte("stays")
		s.sends(other)
		r := s.recall(p, p.Seq)
		s.sends(r)
		if r.Dup || r.Seq != p.Seq+2 {
			s.t.Errorf("the recall of message %d is %+v", p.Seq, r)
		}
		got := s.message(p.Key(), p.Seq)
		if len(got.Content) != 0 || !got.Recalled || got.Recalls != 0 || got.ID != p.ID || got.From != "ann" || got.Type != 7 || !got.Time.Equal(p.Time) {
			s.t.Errorf("rule P32: the message is %+v", got)
		}
		got = s.message(p.Key(), r.Seq)
		if len(got.Content) != 0 || got.Recalled || got.Recalls != p.Seq || got.ID != r.ID || got.From != "ann" {
			s.t.Errorf("rule P32: the recall is %+v", got)
		}
		same(s, "the other message", string(s.message(p.Key(), p.Seq+1).Content), "stays")
	}
}

func (s *suite) recallInCall() {
	s.creates(1, "ann")
	first, second := s.toGroup(1, "ann", "1"), s.toGroup(1, "ann", "2")
	early, r := s.recall(first, 2), s.recall(first, 1) // the first recall comes before its message
	late := s.recall(first, 2)                         // number 2 is a recall itself
	var seen []string
	all := []*chat.Post{first, early, r, again(first), second, late}
	s.noError(s.store.Append(s.ctx, all, func(p *chat.Post, st *chat.Standing) error {
		if p.Recalls != 0 && st.Message != nil {
			seen = append(seen, fmt.Sprintf("%d of %s, %v", st.Message.Seq, st.Message.From, st.Message.ID == first.ID))
		}
		return possible(p, st)
	}))
	if first.Seq != 1 || early.Err != errNo || r.Err != nil || r.Seq != 2 || !all[3].Dup || second.Seq != 3 {
		s.t.Errorf("the posts are %+v, %+v, %+v, %+v and %+v", first, early, r, all[3], second)
	}
	if late.Err != errNo {
		s.t.Errorf("the recall of a recall is %+v", late)
	}
	sameAll(s, "the messages to recall", seen, []string{"1 of ann, true", "2 of ann, false"})
	sameAll(s, "the contents", s.contents(chat.Key{Group: 1}), []string{"", "", "2"})
	same(s, "the first is recalled", s.message(chat.Key{Group: 1}, 1).Recalled, true)
}

func (s *suite) recallTwice() {
	s.creates(1, "ann")
	s.sendMany(2, func(c string) *chat.Post { return s.toGroup(1, "ann", c) })
	first := s.recall(s.toGroup(1, "ann", ""), 1)
	s.sends(first)
	second, third := s.recall(first, 1), s.recall(first, 1)
	second.Time = s.now.Add(time.Second)
	asked := 0
	s.noError(s.store.Append(s.ctx, []*chat.Post{second, third}, func(p *chat.Post, st *chat.Standing) error {
		asked++
		same(s, "the message is recalled", st.Message != nil && st.Message.Recalled, true)
		if p == third {
			return errNo
		}
		return nil
	}))
	same(s, "how often allow was asked", asked, 2)
	if !second.Dup || second.Err != nil || second.Seq != first.Seq || !second.Time.Equal(first.Time) {
		s.t.Errorf("the second recall is %+v, want what the first is: %+v", second, first)
	}
	if third.Dup || third.Err != errNo {
		s.t.Errorf("the recall that is refused is %+v", third)
	}
	s.repeated(first, again(first))
	a, b := s.recall(first, 2), s.recall(first, 2)
	s.sends(a, b) // in one call
	if a.Dup || a.Seq != 4 || !b.Dup || b.Seq != 4 {
		s.t.Errorf("two recalls in a call are %+v and %+v", a, b)
	}
	same(s, "the number of messages and recalls", len(s.contents(chat.Key{Group: 1})), 4)
}

func (s *suite) recallRefused() {
	s.creates(1, "ann")
	s.sends(s.toGroup(1, "ann", "stays"))
	s.standing(s.recall(s.toGroup(1, "ann", ""), 1)) // which is refused
	if got := s.message(chat.Key{Group: 1}, 1); got.Recalled || string(got.Content) != "stays" {
		s.t.Errorf("the message is %+v", got)
	}
	sameAll(s, "the contents", s.contents(chat.Key{Group: 1}), []string{"stays"})
}

func (s *suite) recallStanding() {
	s.creates(1, "ann", "bob")
	s.creates(2, "ann")
	s.makes("bob")
	s.sends(s.toGroup(1, "ann", "1"), s.recall(s.toGroup(1, "ann", ""), 1), s.toGroup(1, "bob", "3"), s.toUser("ann", "bob", "1"))
	for _, c := range []struct {
		p    *chat.Post
		want *chat.Message
	}{
		{s.recall(s.toGroup(1, "ann", ""), 1), &chat.Message{Seq: 1, From: "ann", Recalled: true, Type: 7}},
		{s.recall(s.toGroup(1, "ann", ""), 2), &chat.Message{Seq: 2, From: "ann", Recalls: 1}},
		{s.recall(s.toGroup(1, "ann", ""), 3), &chat.Message{Seq: 3, From: "bob", Type: 7}},
		{s.recall(s.toUser("ann", "bob", ""), 1), &chat.Message{Seq: 1, From: "ann", Type: 7}},
		{s.recall(s.toUser("bob", "ann", ""), 1), &chat.Message{Seq: 1, From: "ann", Type: 7}},
		{s.recall(s.toGroup(1, "ann", ""), 4), nil},
		{s.recall(s.toGroup(1, "ann", ""), 1<<63-1), nil},
		{s.recall(s.toGroup(2, "ann", ""), 1), nil}, // a group without messages
		{s.recall(s.toUser("ann", "cid", ""), 1), nil},
		{s.toGroup(1, "ann", "no recall"), nil},
	} {
		got := s.standing(c.p).Message
		if got == nil || c.want == nil {
			if got != c.want {
				s.t.Errorf("the message to recall is %+v, want %+v", got, c.want)
			}
			continue
		}
		c.want.Time = s.now
		same(s, "the message to recall", fmt.Sprint(got.Seq, got.From, got.Time.UTC(), got.Type, got.Recalled, got.Recalls),
			fmt.Sprint(c.want.Seq, c.want.From, c.want.Time, c.want.Type, c.want.Recalled, c.want.Recalls))
	}
}

func (s *suite) repeatRecalled() {
	s.creates(1, "ann")
	p := s.toGroup(1, "ann", "gone")
	s.sends(p)
	s.sends(s.recall(p, 1))
	s.repeated(p, again(p))
	sameAll(s, "the contents", s.contents(chat.Key{Group: 1}), []string{"", ""})
}

var anonymous = []test{
	{"AnAnonymousMessageToAUserStandsInAConversationOfItsOwn", (*suite).anonymousToUser},
	{"AnAnonymousMessageMayBeRecalled", (*suite).anonymousRecall},
	{"AnAnonymousMessageInAGroupKeepsItsSender", func(s *suite) {
		s.creates(1, "ann")
		p := s.toGroup(1, "ann", "psst")
		p.Anonymous = true
		s.sends(p, s.toGroup(1, "ann", "hello"))
		for seq, want := range map[uint64]bool{1: true, 2: false} {
			if m := s.message(chat.Key{Group: 1}, seq); m.Anonymous != want || m.From != "ann" {
				s.t.Errorf("message %d is %+v", seq, m)
			}
		}
	}},
}

func (s *suite) anonymousTo(from, to, content string) *chat.Post {
	p := s.toUser(from, to, content)
	p.Anonymous = true
	return p
}

func (s *suite) anonymousToUser() {
	s.makes("ann", "bob", "cid")
	s.sends(s.anonymousTo("ann", "bob", "1"), s.toUser("ann", "bob", "named"), s.anonymousTo("cid", "bob", "2"), s.anonymousTo("ann", "cid", "3"))
	sameAll(s, "what bob has anonymously", s.contents(chat.PairKey("bob", chat.Anonymous)), []string{"1", "2"})
	sameAll(s, "what cid has anonymously", s.contents(chat.PairKey("cid", chat.Anonymous)), []string{"3"})
	sameAll(s, "ann and bob", s.contents(chat.PairKey("ann", "bob")), []string{"named"})
	sameAll(s, "ann and cid", s.contents(chat.PairKey("ann", "cid")), nil)
	for seq, from := range map[uint64]string{1: "ann", 2: "cid"} {
		if m := s.message(chat.PairKey("bob", chat.Anonymous), seq); m.From != from || !m.Anonymous {
			s.t.Errorf("message %d is %+v, want one from %s", seq, m, from)
		}
	}
	for id, want := range map[string]map[string]uint64{"ann": {"bob": 1}, "bob": {"ann": 1, chat.Anonymous: 2}, "cid": {chat.Anonymous: 1}} {
		listed := s.listed(id)
		same(s, "the number of conversations of "+id, len(listed), len(want))
		for _, c := range listed {
			if c.Group != 0 || c.LastSeq != want[c.With] {
				s.t.Errorf("rule P31: %s has the conversation %+v, want %v", id, c, want)
			}
		}
	}
}

func (s *suite) anonymousRecall() {
	s.makes("bob")
	p := s.anonymousTo("ann", "bob", "1")
	s.sends(p, s.anonymousTo("cid", "bob", "2"))
	st := s.standing(s.recall(p, 2)).Message
	if st == nil || st.From != "cid" || !st.Anonymous {
		s.t.Errorf("ann recalls message 2, and allow is given %+v, want one from cid", st)
	}
	same(s, "a named recall finds none of them", s.standing(s.recall(s.toUser("ann", "bob", ""), 1)).Message, nil)
	r := s.recall(p, 1)
	s.sends(r)
	sameAll(s, "the contents", s.contents(chat.PairKey("bob", chat.Anonymous)), []string{"", "2", ""})
	if m := s.message(chat.PairKey("bob", chat.Anonymous), 3); m.Recalls != 1 || !m.Anonymous || m.From != "ann" {
		s.t.Errorf("the recall is %+v", m)
	}
}

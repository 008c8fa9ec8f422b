package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/protocol"
)

// reader is what the functions of chatclient.Config remember of messages. They run one at a time, and alone use it.
type reader struct {
	started bool                                              // what was there before has been shown
	before  map[chatclient.Conversation][]*chatclient.Message // the last messages of each conversation, until then
	seen    map[chatclient.Conversation][]line                // the last ones that were shown
}

// line is a message that was shown.
type line struct {
	seq  uint64
	time time.Time
	gone bool // it was recalled
}

// mine is a message of the user's own.
type mine struct {
	chatclient.Conversation
	seq       uint64
	anonymous bool
}

const (
	mostBefore = 10  // messages of a conversation that are shown at the start
	mostSeen   = 300 // that are remembered, for recalls
	mostMine   = 50
	pageSize   = 20 // of /history
)

// message is called for each message once.
func (s *session) message(c *chatclient.Client, m *chatclient.Message) {
	if !s.started {
		if s.before == nil {
			s.before, s.seen = make(map[chatclient.Conversation][]*chatclient.Message), make(map[chatclient.Conversation][]line)
		}
		s.before[m.Conversation] = append(s.before[m.Conversation], m)
		return
	}
	seen := s.seen[m.Conversation]
	if n := len(seen); n > 0 && m.Seq > seen[n-1].seq+1 {
		s.print("* %v messages of %v are not shown; /history has them", m.Seq-seen[n-1].seq-1, s.label(m.Conversation))
	}
	s.show(c, m)
}

// caughtUp is called for each connection when there is no older message to come.
func (s *session) caughtUp(c *chatclient.Client, err error) {
	if s.started {
		return
	}
	s.started = true
	s.greet()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err != nil {
		s.print("! what was there before is not shown: %v", reason(err))
	}
	if _, err := s.learnRooms(ctx, c); err != nil {
		s.print("! your rooms: %v", reason(err))
	}
	var all []*chatclient.Message
	for of, list := range s.before {
		shown := list[max(len(list)-mostBefore, 0):]
		if first := shown[0]; first.Seq > 1 {
			s.print("* %v has older messages; /history %v", s.label(of), s.label(of))
		}
		all = append(all, shown...)
	}
	slices.SortStableFunc(all, func(a, b *chatclient.Message) int { return a.Time.Compare(b.Time) }) // which keeps the order of each conversation
	s.before = nil
	for _, m := range all {
		s.show(c, m)
	}
	if own, err := c.Query(ctx, s.me); err == nil && len(own) == 1 && s.setOwnState(own[0].State) != own[0].State {
		s.print("* you are %s; /back ends that", stateNames[own[0].State])
	}
	contacts, err := s.contacts(ctx, c)
	if err != nil {
		s.print("! your friends: %v", reason(err))
	}
	for _, one := range contacts {
		if one.State&protocol.ContactAsksMe != 0 {
			s.asks(one.UserID, "")
		}
	}
}

// show writes a message, and remembers it.
func (s *session) show(c *chatclient.Client, m *chatclient.Message) {
	if m.Group != 0 {
		_, _ = s.meet(context.Background(), c, m.Group)
	}
	if s.seen == nil {
		s.seen = make(map[chatclient.Conversation][]line)
	}
	seen := s.seen[m.Conversation]
	switch {
	case m.Recalls == 0:
		s.printMessage(m)
		if m.From == s.me && !m.Recalled {
			s.remember(mine{m.Conversation, m.Seq, false})
		}
	default:
		i := slices.IndexFunc(seen, func(l line) bool { return l.seq == m.Recalls })
		switch {
		case i < 0:
			s.print("%v: (recalled) an older message", s.heading(m))
		case !seen[i].gone:
			s.print("%v: (recalled) the message of %s", s.heading(m), clockTime(seen[i].time))
			seen[i].gone = true
		}
	}
	seen = append(seen, line{m.Seq, m.Time, m.Recalled})
	s.seen[m.Conversation] = seen[max(len(seen)-mostSeen, 0):]
}

func (s *session) printMessage(m *chatclient.Message) {
	switch {
	case m.Recalled:
		s.print("%v: (recalled)", s.heading(m))
	case m.Type != text:
		s.print("%v: (message of type %v, %v bytes)", s.heading(m), m.Type, len(m.Content))
	default:
		s.print("%v: %v", s.heading(m), string(m.Content))
	}
}

// heading is what a message's line begins with: when, where and who.
func (s *session) heading(m *chatclient.Message) safe {
	who := s.name(m.From)
	if m.Anonymous {
		who = "(anonymous)"
	}
	switch {
	case m.Group != 0:
		return safe(fmt.Sprintf("%s %s %s", clockTime(m.Time), visible(s.label(m.Conversation)), who))
	case m.From == s.me:
		return safe(fmt.Sprintf("%s %s to %s", clockTime(m.Time), who, s.name(m.With)))
	}
	return safe(clockTime(m.Time)) + " " + who
}

// send sends a message, and returns when it is stored. It waits for a connection.
func (s *session) send(ctx context.Context, to chatclient.Conversation, words string, anonymous bool) error {
	s.mu.Lock()
	waiting := s.waiting
	s.mu.Unlock()
	if waiting {
		s.print("* waits for the connection: %v", words)
	}
	sent, err := s.client.Send(ctx, to, text, []byte(words), chatclient.SendOptions{Anonymous: anonymous})
	if err != nil {
		return fmt.Errorf("not sent: %s (%s)", words, reason(err))
	}
	s.remember(mine{to, sent.Seq, anonymous})
	if anonymous && to.Group == 0 { // the server keeps the rest from this user, too
		s.print("%s %v to %v: %v", clockTime(sent.Time), safe("(anonymous)"), s.name(to.With), words)
	}
	return nil
}

// remember takes in a message of the user's own, which may be known already.
func (s *session) remember(m mine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := func(o mine) bool {
		return o.Conversation == m.Conversation && o.seq == m.seq && (o.anonymous == m.anonymous || m.Group != 0)
	}
	if !slices.ContainsFunc(s.own, same) {
		s.own = append(s.own[max(len(s.own)-mostMine+1, 0):], m)
	}
}

// recall takes the user's last message back; again, the one before it.
func (s *session) recall(ctx context.Context) error {
	s.mu.Lock()
	n := len(s.own)
	var m mine
	if n > 0 {
		m = s.own[n-1]
	}
	s.mu.Unlock()
	if n == 0 {
		return errors.New("you have written nothing that could be recalled")
	}
	if _, err := s.client.Recall(ctx, m.Conversation, m.seq, chatclient.SendOptions{Anonymous: m.anonymous}); err != nil {
		return err
	}
	s.mu.Lock()
	s.own = slices.DeleteFunc(s.own, func(o mine) bool { return o == m })
	s.mu.Unlock()
	if m.anonymous && m.Group == 0 {
		s.print("* recalled what you wrote to %v", s.name(m.With))
	}
	return nil
}

// history shows a page of a conversation: the last one, and each time the one before it.
func (s *session) history(ctx context.Context, of chatclient.Conversation) error {
	s.mu.Lock()
	before := s.older[of]
	s.mu.Unlock()
	p, err := s.client.History(ctx, of, chatclient.Range{Before: before, Limit: pageSize})
	if err != nil {
		return err
	}
	label := s.label(of)
	if len(p.Messages) == 0 {
		s.print("* %v has no messages", label)
		return nil
	}
	first, last := p.Messages[0].Seq, p.Messages[len(p.Messages)-1].Seq
	s.print("* %v, messages %v to %v", label, first, last)
	for _, m := range p.Messages {
		if m.Recalls == 0 { // the message that it has recalled says so itself
			s.printMessage(m)
		}
	}
	next := first
	if !p.More {
		next = 0
		s.print("* that is where it begins")
	} else {
		s.print("* /history %v again for older ones", label)
	}
	s.mu.Lock()
	s.older[of] = next
	s.mu.Unlock()
	return nil
}

// clockTime is a time as a person here reads it; of another day with the day.
func clockTime(t time.Time) string {
	t = t.Local()
	if now := time.Now(); t.YearDay() != now.YearDay() || t.Year() != now.Year() {
		return t.Format("2 Jan 15:04")
	}
	return t.Format("15:04")
}

func milliseconds(decimal string) time.Time {
	n, _ := strconv.ParseInt(decimal, 10, 64)
	return time.UnixMilli(n)
}

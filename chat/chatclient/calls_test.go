package chatclient_test

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// A function of Config may call all methods, and what it waits for comes.
func TestAFunctionMayCallMethods(t *testing.T) {
	w := newWorld(t, chat.Config{})
	bob := w.direct("bob", chatclient.Config{})
	group := w.group(bob)
	closed := make(chan error, 1)
	ann := w.dial("ann", chatclient.Config{OnMessage: func(c *chatclient.Client, m *chatclient.Message) {
		ctx := t.Context()
		switch string(m.Content) {
		case "ping":
			_, errSend := c.Send(ctx, m.Conversation, text, []byte("pong"), chatclient.SendOptions{})
			_, errJoin := c.Join(ctx, group.Group)
			if err := c.Watch(ctx, true); err != nil || errSend != nil || errJoin != nil {
				t.Error(err, errSend, errJoin)
			}
			if c.Marks()[m.Conversation].Seq != m.Seq-1 {
				t.Errorf("while message %d is handed out the mark is %v", m.Seq, c.Marks()[m.Conversation])
			}
		case "end":
			closed <- c.Close()
		}
	}})
	bob.send(group, "before")
	bob.send(toAnn, "ping")
	testkit.Eventually(t, "the group's message", func() bool { return len(ann.of(group)) == 1 })
	w.hasAll(ann, toBob, 1)
	bob.send(toAnn, "end")
	bob.send(toAnn, "too late")
	if err := testkit.Receive(t, "Close", closed); err != nil {
		t.Error(err)
	}
	testkit.Receive(t, "the end", ann.Done())
	if n := ann.numbers(toBob); !slices.Equal(n, []uint64{1, 2, 3}) {
		t.Errorf("handed out: %v", n)
	}
}

func TestAFunctionThatFailsEndsTheClient(t *testing.T) {
	for what, fail := range map[string]func(){"a panic": func() { panic("oh") }, "Goexit": runtime.Goexit} {
		w := newWorld(t, chat.Config{})
		bob := w.direct("bob", chatclient.Config{})
		ann := w.dial("ann", chatclient.Config{OnMessage: func(*chatclient.Client, *chatclient.Message) { fail() }})
		bob.send(toAnn, "hello")
		testkit.Receive(t, "the end", ann.Done())
		if err := ann.Err(); err == nil || !strings.Contains(err.Error(), map[string]string{"a panic": "oh", "Goexit": "Goexit"}[what]) {
			t.Errorf("after %s: %v", what, err)
		}
		if ann.Marks()[toBob] != (chatclient.Mark{}) {
			t.Errorf("after %s: the message counts as handed out", what)
		}
	}
}

// seen is what a client knows of users' states.
type seen struct {
	mu     sync.Mutex
	states map[string]protocol.PresenceState
}

func (s *seen) OnPresence(_ *chatclient.Client, p []protocol.Presence, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if all {
		s.states = make(map[string]protocol.PresenceState)
	}
	for _, one := range p {
		s.states[one.UserID] = one.State
	}
}

func (s *seen) is(user string, state protocol.PresenceState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	got, found := s.states[user]
	if !found {
		got = protocol.PresenceOffline
	}
	return got == state
}

func TestEachConnectionWatchesAnew(t *testing.T) {
	w := newWorld(t, chat.Config{})
	states := &seen{}
	ann := w.dial("ann", chatclient.Config{Watch: true, OnPresence: states.OnPresence})
	bob := w.direct("bob", chatclient.Config{})
	w.group(bob, ann)
	testkit.Eventually(t, "bob is seen", func() bool { return states.is("bob", protocol.PresenceOnline) })
	w.part(ann)
	if err := bob.SetState(t.Context(), protocol.PresenceBusy); err != nil {
		t.Fatal(err)
	}
	w.meet()
	testkit.Eventually(t, "bob is seen busy", func() bool { return states.is("bob", protocol.PresenceBusy) })
	if p, err := ann.Query(t.Context(), "bob", "nobody"); err != nil || len(p) != 1 || p[0].State != protocol.PresenceBusy {
		t.Error(p, err)
	}
	if err := ann.Watch(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	w.part(ann)
	if err := bob.SetState(t.Context(), protocol.PresenceOnline); err != nil {
		t.Fatal(err)
	}
	w.meet()
	testkit.Eventually(t, "the client is back", func() bool { return ann.timesCaughtUp() == 3 })
	if !states.is("bob", protocol.PresenceBusy) {
		t.Error("a client that does not watch was told of bob")
	}
	if err := ann.Watch(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "bob is seen online", func() bool { return states.is("bob", protocol.PresenceOnline) })
}

func TestContacts(t *testing.T) {
	w := newWorld(t, chat.Config{})
	told := make(chan chatclient.ContactNotice, 10)
	ann := w.dial("ann", chatclient.Config{})
	bob := w.dial("bob", chatclient.Config{OnContact: func(_ *chatclient.Client, n chatclient.ContactNotice) { told <- n }})
	ctx := t.Context()
	if friends, err := ann.RequestFriend(ctx, "bob", "it is me"); err != nil || friends {
		t.Fatal(friends, err)
	}
	if n := testkit.Receive(t, "the request", told); n != (chatclient.ContactNotice{Event: "asked", User: "ann", Text: "it is me"}) {
		t.Error(n)
	}
	if err := bob.AnswerFriend(ctx, "ann", true); err != nil {
		t.Fatal(err)
	}
	if n := testkit.Receive(t, "the friendship", told); n.Event != "friends" {
		t.Error(n)
	}
	if _, err := ann.RequestFriend(ctx, "eve", ""); !isCode(err, protocol.NoSuchUser) {
		t.Error(err)
	}
	page, next, err := ann.Contacts(ctx, "", 1)
	if err != nil || len(page) != 1 || page[0].UserID != "bob" || page[0].State != protocol.ContactFriend {
		t.Error(page, next, err)
	}
	if err := ann.RemoveFriend(ctx, "bob"); err != nil {
		t.Error(err)
	}
	if err := ann.Block(ctx, "bob", true); err != nil {
		t.Error(err)
	}
	if _, err := bob.Send(ctx, toAnn, text, nil, chatclient.SendOptions{}); !isCode(err, protocol.Blocked) {
		t.Error(err)
	}
	s, err := ann.SetSettings(ctx, func(s *chatclient.Settings) { s.Receive, s.Requests = false, "off" })
	if again, _ := ann.Settings(ctx); err != nil || s != again || s != (chatclient.Settings{Send: true, Requests: "off"}) {
		t.Error(s, again, err)
	}
}

func TestGroups(t *testing.T) {
	w := newWorld(t, chat.Config{RecentHistory: 2})
	told := make(chan chatclient.GroupNotice, 100)
	ann := w.dial("ann", chatclient.Config{})
	bob := w.dial("bob", chatclient.Config{OnGroup: func(_ *chatclient.Client, n chatclient.GroupNotice) { told <- n }})
	eve := w.dial("eve", chatclient.Config{})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id, err := ann.CreateGroup(ctx, chatclient.Group{Name: "climbing", MaxMembers: 10})
	must(err)
	group := chatclient.ToGroup(id)
	if _, err := bob.Join(ctx, id); !isCode(err, protocol.GroupClosed) {
		t.Error(err)
	}
	must(ann.ChangeGroup(ctx, id, func(g *chatclient.Group) { g.Open, g.Name = true, "bouldering" }))
	for range 5 {
		ann.send(group, "before bob")
	}
	if last, err := bob.Join(ctx, id); err != nil || last != 5 {
		t.Error(last, err)
	}
	ann.send(group, "6")
	testkit.Eventually(t, "rule P30: the last two and the next", func() bool { return slices.Equal(bob.numbers(group), []uint64{4, 5, 6}) })
	g, err := bob.GroupInfo(ctx, id)
	if err != nil || g.Name != "bouldering" || g.Owner != "ann" || g.Members != 2 || !g.In || g.Last != 6 || g.MaxMembers != 10 || !g.Presence {
		t.Error(g, err)
	}
	must(ann.SetRole(ctx, id, "bob", protocol.RoleAdministrator))
	page, _, err := ann.Members(ctx, id, "", 0)
	if err != nil || len(page) != 2 || page[1].UserID != "bob" || page[1].Role != protocol.RoleAdministrator {
		t.Error(page, err)
	}
	_, err = eve.RequestFriend(ctx, "ann", "")
	must(err)
	must(ann.AnswerFriend(ctx, "eve", true))
	if n, err := ann.AddMembers(ctx, id, "eve", "nobody"); err != nil || n != 1 {
		t.Error(n, err)
	}
	ann.send(group, "7")
	testkit.Eventually(t, "eve begins with the first message after she was added", func() bool { return slices.Equal(eve.numbers(group), []uint64{7}) })
	list, next, err := eve.Conversations(ctx, "", 0)
	if err != nil || next != "" || !slices.Equal(list, []protocol.ChatConversation{{Group: id, Last: 7}}) {
		t.Error(list, next, err)
	}
	must(bob.Ban(ctx, id, "eve", true, false))
	if _, err := eve.Send(ctx, group, text, nil, chatclient.SendOptions{}); !isCode(err, protocol.Banned) {
		t.Error(err)
	}
	if n, err := bob.RemoveMembers(ctx, id, "eve"); err != nil || n != 1 {
		t.Error(n, err)
	}
	must(bob.Leave(ctx, id))
	for range 4 {
		ann.send(group, "without bob")
	}
	if last, err := bob.Join(ctx, id); err != nil || last != 11 {
		t.Error(last, err)
	}
	ann.send(group, "12")
	testkit.Eventually(t, "rule P30: bob has the last two and the next", func() bool { return slices.Equal(bob.numbers(group), []uint64{4, 5, 6, 7, 10, 11, 12}) })
	until := w.stored("ann", group)[11].Time.AddDate(1, 0, 0)
	must(ann.Mute(ctx, id, "bob", until))
	if g, err := bob.GroupInfo(ctx, id); err != nil || !g.MutedUntil.Equal(until) {
		t.Error(g, err)
	}
	must(ann.Dissolve(ctx, id))
	if _, err := bob.History(ctx, group, chatclient.Range{}); !isCode(err, protocol.NoSuchGroup) {
		t.Error(err)
	}
	var events []string
	for len(events) == 0 || events[len(events)-1] != "dissolved" {
		events = append(events, testkit.Receive(t, "a notice", told).Event)
	}
	for _, e := range []string{"joined", "role", "muted"} {
		if !slices.Contains(events, e) {
			t.Errorf("bob was not told of %s: %v", e, events)
		}
	}
}

// A member who joins again while the client catches up misses nothing.
func TestJoinByAMemberLeavesNothingOut(t *testing.T) {
	w := newWorld(t, chat.Config{RecentHistory: 2})
	ann, bob := w.dial("ann", chatclient.Config{}), w.direct("bob", chatclient.Config{})
	group := w.group(bob, ann)
	bob.send(group, "1")
	w.hasAll(ann, group, 1)
	w.part(ann)
	w.fill(group, 20)
	w.gate.set(closeFor("ann", protocol.ChatHistory))
	w.meet()
	testkit.Eventually(t, "History is asked for", func() bool { return w.gate.waits() == 1 })
	joined := make(chan error, 1)
	go func() {
		_, err := ann.Join(t.Context(), group.Group)
		joined <- err
	}()
	bob.send(group, "live")
	w.gate.set(nil)
	if err := testkit.Receive(t, "the reply to Join", joined); err != nil {
		t.Fatal(err)
	}
	w.hasAll(ann, group, 1)
}

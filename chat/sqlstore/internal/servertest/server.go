// Package servertest tests a server with a store in a database: what the amended rules say of what was stored, and of a store that has gone back.
package servertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// Store is a store that may be closed more than once.
type Store interface {
	chat.Store
	// Close closes it.
	Close() error
}

// Run runs the tests. open opens an empty store until the end of a test.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, test := range []struct {
		name string
		f    func(t *world)
	}{
		{"ALostAnswerOfACommitDoublesNothing", (*world).lostAnswer},
		{"ARepeatIsOnlyAnswered", (*world).repeat},
		{"WhoMayRecall", (*world).recall},
		{"AnAnonymousAuthorStaysUnnamed", (*world).anonymousAuthor},
		{"RequestsThatWait", (*world).waitingRequests},
	} {
		t.Run(test.name, func(t *testing.T) { test.f(&world{t, open}) })
	}
}

// forgetful is a store whose Append loses so many answers of commits.
type forgetful struct {
	chat.Store
	lose atomic.Int32
}

// Append implements chat.Store.
func (s *forgetful) Append(ctx context.Context, posts []*chat.Post, allow func(*chat.Post, *chat.Standing) error) error {
	err := s.Store.Append(ctx, posts, allow)
	if err == nil && s.lose.Add(-1) >= 0 {
		return errors.New("the answer is lost")
	}
	return err
}

// world makes the server of a test.
type world struct {
	*testing.T
	open func(t *testing.T) Store
}

func (t *world) serve(cfg chat.Config) (*chattest.World, *forgetful) {
	t.Helper()
	store := &forgetful{Store: t.open(t.T)}
	cfg.Store = store
	return chattest.NewWorld(t.T, cfg), store
}

// Rules P29 and P33: a commit whose answer is lost is repeated before anything else, and its message is delivered once, in its place.
func (t *world) lostAnswer() {
	w, store := t.serve(chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	g := ann.Create()
	bob.Join(g)
	bob.WantHeard("P29", "group "+g+" joined bob")
	store.lose.Store(2)
	if seq := ann.Say(g, "one"); seq != 1 {
		t.Errorf("rule P33: the message has the number %d", seq)
	}
	ann.Say(g, "two")
	bob.WantHeard("P29", g+"#1 ann: one", g+"#2 ann: two")
	if h, want := bob.History(g), []string{"#1 ann: one", "#2 ann: two"}; !slices.Equal(h, want) {
		t.Errorf("rule P33: the history is %q, not %q", h, want)
	}
}

// Rule P33: a repeat is only answered, with what its first one had: when the sender was banned since, and when the message was recalled, too.
func (t *world) repeat() {
	w, _ := t.serve(chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	g := ann.Create()
	bob.Join(g)
	ann.WantHeard("P29", "group "+g+" joined bob")
	ids := []uuid.UUID{uuid.New(), uuid.New()}
	send := func(i int, text string) protocol.Operation {
		return bob.Must(protocol.TypeChat, protocol.ChatSend, chattest.Post(ids[i], text), "group", g)
	}
	first := []protocol.Operation{send(0, "one"), send(1, "two")}
	bob.Must(protocol.TypeChat, protocol.ChatRecall, nil, "group", g, "seq", "2")
	ann.Group(protocol.GroupBan, g, "user", "bob", "remove", "1")
	for i := range ids {
		if again := send(i, "changed"); again.Fields["seq"] != fmt.Sprint(i+1) || again.Fields["time-ms"] != first[i].Fields["time-ms"] {
			t.Errorf("rule P33: the repeat is answered %v, the first one was %v", again.Fields, first[i].Fields)
		}
	}
	bob.MayNotSay("P36", protocol.Banned, g)
	ann.SyncUntil(func() bool { return len(ann.Heard) >= 3 })
	messages := slices.DeleteFunc(ann.Heard, func(s string) bool { return s[:6] == "group " })
	if want := []string{g + "#1 bob: one", g + "#2 bob: two", g + "#3 bob: (recalls 2)"}; !slices.Equal(messages, want) {
		t.Errorf("rule P33: ann heard %q, not %q", messages, want)
	}
	if h, want := ann.History(g), []string{"#1 bob: one", "#2 bob: (recalled)", "#3 bob: (recalls 2)"}; !slices.Equal(h, want) {
		t.Errorf("rule P32: the history is %q, not %q", h, want)
	}
}

// Rule P32: a mute does not prevent a recall, leaving the group does, and a recall cannot be recalled.
func (t *world) recall() {
	w, _ := t.serve(chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	g := ann.Create()
	bob.Join(g)
	bob.Say(g, "one")
	bob.Say(g, "two")
	recall := func(seq string) []string { return []string{"group", g, "seq", seq} }
	ann.Group(protocol.GroupMute, g, "user", "bob", "until-ms", fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()))
	for range 2 { // twice is once
		if o := bob.Must(protocol.TypeChat, protocol.ChatRecall, nil, recall("1")...); o.Fields["seq"] != "3" {
			t.Errorf("rule P32: the recall is answered %v", o.Fields)
		}
	}
	bob.Refused("P32", protocol.NoSuchMessage, protocol.TypeChat, protocol.ChatRecall, nil, recall("3")...)
	bob.Group(protocol.GroupLeave, g)
	bob.Refused("P32", protocol.NotMember, protocol.TypeChat, protocol.ChatRecall, nil, recall("2")...)
}

// Rules P31, P36 and P38: the author of an anonymous message is banned and blocked by its number, without being named, and no list shows it.
func (t *world) anonymousAuthor() {
	w, _ := t.serve(chat.Config{Strangers: true})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	ann.Must(protocol.TypeContacts, protocol.ContactSettings, nil, "anonymous", "1")
	bob.Say("ann", "boo", "anonymous", "1")
	ann.Must(protocol.TypeContacts, protocol.ContactBlock, nil, "seq", "1")
	bob.MayNotSay("P38", protocol.Blocked, "ann", "anonymous", "1")
	if a := ann.ListContacts(); a != "" {
		t.Errorf("rule P31: ann's contacts are %q", a)
	}
	bob.Say("ann", "it was me")
	g := ann.Create("anonymous", "1")
	bob.Join(g)
	bob.Say(g, "ha", "anonymous", "1")
	ann.Group(protocol.GroupBan, g, "seq", "1")
	bob.MayNotSay("P36", protocol.Banned, g)
}

// Rule P39: a request that was declined may be repeated after 24 hours; 100 requests wait besides the friends that a user may have.
func (t *world) waitingRequests() {
	w, store := t.serve(chat.Config{Limits: chat.Limits{Contacts: 1, NewRequests: -1}})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	ann.RequestFriend("bob")
	bob.Must(protocol.TypeContacts, protocol.ContactAnswer, nil, "user", "ann", "accept", "0")
	ann.Refused("P39", protocol.AlreadyFriends, protocol.TypeContacts, protocol.ContactRequest, nil, "user", "bob")
	if err := store.UpdateContact(t.Context(), "ann", "bob", func(r *chat.Relation) error {
		r.AB.Declined = r.AB.Declined.Add(-24 * time.Hour)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if state := ann.RequestFriend("bob"); state != "asked" {
		t.Errorf("rule P39: after 24 hours the state is %q", state)
	}
	asked := 1
	for i := range 100 {
		user := fmt.Sprint("user", i)
		testkit.Must(w.Chat.CreateUser(t.Context(), chat.NewUser{UserID: user}))
		if _, err := ann.Ask(protocol.TypeContacts, protocol.ContactRequest, nil, "user", user); err == nil {
			asked++
		} else if i < 99 {
			t.Fatalf("rule P39: request %d is answered %v", asked+1, err)
		}
	}
	if asked != 100 {
		t.Errorf("rule P39: %d requests wait", asked)
	}
	bob.Must(protocol.TypeContacts, protocol.ContactAnswer, nil, "user", "ann", "accept", "1")
}

package chat_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
)

// A1, A2, with friends and groups of the service: friends, and members of small groups, are told who comes, goes and is busy.
func TestA1A2FriendsAndGroupsSeeEachOther(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob, eve, dan := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve"), w.LogOn("dan")
	chattest.Befriend(ann, bob)
	group := ann.Create()
	eve.Join(group)
	for _, p := range []*chattest.Peer{ann, bob, eve, dan} {
		p.Watch()
	}
	set := func(p *chattest.Peer, state presence.State) {
		p.Must(protocol.TypePresence, protocol.PresenceSet, nil, "state", state.String())
	}
	set(ann, presence.Busy)
	bob.Sees("P20", "ann", "busy")
	eve.Sees("P20", "ann", "busy")
	set(ann, presence.Stealth)
	bob.Sees("P23", "ann", "offline")
	eve.Sees("P23", "ann", "offline")
	set(ann, presence.Online)
	bob.Sees("P20", "ann", "online")
	phone := w.LogOn("ann")
	_ = ann.Close()
	testkit.Eventually(t, "the first device has gone", func() bool { return len(w.Users.Links("ann")) == 1 })
	_ = phone.Close()
	bob.Sees("P20", "ann", "offline")
	eve.Sees("P20", "ann", "offline")
	ann = w.LogOn("ann")
	bob.Sees("P20", "ann", "online")

	// Who becomes a contact is told, and who ceases to be one, too.
	chattest.Befriend(ann, dan)
	dan.Sees("P20", "ann", "online")
	ann.Must(protocol.TypeContacts, protocol.ContactBlock, nil, "user", "dan")
	dan.Sees("P20", "ann", "offline")
	ann.Must(protocol.TypeContacts, protocol.ContactRemove, nil, "user", "bob")
	bob.Sees("P20", "ann", "offline")
	eve.Group(protocol.GroupLeave, group)
	eve.Sees("P20", "ann", "offline")
	eve.Join(group)
	eve.Sees("P20", "ann", "online")
	ann.Group(protocol.GroupChange, group, "max", "200")
	ann.Group(protocol.GroupDissolve, group)
	eve.Sees("P20", "ann", "offline")
	for _, s := range dan.Seen {
		if s != "ann online" && s != "ann offline" && s != "dan online" {
			t.Errorf("rule P20: dan was told %q", s)
		}
	}
}

// Members of a group whose maximum is above Limits.Notices do not see each other, from the change of the maximum on.
func TestLargeGroupsTellNoPresence(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{Limits: chat.Limits{Notices: 10}})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create("max", "11")
	bob.Join(group)
	w.Online("ann")
	if all := bob.Watch(); slices.Contains(all, "ann online") {
		t.Errorf("rule P25: bob sees %q", all)
	}
	if o := bob.Group(protocol.GroupInfo, group); o.Fields["presence"] != "0" {
		t.Errorf("rule P25: Info is answered %v", o.Fields)
	}
	for _, m := range testkit.Must(protocol.ParseGroupMembers(bob.Group(protocol.GroupMembers, group).Content)) {
		if m.State != protocol.PresenceOffline {
			t.Errorf("rule P25: bob sees %s %v", m.UserID, m.State)
		}
	}
	if p := bob.Query("ann"); p.State != protocol.PresenceOffline || !p.LastOnline.IsZero() {
		t.Errorf("rule P25: bob is told %+v", p)
	}
	ann.Group(protocol.GroupChange, group, "max", "10")
	bob.Sees("P20", "ann", "online")
	if p := bob.Query("ann"); p.State != protocol.PresenceOnline {
		t.Errorf("rule P25: in a small group bob is told %+v", p)
	}
	ann.Group(protocol.GroupChange, group, "max", "11")
	bob.Sees("P20", "ann", "offline")
}

// fixedID is the ID of a message that is always the same.
var fixedID = [16]byte{1, 2, 3, 15: 4}

// P44: after Close all is stored and answered.
func TestAfterTheEndAllIsStored(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann := w.LogOn("ann")
	group := groupID(ann.Create())
	const n = 500
	answers := make(chan error, n)
	for range n {
		go func() {
			_, err := w.Chat.Send(context.Background(), "ann", chat.ToGroup(group), 1, []byte("x"), chat.SendOptions{})
			answers <- err
		}()
	}
	testkit.Receive(t, "the first answer", answers)
	w.End()
	stored := 1
	for range n - 1 {
		if err := testkit.Receive(t, "an answer", answers); err == nil {
			stored++
		} else if chattest.CodeOf(err) != protocol.ServerStopping {
			t.Errorf("rule P44: %v", err)
		}
	}
	g, _, err := w.Store.Group(t.Context(), group, "ann")
	if err != nil || g.LastSeq != uint64(stored) {
		t.Errorf("rule P44: %d were answered, and the last number is %d, %v", stored, g.LastSeq, err)
	}
}

// P44: what a client asks after Close is refused so that the client asks again, and its connection stays.
func TestAfterTheEndClientsAreToldToComeBack(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann := w.LogOn("ann")
	group := ann.Create()
	if err := w.Chat.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e := ann.Refused("P44", protocol.Busy, protocol.TypeChat, protocol.ChatSend, chattest.Post(fixedID, "x"), "group", group)
		if e.Info[protocol.FieldRetryMS] == "" {
			t.Errorf("rule P44: the refusal %+v does not say when to come back", e)
		}
	}
	if n := w.Chat.Stats().Busy; n != 0 {
		t.Errorf("%d requests count as too many", n)
	}
}

// P41: who has 64 requests that are not answered is told Busy, and others go on.
func TestAUserWithTooManyRequestsIsBusy(t *testing.T) {
	store := &watchedStore{Store: chat.NewMemory()}
	w := chattest.NewWorld(t, chat.Config{Store: store})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create()
	bob.Join(group)
	store.fail.Store(true)
	var all []uint32
	for range 70 {
		all = append(all, ann.Begin(protocol.TypeChat, protocol.ChatSend, chattest.Post(fixedID, "x"), "group", group))
	}
	busy := 0
	for _, id := range all[64:] {
		if _, err := ann.Answer(id); chattest.CodeOf(err) == protocol.Busy && err.(*protocol.CloseError).Info[protocol.FieldRetryMS] != "" {
			busy++
		} else {
			t.Errorf("rule P41: answered %v", err)
		}
	}
	if busy != 6 {
		t.Errorf("rule P41: %d requests were refused", busy)
	}
	bob.Must(protocol.TypeContacts, protocol.ContactList, nil) // another user's request is served meanwhile
	store.fail.Store(false)
	for _, id := range all[:64] {
		if _, err := ann.Answer(id); err != nil {
			t.Errorf("rule P43: answered %v", err)
		}
	}
	if got := ann.History(group); len(got) != 1 {
		t.Errorf("rule P33: the history is %q", got)
	}
}

// Allow is asked before each request, and may block without holding up others.
func TestAllow(t *testing.T) {
	blocked := make(chan struct{})
	w := chattest.NewWorld(t, chat.Config{Allow: func(ctx context.Context, a chat.Action) error {
		switch {
		case a.UserID == "eve":
			panic("eve")
		case a.UserID == "dan":
			select {
			case <-blocked:
			case <-ctx.Done():
			}
		case a.Type == protocol.TypeGroup && a.Fields["name"] == "bad":
			return protocol.Errorf(4001, "not here")
		}
		return nil
	}})
	ann, eve, dan := w.LogOn("ann"), w.LogOn("eve"), w.LogOn("dan")
	ann.Refused("P42", 4001, protocol.TypeGroup, protocol.GroupCreate, nil, "name", "bad")
	eve.Refused("P42", protocol.HandlerFailed, protocol.TypeGroup, protocol.GroupCreate, nil)
	waits := dan.Begin(protocol.TypeGroup, protocol.GroupCreate, nil)
	ann.Create()
	close(blocked)
	if _, err := dan.Answer(waits); err != nil {
		t.Error(err)
	}
}

// Handlers are told what happens, in order for each group, and a panic in one costs nothing else.
func TestHandlers(t *testing.T) {
	var mu sync.Mutex
	var heard []string
	note := func(format string, a ...any) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, fmt.Sprintf(format, a...))
	}
	w := chattest.NewWorld(t, chat.Config{Strangers: true, Handlers: chat.Handlers{
		Stored:   func(m *chat.Message) { note("stored %d by %s", m.Seq, m.From); panic("a handler") },
		Offline:  func(m *chat.Message, users []string) { note("offline %v for %d", users, m.Seq) },
		Recalled: func(m *chat.Message) { note("recalled %d", m.Recalls) },
		Group:    func(e chat.GroupEvent) { note("group %s %s", e.Event, e.UserID) },
		Contact:  func(e chat.ContactEvent) { note("contact %s %s %s", e.By, e.Event, e.With) },
		Refused:  func(r chat.Refusal) { note("refused %s %v", r.UserID, r.Code) },
	}})
	ann := w.LogOn("ann")
	testkit.Must(w.Chat.CreateUser(t.Context(), chat.NewUser{UserID: "bob"}))
	group := ann.Create()
	testkit.Must(w.Chat.Join(t.Context(), groupID(group), "bob"))
	ann.Say(group, "one")
	ann.Must(protocol.TypeChat, protocol.ChatRecall, nil, "group", group, "seq", "1")
	ann.RequestFriend("bob")
	ann.MayNotSay("P38", protocol.NoSuchUser, "nobody")
	ann.Sync()
	ofGroup := []string{"group created ann", "group joined bob", "stored 1 by ann", "offline [bob] for 1", "recalled 1"}
	others := []string{"contact ann asked bob", "refused ann NoSuchUser"}
	testkit.Eventually(t, "all is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(heard) == len(ofGroup)+len(others)
	})
	mu.Lock()
	defer mu.Unlock()
	is := func(what string) bool { return slices.Contains(others, what) }
	if got := slices.DeleteFunc(slices.Clone(heard), is); !slices.Equal(got, ofGroup) {
		t.Errorf("the handlers heard %q, and of the group not %q", heard, ofGroup)
	}
	for _, what := range others {
		if !slices.Contains(heard, what) {
			t.Errorf("the handlers heard %q, and not %q", heard, what)
		}
	}
	if n := w.Chat.Stats().Panics; n != 1 {
		t.Errorf("%d panics were counted", n)
	}
}

// Prune removes old messages; First says where a history begins.
func TestPrune(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann := w.LogOn("ann")
	group := ann.Create()
	for range 3 {
		ann.Say(group, "x")
	}
	if n := testkit.Must(w.Store.Prune(t.Context(), time.Now().Add(time.Hour), 100)); n != 2 {
		t.Errorf("%d messages were removed", n)
	}
	o := ann.Must(protocol.TypeChat, protocol.ChatHistory, nil, "group", group)
	if o.Fields["first"] != "3" || len(testkit.Must(protocol.ParseStoredMessages(o.Content))) != 1 {
		t.Errorf("rule P31: the history is %v", o.Fields)
	}
	if n := ann.Say(group, "y"); n != 4 {
		t.Errorf("rule P29: the next number is %d", n)
	}
}

// Close returns when its time is up, although code of the program does not.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	hangs, goOn := make(chan struct{}), make(chan struct{})
	w := chattest.NewWorld(t, chat.Config{Allow: func(context.Context, chat.Action) error {
		close(hangs)
		<-goOn
		return nil
	}})
	ann := w.LogOn("ann")
	ann.Begin(protocol.TypeGroup, protocol.GroupCreate, nil)
	testkit.Receive(t, "Allow runs", hangs)
	w.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Chat.Close(ctx); err == nil {
		t.Error("rule P44: Close returns nil although a request is not answered")
	}
	close(goOn)
}

// Who acts on a group is no user who is acted on.
func TestOneActsOnOthers(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	id := groupID(w.LogOn("ann").Create())
	for what, err := range map[string]error{
		"Mute":    w.Chat.Mute(t.Context(), "ann", id, "ann", time.Now().Add(time.Hour)),
		"Ban":     w.Chat.Ban(t.Context(), "ann", id, "ann", true, true),
		"SetRole": w.Chat.SetRole(t.Context(), "ann", id, "ann", chat.Administrator),
	} {
		if chattest.CodeOf(err) != protocol.Incomplete {
			t.Errorf("rule P42: %s of oneself: %v", what, err)
		}
	}
	if n, err := w.Chat.RemoveMembers(t.Context(), "ann", id, []string{"ann"}); n != 0 || err != nil {
		t.Errorf("rule P34: the owner removes itself: %d, %v", n, err)
	}
}

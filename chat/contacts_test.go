package chat_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// A6: settings decide who may write to a user, in one order, each with its own code.
func TestA6WritingToAUser(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	settings := func(p *chattest.Peer, fields ...string) {
		p.Must(protocol.TypeContacts, protocol.ContactSettings, nil, fields...)
	}
	ann.MayNotSay("P38", protocol.NoSuchUser, "nobody")
	ann.MayNotSay("P38", protocol.NotFriends, "bob")
	ann.MayNotSay("P38", protocol.UserNoAnonymous, "bob", "anonymous", "1")
	settings(bob, "anonymous", "1")
	ann.Say("bob", "boo", "anonymous", "1") // a stranger may
	settings(bob, "receive", "0")
	ann.MayNotSay("P38", protocol.ReceivingOff, "bob")
	bob.Must(protocol.TypeContacts, protocol.ContactBlock, nil, "user", "ann")
	ann.MayNotSay("P38", protocol.Blocked, "bob")
	ann.MayNotSay("P38", protocol.Blocked, "bob", "anonymous", "1")
	settings(ann, "send", "0")
	ann.MayNotSay("P38", protocol.SendingOff, "bob")
	ann.MayNotSay("P38", protocol.SendingOff, "nobody")
	settings(ann, "send", "1")
	settings(bob, "receive", "1")
	bob.Must(protocol.TypeContacts, protocol.ContactBlock, nil, "user", "ann", "on", "0")
	ann.MayNotSay("P38", protocol.NotFriends, "bob")
	bob.Forget()
	chattest.Befriend(ann, bob)
	ann.Say("bob", "hello")
	bob.WantHeard("P29", "ann>bob#1 ann: hello")
	o := bob.Must(protocol.TypeContacts, protocol.ContactSettings, nil)
	if want := map[string]string{"receive": "1", "send": "1", "anonymous": "1", "requests": "ask"}; fmt.Sprint(o.Fields) != fmt.Sprint(want) {
		t.Errorf("rule P38: the settings are %v", o.Fields)
	}
}

// P38: with Strangers no friendship is needed.
func TestStrangersMayWrite(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{Strangers: true})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	ann.Say("bob", "hello")
	bob.WantHeard("P38", "ann>bob#1 ann: hello")
}

// A6, P39: a request with validation is accepted or declined, one without is not; friendship is always both ways.
func TestA6Friends(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob, eve, dan := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve"), w.LogOn("dan")
	ask := func(p *chattest.Peer, want protocol.CloseCode, user string) *protocol.CloseError {
		return p.Refused("P39", want, protocol.TypeContacts, protocol.ContactRequest, nil, "user", user)
	}
	if s := ann.RequestFriend("bob"); s != "asked" {
		t.Errorf("rule P39: a request is answered %q", s)
	}
	bob.WantHeard("P39", "contact asked ann it is me")
	if a, b := ann.ListContacts(), bob.ListContacts(); a != "bob asked" || b != "ann asks" {
		t.Errorf("rule P39: ann has %q, bob has %q", a, b)
	}
	ask(ann, protocol.AlreadyFriends, "bob")
	ask(ann, protocol.NoSuchUser, "nobody")
	ask(ann, protocol.Incomplete, "ann")
	bob.Must(protocol.TypeContacts, protocol.ContactAnswer, nil, "user", "ann", "accept", "0")
	if a, b := ann.ListContacts(), bob.ListContacts(); a != "" || b != "" {
		t.Errorf("rule P39: after declining ann has %q, bob has %q", a, b)
	}
	ann.WantHeard("P39")
	if e := ask(ann, protocol.AlreadyFriends, "bob"); e.Info[protocol.FieldRetryMS] == "" {
		t.Errorf("rule P39: who was declined is told %+v", e)
	}
	bob.Refused("P39", protocol.Refused, protocol.TypeContacts, protocol.ContactAnswer, nil, "user", "ann")

	if s := bob.RequestFriend("ann"); s != "asked" { // the one who has declined may ask
		t.Errorf("rule P39: answered %q", s)
	}
	ann.Forget()
	if s := ann.RequestFriend("bob"); s != "friends" { // two who ask each other
		t.Errorf("rule P39: two who ask each other are answered %q", s)
	}
	bob.WantHeard("P39", "contact friends ann")
	ann.WantHeard("P39", "contact friends bob")
	if a, b := ann.ListContacts(), bob.ListContacts(); a != "bob friend" || b != "ann friend" {
		t.Errorf("rule P39: ann has %q, bob has %q", a, b)
	}
	ask(ann, protocol.AlreadyFriends, "bob")

	eve.Must(protocol.TypeContacts, protocol.ContactSettings, nil, "requests", "off")
	ask(ann, protocol.RequestsOff, "eve")
	dan.Must(protocol.TypeContacts, protocol.ContactSettings, nil, "requests", "open")
	if s := ann.RequestFriend("dan"); s != "friends" {
		t.Errorf("rule P39: a request without validation is answered %q", s)
	}
	dan.WantHeard("P39", "contact friends ann")
	ann.Forget()
	ann.Must(protocol.TypeContacts, protocol.ContactRemove, nil, "user", "dan")
	dan.WantHeard("P39", "contact removed ann")
	if d := dan.ListContacts(); d != "" {
		t.Errorf("rule P39: after the removal dan has %q", d)
	}
	bob.Must(protocol.TypeContacts, protocol.ContactBlock, nil, "user", "ann")
	if a, b := ann.ListContacts(), bob.ListContacts(); a != "" || b != "ann blocked" {
		t.Errorf("rule P39: after the block ann has %q, bob has %q", a, b)
	}
	ask(ann, protocol.Blocked, "bob")
	ask(bob, protocol.Blocked, "ann")
	bob.Must(protocol.TypeContacts, protocol.ContactBlock, nil, "user", "ann", "on", "0")
	if s := ann.RequestFriend("bob"); s != "asked" {
		t.Errorf("rule P39: after the block a request is answered %q", s)
	}
}

// Anonymous authors can be blocked without being named, and what they write under their names still comes.
func TestAnAnonymousAuthorIsBlockedUnnamed(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{Strangers: true})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	ann.Must(protocol.TypeContacts, protocol.ContactSettings, nil, "anonymous", "1")
	bob.Say("ann", "boo", "anonymous", "1")
	ann.Must(protocol.TypeContacts, protocol.ContactBlock, nil, "seq", "1")
	bob.MayNotSay("P38", protocol.Blocked, "ann", "anonymous", "1")
	bob.Say("ann", "it was me")
	if a := ann.ListContacts(); a != "" {
		t.Errorf("rule P31: ann's contacts are %q", a)
	}
	ann.Must(protocol.TypeContacts, protocol.ContactBlock, nil, "seq", "1", "on", "0")
	bob.Say("ann", "boo", "anonymous", "1")
	ann.Refused("P42", protocol.NoSuchMessage, protocol.TypeContacts, protocol.ContactBlock, nil, "seq", "7")
}

// A user may not trouble others, or the store, without end.
func TestQuotas(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{Limits: chat.Limits{NewGroups: 2, NewRequests: 2}})
	ann := w.LogOn("ann")
	for _, id := range []string{"bob", "eve", "dan"} {
		testkit.Must(w.Chat.CreateUser(t.Context(), chat.NewUser{UserID: id}))
	}
	ann.RequestFriend("bob")
	ann.RequestFriend("eve")
	if e := ann.Refused("P42", protocol.Refused, protocol.TypeContacts, protocol.ContactRequest, nil, "user", "dan"); e.Info[protocol.FieldRetryMS] == "" {
		t.Errorf("rule P42: %+v does not say when to try again", e)
	}
	ann.Create()
	ann.Create()
	ann.Refused("P42", protocol.Refused, protocol.TypeGroup, protocol.GroupCreate, nil)
}

// A4, P40: a user is made and set up once, from whatever side it comes, and until SetUp has returned nil.
func TestA4AUserIsSetUpOnce(t *testing.T) {
	var calls, under, created atomic.Int32
	var fail atomic.Bool
	fail.Store(true)
	store := chat.NewMemory()
	cfg := chat.Config{Store: store, SetUp: func(_ context.Context, u chat.NewUser) error {
		if under.Add(1) > 1 {
			t.Error("rule P40: SetUp runs twice at a time")
		}
		defer under.Add(-1)
		calls.Add(1)
		if fail.Load() {
			return errors.New("not yet")
		}
		return nil
	}, Handlers: chat.Handlers{UserCreated: func(string) { created.Add(1) }}}
	w := chattest.NewWorld(t, cfg)
	if _, err := w.Chat.CreateUser(t.Context(), chat.NewUser{UserID: "ann"}); err == nil {
		t.Error("rule P40: CreateUser returns nil although SetUp has failed")
	}
	fail.Store(false)
	var all sync.WaitGroup
	for range 4 {
		for range 5 {
			all.Go(func() {
				if _, err := w.Chat.CreateUser(context.Background(), chat.NewUser{UserID: "ann", Settings: &chat.Settings{Receive: true, Send: true, Requests: chat.Open}}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	ann := w.LogOn("ann")
	all.Wait()
	if calls.Load() != 2 || created.Load() != 1 {
		t.Errorf("rule P40: SetUp was called %d times, and the user made %d times", calls.Load(), created.Load())
	}
	if o := ann.Must(protocol.TypeContacts, protocol.ContactSettings, nil); o.Fields["requests"] != "open" {
		t.Errorf("rule P40: the announced settings are not there: %v", o.Fields)
	}
	w.LogOn("bob")
	testkit.Eventually(t, "the first logon has made bob", func() bool { return calls.Load() == 3 })
	w.End()

	again := chattest.NewWorld(t, cfg) // another process
	if made, err := again.Chat.CreateUser(t.Context(), chat.NewUser{UserID: "ann", Settings: &chat.Settings{}}); made || err != nil {
		t.Errorf("rule P40: the user is made anew: %v, %v", made, err)
	}
	again.LogOn("ann")
	again.LogOn("bob")
	again.End()
	if calls.Load() != 3 {
		t.Errorf("rule P40: SetUp was called %d times", calls.Load())
	}
}

// P40: with RequireCreated a logon makes no user.
func TestALogonMakesNoUserWhereTheProgramDoes(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{RequireCreated: true, Strangers: true})
	ann := w.LogOn("ann")
	w.LogOn("bob")
	ann.MayNotSay("P38", protocol.NoSuchUser, "bob")
	testkit.Must(w.Chat.CreateUser(t.Context(), chat.NewUser{UserID: "bob"}))
	ann.Say("bob", "hello")
}

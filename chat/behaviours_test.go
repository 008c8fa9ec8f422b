package chat_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
)

// Behaviours A1 to A4 of users over sockets; A5 to A7 are in groups_test.go, contacts_test.go and messages_test.go.

func choose(p *chattest.Peer, state presence.State) {
	p.T.Helper()
	p.Must(protocol.TypePresence, protocol.PresenceSet, nil, "state", state.String())
}

// told waits until a watcher is told of a user in this state: a tick has found it.
func told(p *chattest.Peer, user string, state presence.State) {
	p.T.Helper()
	testkit.Eventually(p.T, fmt.Sprintf("%s is told that %s is %v", p.User, user, state), func() bool {
		all := p.Watch()
		if state == presence.Offline {
			return !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, user+" ") })
		}
		return slices.Contains(all, user+" "+state.String())
	})
}

// later waits until the clock has gone on by a millisecond, so that a time that is taken now is another one.
func later(t *testing.T) {
	t.Helper()
	now := time.Now().UnixMilli()
	testkit.Eventually(t, "a millisecond passes", func() bool { return time.Now().UnixMilli() > now })
}

// A1: a user is online, offline, busy or in Stealth; last online is set when the user comes online.
func TestA1StatesAndLastOnline(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	chattest.Befriend(ann, bob)
	sees := func(state presence.State) protocol.Presence {
		t.Helper()
		told(ann, "bob", state)
		p := ann.Query("bob")
		if p.State != state {
			t.Errorf("rule P20: ann, who was told that bob is %v, is answered %+v", state, p)
		}
		return p
	}
	sees(presence.Online)
	_ = bob.Close()
	sees(presence.Offline)
	later(t)
	came := time.Now().Truncate(time.Millisecond)
	bob = w.LogOn("bob")
	online := sees(presence.Online)
	if online.LastOnline.Before(came) || online.LastOnline.After(time.Now()) {
		t.Errorf("rule P24: bob, who has come at %v, was last online at %v", came, online.LastOnline)
	}
	later(t)
	same := func(what string, p protocol.Presence) {
		t.Helper()
		if !p.LastOnline.Equal(online.LastOnline) {
			t.Errorf("rule P24: %s moves last online from %v to %v", what, online.LastOnline, p.LastOnline)
		}
	}
	choose(bob, presence.Busy)
	same("Busy", sees(presence.Busy))
	choose(bob, presence.Stealth)
	same("Stealth", sees(presence.Offline))
	later(t)
	choose(bob, presence.Online)
	if back := sees(presence.Online); !back.LastOnline.After(online.LastOnline) {
		t.Errorf("rule P24: bob, who is visible again, was last online at %v, as before", back.LastOnline)
	}
	bob.Refused("P19", protocol.Refused, protocol.TypePresence, protocol.PresenceSet, nil, "state", "offline")
	online = sees(presence.Online)
	_ = bob.Close()
	same("going", sees(presence.Offline))
}

// A2: others are told Offline when the last device closes, and nothing when another one does.
func TestA2OfflineOnlyWhenTheLastDeviceCloses(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob, eve := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve")
	chattest.Befriend(ann, bob) // a friend, and a member of a group
	eve.Join(bob.Create())
	phone := w.LogOn("bob")
	w.Online("bob")
	for _, p := range []*chattest.Peer{ann, eve} {
		told(p, "bob", presence.Online)
		p.Seen = nil
	}
	_ = bob.Close()
	testkit.Eventually(t, "the first device has gone", func() bool { return len(w.Users.Links("bob")) == 1 })
	choose(phone, presence.Busy)
	for _, p := range []*chattest.Peer{ann, eve} {
		p.Sees("P20", "bob", "busy")
		if !slices.Equal(p.Seen, []string{"bob busy"}) {
			t.Errorf("rule P20: when one of two devices closes %s is told %q", p.User, p.Seen)
		}
	}
	_ = phone.Close()
	for _, p := range []*chattest.Peer{ann, eve} {
		p.Sees("P20", "bob", "offline")
	}
}

// A2: notices have the names of the configuration.
func TestA2NoticesHaveTheNamesOfTheConfiguration(t *testing.T) {
	names := presence.Names{Online: "on-user-onlined", Offline: "on-user-offlined", Busy: "on-user-busy"}
	w := chattest.NewWorld(t, chat.Config{Presence: presence.Config{Names: names}})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	chattest.Befriend(ann, bob)
	told(ann, "bob", presence.Online)
	_ = bob.Close()
	told(ann, "bob", presence.Offline)
	ann.Names = nil
	bob = w.LogOn("bob")
	ann.Sees("P20", "bob", "online")
	choose(bob, presence.Busy)
	ann.Sees("P20", "bob", "busy")
	_ = bob.Close()
	ann.Sees("P20", "bob", "offline")
	if want := []string{names.Online, names.Busy, names.Offline}; !slices.Equal(ann.Names, want) {
		t.Errorf("rule P20: the notices are called %q, not %q", ann.Names, want)
	}
}

// A2: a hook that fails, and contacts that cannot be read, break nothing: bob comes, and writes, and ann is told of him in the end.
func TestA2AHookThatFailsBreaksNothing(t *testing.T) {
	store := &faultyStore{Memory: chat.NewMemory(), fault: faults["panics"], only: "Contacts"}
	w := chattest.NewWorld(t, chat.Config{Store: store, Strangers: true, Logger: zap.NewNop(), Presence: presence.Config{
		Logger:  zap.NewNop(),
		Changed: func(presence.Change) { panic("a bug in the hook") },
	}})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	chattest.Befriend(ann, bob)
	told(ann, "bob", presence.Online)
	_ = bob.Close()
	told(ann, "bob", presence.Offline)
	failed := w.Chat.Presence().Stats().Failures
	store.arm(1) // the question who is to be told of bob
	bob = w.LogOn("bob")
	bob.Say("ann", "hello")
	ann.WantHeard("P26", "bob>ann#1 bob: hello")
	ann.Sees("P21", "bob", "online")
	choose(bob, presence.Busy)
	ann.Sees("P26", "bob", "busy")
	if st := w.Chat.Presence().Stats(); st.Failures == failed || st.Panics == 0 {
		t.Errorf("rule P26: nothing has failed: %+v", st)
	}
}

// A3: state and last online are in the store, also for the next process; they are read through a cache, which is right after each change.
func TestA3StatesAreStoredAndReadThroughACache(t *testing.T) {
	store := &recordingStore{Memory: chat.NewMemory()}
	w := chattest.NewWorld(t, chat.Config{Store: store})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	chattest.Befriend(ann, bob)
	choose(bob, presence.Busy)
	leave := func(p *chattest.Peer, after time.Time) (seen protocol.Presence) {
		t.Helper()
		told(ann, "bob", presence.Busy)
		later(t)
		_ = p.Close()
		told(ann, "bob", presence.Offline)
		if seen = ann.Query("bob"); seen.State != presence.Offline || !seen.LastSeen.After(after) {
			t.Errorf("rule P27: bob, who has gone, is seen as %+v", seen)
		}
		return seen
	}
	first := leave(bob, time.Time{})
	store.take()
	for range 3 {
		if again := ann.Query("bob"); again != first {
			t.Errorf("rule P27: bob was seen as %+v, and is seen as %+v", first, again)
		}
	}
	if calls := store.take(); slices.Contains(calls, "LoadPresence [bob]") {
		t.Errorf("rule P27: three questions have made the calls %q", calls)
	}
	second := leave(w.LogOn("bob"), first.LastSeen) // the cache knows it
	w.End()

	again := chattest.NewWorld(t, chat.Config{Store: store})
	ann = again.LogOn("ann")
	if got := ann.Query("bob"); got != second {
		t.Errorf("rule P27: after a restart bob is seen as %+v, not as %+v", got, second)
	}
	again.LogOn("bob")
	testkit.Eventually(t, "rule P19: bob is busy, as before the restart", func() bool { return ann.Query("bob").State == presence.Busy })
}

// A4, P40: users who are announced five times each from four goroutines in two processes, and log on meanwhile, are made once. SetUp has run for
// each, and not twice at a time in a process.
func TestA4TwoProcessesMakeAUserOnce(t *testing.T) {
	const users = 20
	store := chat.NewMemory()
	var made, setUp [users]atomic.Int32
	var worlds []*chattest.World
	for range 2 {
		var under [users]atomic.Int32
		number := func(user string) (n int) {
			if _, err := fmt.Sscanf(user, "user%d", &n); err != nil {
				t.Error(err)
			}
			return n
		}
		worlds = append(worlds, chattest.NewWorld(t, chat.Config{
			Store: store,
			SetUp: func(_ context.Context, u chat.NewUser) error {
				n := number(u.UserID)
				if under[n].Add(1) > 1 {
					t.Error("rule P40: SetUp runs twice at a time")
				}
				defer under[n].Add(-1)
				testkit.BeSlow()
				setUp[n].Add(1)
				return nil
			},
			Handlers: chat.Handlers{UserCreated: func(user string) { made[number(user)].Add(1) }},
		}))
	}
	var all sync.WaitGroup
	for _, w := range worlds {
		for range 4 {
			all.Go(func() {
				for range 5 {
					for n := range users {
						if _, err := w.Chat.CreateUser(context.Background(), chat.NewUser{UserID: fmt.Sprint("user", n)}); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		w.LogOn("user0")
	}
	all.Wait()
	for n := range users {
		if m, s := made[n].Load(), setUp[n].Load(); m != 1 || s < 1 || s > 2 { // each process may have begun before the other has stored it
			t.Errorf("rule P40: user%d was made %d times and set up %d times", n, m, s)
		}
	}
}

// A4, P40: where it is not known that a user is set up SetUp is called once more. From then on it is not, and announced settings change nothing.
func TestA4SetUpIsRepeatedUntilItIsStored(t *testing.T) {
	store := &faultyStore{Memory: chat.NewMemory(), fault: faults["fails"], only: "UpdateUser"}
	var calls atomic.Int32
	w := chattest.NewWorld(t, chat.Config{Store: store, SetUp: func(context.Context, chat.NewUser) error {
		calls.Add(1)
		return nil
	}})
	announce := func(requests chat.Requests) error {
		_, err := w.Chat.CreateUser(t.Context(), chat.NewUser{UserID: "ann", Settings: &chat.Settings{Receive: true, Send: true, Requests: requests}})
		return err
	}
	store.arm(2) // the note that ann is set up
	if err := announce(chat.Ask); err == nil || calls.Load() != 1 {
		t.Errorf("rule P40: CreateUser returns %v, and SetUp was called %d times", err, calls.Load())
	}
	for _, requests := range []chat.Requests{chat.Open, chat.Off, chat.Ask} {
		if err := announce(requests); err != nil || calls.Load() != 2 {
			t.Errorf("rule P40: CreateUser returns %v, and SetUp was called %d times", err, calls.Load())
		}
	}
	ann := w.LogOn("ann")
	if o := ann.Must(protocol.TypeContacts, protocol.ContactSettings, nil); o.Fields["requests"] != "open" {
		t.Errorf("rule P40: ann, who was announced twice before she was set up, has the settings %v", o.Fields)
	}
}

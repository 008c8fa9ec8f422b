package chat_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// notServing returns the service of a server that does not run. It ends with the test.
func notServing(t *testing.T, b bridge.Config, cfg chat.Config) *chat.Service {
	server := testkit.Must(rollcall.New(rollcall.Config{Addr: "127.0.0.1:0", Bridge: b}))
	s := testkit.Must(chat.New(server.Bridge, cfg))
	t.Cleanup(func() {
		for _, end := range []func(context.Context) error{server.Users.Close, s.Close} {
			if err := end(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// whileStoring calls do while a call of the store is under way, which is the next one of this method, and reports how do returns afterwards. early says
// that it has returned before. It runs in a synctest bubble, with a server that does not run.
func whileStoring(t *testing.T, method string, do func(s *chat.Service, group chat.GroupID) error) (early bool, err error) {
	stored := make(chan struct{})
	store := &faultyStore{Memory: chat.NewMemory(), only: method, fault: func(_ context.Context, do func() error) error {
		<-stored
		return do()
	}}
	s := notServing(t, bridge.Config{}, chat.Config{Store: store})
	group := testkit.Must(s.CreateGroup(t.Context(), "ann", chat.Group{Open: true}))
	testkit.Must(s.Join(t.Context(), group, "bob"))
	store.arm(1)
	done := make(chan error, 1)
	go func() { done <- do(s, group) }()
	time.Sleep(2 * time.Second) // until nothing more happens
	early = len(done) > 0
	close(stored)
	return early, <-done
}

// P37: Mute is answered when it is stored, and no earlier.
func TestMuteIsAnsweredWhenItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early, err := whileStoring(t, "UpdateGroup", func(s *chat.Service, group chat.GroupID) error {
			return s.Mute(t.Context(), "ann", group, "bob", time.Now().Add(time.Hour))
		})
		if early || err != nil {
			t.Errorf("rule P37: Mute was answered early: %v, %v", early, err)
		}
	})
}

// P44: Close returns when all is stored that the service has taken.
func TestCloseWaitsUntilAllIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan error, 1)
		early, err := whileStoring(t, "Append", func(s *chat.Service, group chat.GroupID) error {
			go func() {
				_, err := s.Send(t.Context(), "bob", chat.ToGroup(group), 1, []byte("x"), chat.SendOptions{})
				sent <- err
			}()
			time.Sleep(time.Second) // until the store has it
			return s.Close(t.Context())
		})
		if early || err != nil {
			t.Errorf("rule P44: Close has returned early: %v, %v", early, err)
		}
		if err := <-sent; err != nil {
			t.Errorf("rule P44: the message is answered %v", err)
		}
	})
}

// A7, P32: without a setting a message may be recalled for 2 minutes, and not a millisecond longer.
func TestA7RecallWithinTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := notServing(t, bridge.Config{}, chat.Config{Store: chat.NewMemory()})
		group := chat.ToGroup(testkit.Must(s.CreateGroup(t.Context(), "ann", chat.Group{})))
		for range 2 {
			testkit.Must(s.Send(t.Context(), "ann", group, 1, []byte("x"), chat.SendOptions{}))
		}
		time.Sleep(2 * time.Minute)
		if _, err := s.Recall(t.Context(), "ann", group, 1, chat.SendOptions{}); err != nil {
			t.Errorf("rule P32: after 2 minutes a recall is answered %v", err)
		}
		time.Sleep(time.Millisecond)
		if _, err := s.Recall(t.Context(), "ann", group, 2, chat.SendOptions{}); !errors.Is(err, protocol.RecallExpired) {
			t.Errorf("rule P32: later it is answered %v", err)
		}
	})
}

// slowTeller is a cluster of one server, which takes its time to tell others what chat has stored.
type slowTeller struct{ told chan struct{} }

func (s *slowTeller) Send(string, *protocol.Message, *engine.SendOptions, bool, func(error)) error {
	return protocol.UserOffline
}
func (s *slowTeller) Several() bool                                            { return false }
func (s *slowTeller) Online(context.Context, ...string) ([]string, error)      { return nil, nil }
func (s *slowTeller) Hear(string, func(uint32, []byte), func([]uint32)) func() { return func() {} }
func (s *slowTeller) Tell(service string, _ uint32, _ []byte) {
	if service == "chat" {
		<-s.told
	}
}

// P29: a message is answered when the other servers were told of it, and no earlier: else a member there might learn of it from its sender first.
func TestAMessageIsAnsweredWhenOtherServersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		elsewhere := &slowTeller{told: make(chan struct{})}
		s := notServing(t, bridge.Config{Elsewhere: elsewhere}, chat.Config{Store: chat.NewMemory()})
		group := testkit.Must(s.CreateGroup(t.Context(), "ann", chat.Group{}))
		answered := make(chan error, 1)
		go func() {
			_, err := s.Send(t.Context(), "ann", chat.ToGroup(group), 1, []byte("x"), chat.SendOptions{})
			answered <- err
		}()
		time.Sleep(time.Second) // until nothing more happens
		if len(answered) > 0 {
			t.Errorf("rule P29: the message is answered %v before the others are told", <-answered)
		}
		close(elsewhere.told)
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}

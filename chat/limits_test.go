package chat_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// Settings that cannot be are an error of New, which names the setting.
func TestSettingsThatCannotBe(t *testing.T) {
	server := testkit.Must(rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"}))
	t.Cleanup(func() { _ = server.Users.Close(context.Background()) })
	for name, cfg := range map[string]chat.Config{
		"Store":   {},
		"Content": {Store: chat.NewMemory(), Limits: chat.Limits{Content: 256<<10 + 1}},
		"Members": {Store: chat.NewMemory(), Limits: chat.Limits{Members: 10_001}},
		"Rosters": {Store: chat.NewMemory(), Limits: chat.Limits{Rosters: -1}},
	} {
		if s, err := chat.New(server.Bridge, cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the service is %v, the error %v", name, s, err)
		}
	}
}

// P34, P35: the program may give a group 10,000 members, and no more.
func TestAGroupHasACeiling(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	if _, err := w.Chat.CreateGroup(t.Context(), "ann", chat.Group{MaxMembers: 10_001}); chattest.CodeOf(err) != protocol.Refused {
		t.Errorf("rule P35: a group of 10,001 is answered %v", err)
	}
	id := testkit.Must(w.Chat.CreateGroup(t.Context(), "ann", chat.Group{MaxMembers: 10_000}))
	err := w.Chat.ChangeGroup(t.Context(), chat.Server, id, func(g *chat.Group) { g.MaxMembers++ })
	if chattest.CodeOf(err) != protocol.Refused {
		t.Errorf("rule P35: a change to 10,001 is answered %v", err)
	}
	w.LogOn("ann").Refused("P42", protocol.Incomplete, protocol.TypeGroup, protocol.GroupCreate, nil, "max", "201")
}

// P30: the reply to Join has the last messages that fit into a list, and says that there are more; what comes later is delivered.
func TestJoinIsAnsweredWithWhatFits(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{Limits: chat.Limits{Content: 100 << 10}})
	ann, bob := w.LogOn("ann"), w.LogOn("bob")
	group := ann.Create()
	for range 5 {
		ann.Say(group, string(make([]byte, 100<<10)))
	}
	o := bob.Must(protocol.TypeGroup, protocol.GroupJoin, nil, "group", group)
	var got []uint64
	for _, m := range testkit.Must(protocol.ParseStoredMessages(o.Content)) {
		got = append(got, m.Seq)
	}
	if !slices.Equal(got, []uint64{4, 5}) || o.Fields["last"] != "5" || o.Fields["more"] != "1" || len(o.Content) > 256<<10 {
		t.Errorf("rule P30: Join is answered with the numbers %v, %v and %d bytes", got, o.Fields, len(o.Content))
	}
	bob.Forget()
	ann.Say(group, "6")
	bob.WantHeard("P30", group+"#6 ann: 6")
}

// P42: a name and a text have at most 256 bytes of UTF-8 and no control characters.
func TestNamesAndTextsAreShortAndPlain(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann := w.LogOn("ann")
	w.LogOn("bob")
	long := strings.Repeat("é", 128)
	group := ann.Create("name", long)
	for _, bad := range []string{long + "x", "a\x00b", "a\u0085b", "a\x7f"} {
		ann.Refused("P42", protocol.Incomplete, protocol.TypeGroup, protocol.GroupCreate, nil, "name", bad)
		ann.Refused("P42", protocol.Incomplete, protocol.TypeGroup, protocol.GroupChange, nil, "group", group, "name", bad)
		ann.Refused("P42", protocol.Incomplete, protocol.TypeContacts, protocol.ContactRequest, nil, "user", "bob", "text", bad)
	}
	if o := ann.Group(protocol.GroupInfo, group); o.Fields["name"] != long {
		t.Errorf("rule P42: the group is called %q", o.Fields["name"])
	}
	ann.Must(protocol.TypeContacts, protocol.ContactRequest, nil, "user", "bob", "text", long)
}

// P41: where as many requests wait as may, or as many bytes, a further one is Busy, whosever it is.
func TestAFullQueueIsBusy(t *testing.T) {
	for name, limits := range map[string]chat.Limits{"requests": {Queue: 3}, "bytes": {QueueBytes: 3000}} {
		t.Run(name, func(t *testing.T) {
			store := &watchedStore{Store: chat.NewMemory()}
			w := chattest.NewWorld(t, chat.Config{Store: store, Limits: limits})
			ann, bob, eve := w.LogOn("ann"), w.LogOn("bob"), w.LogOn("eve")
			group := ann.Create()
			bob.Join(group)
			post := chattest.Post(uuid.New(), string(make([]byte, 900)))
			store.fail.Store(true)
			waiting := map[*chattest.Peer][]uint32{}
			for _, p := range []*chattest.Peer{ann, ann, bob} {
				waiting[p] = append(waiting[p], p.Begin(protocol.TypeChat, protocol.ChatSend, post, "group", group))
			}
			testkit.Eventually(t, "three requests wait", func() bool { return w.Chat.Stats().Waiting == 3 })
			e := eve.Refused("P41", protocol.Busy, protocol.TypeChat, protocol.ChatSend, post, "group", group)
			if e.Info[protocol.FieldRetryMS] == "" || w.Chat.Stats().Busy != 1 {
				t.Errorf("rule P41: answered %+v, with %+v", e, w.Chat.Stats())
			}
			store.fail.Store(false)
			for p, all := range waiting {
				for _, id := range all {
					if _, err := p.Answer(id); err != nil {
						t.Errorf("rule P41: a request that waited is answered %v", err)
					}
				}
			}
			eve.Join(group)
		})
	}
}

// batchStore is a store that notes how many posts each call of Append has, and fails for those that have bad content. The next call after hold waits.
type batchStore struct {
	chat.Store
	bad error

	mu    sync.Mutex
	sizes []int
	hold  chan struct{}
}

func (s *batchStore) Append(ctx context.Context, posts []*chat.Post, allow func(*chat.Post, *chat.Standing) error) error {
	s.mu.Lock()
	hold := s.hold
	s.hold = nil
	s.sizes = append(s.sizes, len(posts))
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if slices.ContainsFunc(posts, func(p *chat.Post) bool { return string(p.Content) == "bad" }) {
		return s.bad
	}
	return s.Store.Append(ctx, posts, allow)
}

func (s *batchStore) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sizes)
}

// sendTogether has a message stored alone, and meanwhile three others come, of which the second one is bad. It returns their outcomes, and how many posts
// the calls of Append had.
func sendTogether(t *testing.T, bad error, timeout time.Duration) (outcomes []string, sizes []int) {
	t.Helper()
	store := &batchStore{Store: chat.NewMemory(), bad: bad, hold: make(chan struct{})}
	hold := store.hold
	w := chattest.NewWorld(t, chat.Config{Store: store, StoreTimeout: timeout, Logger: zap.NewNop()})
	ann := w.LogOn("ann")
	group := ann.Create()
	var all []uint32
	for i, text := range []string{"first", "one", "bad", "two"} {
		all = append(all, ann.Begin(protocol.TypeChat, protocol.ChatSend, chattest.Post(uuid.New(), text), "group", group))
		testkit.Eventually(t, "the message waits for the store", func() bool { return store.taken() == 1 && w.Chat.Queued() == i })
	}
	close(hold)
	for _, id := range all {
		o, err := ann.Answer(id)
		if err != nil {
			outcomes = append(outcomes, fmt.Sprint(chattest.CodeOf(err)))
			continue
		}
		outcomes = append(outcomes, o.Fields["seq"])
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	return outcomes, store.sizes
}

// P41, P43: one message that the store cannot take costs the others of its batch nothing.
func TestABadMessageIsRefusedAlone(t *testing.T) {
	outcomes, sizes := sendTogether(t, fmt.Errorf("it has bad content: %w", chat.ErrBadPost), testkit.Patience)
	if want := []string{"1", "2", "NotStored", "3"}; !slices.Equal(outcomes, want) {
		t.Errorf("rule P43: the outcomes are %q, not %q", outcomes, want)
	}
	if want := []int{1, 3, 1, 1, 1}; !slices.Equal(sizes, want) {
		t.Errorf("rule P41: the calls had %v posts, not %v", sizes, want)
	}
}

// P41, P43: a batch is not split where the store fails for another reason: each try would take as long for each message.
func TestABatchIsNotSplitWhereTheStoreFails(t *testing.T) {
	for _, fault := range []error{context.DeadlineExceeded, errors.New("the connection is lost")} {
		outcomes, sizes := sendTogether(t, fault, 300*time.Millisecond)
		if want := []string{"1", "NotStored", "NotStored", "NotStored"}; !slices.Equal(outcomes, want) {
			t.Errorf("rule P43: with %v the outcomes are %q, not %q", fault, outcomes, want)
		}
		if len(sizes) < 2 || slices.Contains(sizes[1:], 1) {
			t.Errorf("rule P41: with %v the calls had %v posts", fault, sizes)
		}
	}
}

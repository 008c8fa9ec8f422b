package chatclient_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"

	"github.com/rollcall-go/rollcall"
)

var toAnn, toBob = chatclient.ToUser("ann"), chatclient.ToUser("bob")

// What was stored while the connection was lost comes first, although messages come live before it is read.
func TestWhatWasMissedComesBeforeLiveMessages(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.dial("ann", chatclient.Config{}), w.direct("bob", chatclient.Config{})
	bob.send(toAnn, "known")
	w.hasAll(ann, toBob, 1)
	for _, op := range []uint8{protocol.ChatConversations, protocol.ChatHistory} {
		w.part(ann)
		bob.send(toAnn, "missed")
		bob.send(toAnn, "missed too")
		w.gate.set(closeFor("ann", op))
		w.meet()
		testkit.Eventually(t, "the request waits", func() bool { return w.gate.waits() == 1 })
		had := ann.numbers(toBob)
		before := w.chat.Stats().Delivered
		bob.send(toAnn, "live")
		bob.send(toAnn, "live too")
		testkit.Eventually(t, "both are delivered", func() bool { return w.chat.Stats().Delivered >= before+2 })
		if n := ann.numbers(toBob); !slices.Equal(n, had) {
			t.Errorf("rule P45: before the missed ones were read came %v", n)
		}
		w.gate.set(nil)
		w.hasAll(ann, toBob, 1)
	}
}

func TestAServerThatIsStartedAgainIsCaughtUpWith(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.dial("ann", chatclient.Config{}), w.dial("bob", chatclient.Config{})
	group := w.group(ann, bob)
	for range 3 {
		ann.send(group, "before")
		w.restart(w.store, chat.Config{})
		bob.send(group, "after")
		w.fill(group, 5)
	}
	w.hasAll(ann, group, 1)
	w.hasAll(bob, group, 1)
	if a, b := ann.toldOfResets(), bob.toldOfResets(); len(a)+len(b) > 0 {
		t.Errorf("the same store was taken for another: %v %v", a, b)
	}
}

// anotherStore returns what a client knows that had so many messages of bob's from a store that is not there any more.
func anotherStore(t *testing.T, n int) map[chatclient.Conversation]chatclient.Mark {
	t.Helper()
	w := newWorld(t, chat.Config{})
	ann, bob := w.direct("ann", chatclient.Config{}), w.direct("bob", chatclient.Config{})
	for range n {
		bob.send(toAnn, "lost")
	}
	w.hasAll(ann, toBob, 1)
	return ann.Marks()
}

// A store that has gone back has other messages with the numbers that the client knows, or none. All come again.
func TestAStoreThatWentBackIsReadFromTheStart(t *testing.T) {
	for _, c := range []struct {
		name       string
		then, most int
		from       uint64
	}{{"fewer", 3, 0, 1}, {"as many", 5, 0, 1}, {"more", 8, 0, 1}, {"many more", 20, 4, 17}, {"none", 0, 0, 1}} {
		t.Run(c.name, func(t *testing.T) {
			known := anotherStore(t, 5)
			w := newWorld(t, chat.Config{})
			bob := w.direct("bob", chatclient.Config{})
			w.direct("ann", chatclient.Config{}).end()
			for range c.then {
				bob.send(toAnn, "another")
			}
			ann := w.dial("ann", chatclient.Config{Known: known, MaxCatchUp: c.most})
			w.hasAll(ann, toBob, c.from)
			testkit.Eventually(t, "the reset is told", func() bool { return slices.Equal(ann.toldOfResets(), []chatclient.Conversation{toBob}) })
			bob.send(toAnn, "live")
			w.hasAll(ann, toBob, c.from)
		})
	}
}

// The same happens to a client that stays while the server is started with another store.
func TestAStoreThatWentBackIsNoticedOnTheNextConnection(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.dial("ann", chatclient.Config{}), w.dial("bob", chatclient.Config{})
	for range 5 {
		bob.send(toAnn, "lost")
	}
	w.hasAll(ann, toBob, 1)
	w.part(ann, bob)
	w.restart(chat.NewMemory(), chat.Config{})
	testkit.Eventually(t, "both are back", func() bool { return ann.timesCaughtUp() == 2 && bob.timesCaughtUp() == 2 })
	ann.mu.Lock()
	clear(ann.messages)
	ann.mu.Unlock()
	for range 7 {
		bob.send(toAnn, "kept")
	}
	w.hasAll(ann, toBob, 1)
}

func TestMoreThanAPageIsCaughtUpWith(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann := w.dial("ann", chatclient.Config{MaxCatchUp: 100_000})
	group := w.group(ann)
	ann.send(group, "1")
	w.hasAll(ann, group, 1)
	w.part(ann)
	w.fill(group, 2500)
	w.meet()
	w.hasAll(ann, group, 1)
}

func TestNoMoreThanMaxCatchUpIsCaughtUpWith(t *testing.T) {
	for _, c := range []struct{ most, from int }{{0, 1203}, {7, 2196}, {-1, 2203}} {
		w := newWorld(t, chat.Config{})
		ann := w.dial("ann", chatclient.Config{MaxCatchUp: c.most})
		group := w.group(ann)
		for range 2 {
			ann.send(group, "known")
		}
		w.hasAll(ann, group, 1)
		ann.mu.Lock()
		clear(ann.messages)
		ann.mu.Unlock()
		w.part(ann)
		w.fill(group, 2200)
		w.meet()
		testkit.Eventually(t, "the client has caught up", func() bool { return ann.timesCaughtUp() == 2 })
		w.fill(group, 3)
		w.hasAll(ann, group, uint64(c.from))
	}
}

// Without an earlier run what was stored before Dial is left to History; after one, a conversation that is new is handed out.
func TestWhatANewConversationHasIsHandedOutAfterAnEarlierRun(t *testing.T) {
	w := newWorld(t, chat.Config{})
	bob := w.direct("bob", chatclient.Config{})
	w.direct("ann", chatclient.Config{}).end()
	bob.send(toAnn, "1")
	ann := w.dial("ann", chatclient.Config{})
	bob.send(toAnn, "2")
	w.hasAll(ann, toBob, 2)
	ann.end()

	saved := testkit.Must(json.Marshal(ann.Marks()))
	known := map[chatclient.Conversation]chatclient.Mark{}
	if err := json.Unmarshal(saved, &known); err != nil || !maps.Equal(known, ann.Marks()) || known[toBob].Seq != 2 {
		t.Fatalf("%s is %v, %v", saved, known, err)
	}
	eve := w.direct("eve", chatclient.Config{})
	eve.send(toAnn, "1")
	bob.send(toAnn, "3")
	again := w.dial("ann", chatclient.Config{Known: known})
	w.hasAll(again, toBob, 3)
	w.hasAll(again, chatclient.ToUser("eve"), 1)
}

// While the program is busy the client keeps the numbers of further messages alone, and reads them later.
func TestMessagesThatDoNotFitAreReadFromHistory(t *testing.T) {
	t.Run("the last fits", func(t *testing.T) { messagesThatDoNotFit(t, true) })
	t.Run("none fits", func(t *testing.T) { messagesThatDoNotFit(t, false) })
}

func messagesThatDoNotFit(t *testing.T, later bool) {
	defer chatclient.SetMostWaiting(2000)()
	w := newWorld(t, chat.Config{})
	hold := make(chan struct{})
	ann := w.dial("ann", chatclient.Config{OnMessage: func(*chatclient.Client, *chatclient.Message) { <-hold }})
	bob := w.direct("bob", chatclient.Config{})
	group := w.group(bob, ann)
	const n = 300
	for range n {
		bob.send(toAnn, "to ann")
		bob.send(group, "to the group")
	}
	testkit.Eventually(t, "all are delivered", func() bool { return w.chat.Stats().Delivered >= 2*n })
	if _, err := ann.Settings(t.Context()); err != nil { // its answer comes after them
		t.Fatal(err)
	}
	if later {
		oneFits(w, ann, bob, group, hold)
	}
	close(hold)
	w.hasAll(ann, group, 1)
	w.hasAll(ann, toBob, 1)
	w.hasAll(bob, group, 1)
}

// oneFits has the client hand out a message, so that there is room for one after those that did not fit.
func oneFits(w *world, ann, bob *person, group chatclient.Conversation, hold chan<- struct{}) {
	w.t.Helper()
	before := w.chat.Stats().Delivered
	hold <- struct{}{}
	testkit.Eventually(w.t, "the second message", func() bool { return len(ann.of(toBob))+len(ann.of(group)) == 2 })
	bob.send(toAnn, "the last")
	bob.send(group, "the last")
	testkit.Eventually(w.t, "these are delivered", func() bool { return w.chat.Stats().Delivered >= before+2 })
}

func TestAServerWithoutChatIsAnErrorOfDial(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	_, err := chatclient.Dial(ctx, srv.Addr, client.Config{UserID: "ann"}, chatclient.Config{})
	if !isCode(err, protocol.NoHandler) {
		t.Error(err)
	}
	_, err = chatclient.Dial(ctx, srv.Addr, client.Config{UserID: "ann", Handle: map[uint16]client.Handler{
		protocol.TypeGroup: func(*client.Client, *protocol.Message) error { return nil }}}, chatclient.Config{})
	if err == nil {
		t.Error("a handler for a type of the package's was taken")
	}
}

// A store that fails for a time only holds up what needs it.
func TestAFailingStoreIsAskedAgain(t *testing.T) {
	w := newWorld(t, chat.Config{})
	failing := &protocol.CloseError{Code: protocol.HandlerFailed, Info: map[string]string{protocol.FieldRetryMS: "1"}}
	var failures atomic.Int32
	failures.Store(20)
	w.gate.set(func(a chat.Action) (bool, error) {
		if a.UserID == "ann" && a.Type == protocol.TypeChat && failures.Add(-1) >= 0 {
			return false, failing
		}
		return false, nil
	})
	bob := w.direct("bob", chatclient.Config{})
	ann := w.dial("ann", chatclient.Config{})
	w.part(ann)
	bob.send(toAnn, "hello")
	failures.Store(10)
	w.meet()
	w.hasAll(ann, toBob, 1)
}

// A user who was removed from a group while away, and one who may not read History, get what comes later.
func TestWhatCannotBeReadIsLeftOut(t *testing.T) {
	w := newWorld(t, chat.Config{})
	g := w.gate
	ann, bob := w.dial("ann", chatclient.Config{}), w.direct("bob", chatclient.Config{})
	group := w.group(bob, ann)
	bob.send(group, "1")
	bob.send(toAnn, "1")
	w.hasAll(ann, group, 1)
	w.hasAll(ann, toBob, 1)
	w.part(ann)
	g.set(func(a chat.Action) (bool, error) {
		return false, map[bool]error{true: protocol.Refused}[a.UserID == "ann" && a.Op == protocol.ChatHistory && a.Type == protocol.TypeChat]
	})
	if _, err := bob.RemoveMembers(t.Context(), group.Group, "ann"); err != nil {
		t.Fatal(err)
	}
	bob.send(group, "2")
	bob.send(toAnn, "2")
	w.meet()
	testkit.Eventually(t, "the client has caught up", func() bool { return ann.timesCaughtUp() == 2 })
	bob.send(toAnn, "3")
	testkit.Eventually(t, "the third message", func() bool { return slices.Equal(ann.numbers(toBob), []uint64{1, 3}) })
	if _, err := ann.Join(t.Context(), group.Group); err != nil {
		t.Fatal(err)
	}
	bob.send(group, "3")
	testkit.Eventually(t, "the group's messages", func() bool { return slices.Equal(ann.numbers(group), []uint64{1, 2, 3}) })
}

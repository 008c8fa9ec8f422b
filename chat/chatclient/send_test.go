package chatclient_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

func isCode(err error, code protocol.CloseCode) bool { return errors.Is(err, code) }

// The server stores the message, and its answer is lost.
func TestAMessageWhoseAnswerIsLostIsStoredOnce(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.dial("ann", chatclient.Config{}), w.direct("bob", chatclient.Config{})
	for n := uint64(1); n <= 5; n++ {
		ann.cable.Hold() // the present connections
		sent := make(chan chatclient.Sent, 1)
		before := w.chat.Stats().Stored
		var all sync.WaitGroup
		all.Go(func() { sent <- ann.send(toBob, "hello") })
		if n%2 == 0 { // the request has passed, and the answer has not
			ann.cable.Release()
			testkit.Eventually(t, "the message is stored", func() bool { return w.chat.Stats().Stored > before })
		}
		ann.cable.Break()
		ann.cable.Release()
		if s := testkit.Receive(t, "the answer", sent); s.Seq != n {
			t.Errorf("rule P33: message %d has the number %d", n, s.Seq)
		}
		all.Wait()
	}
	w.hasAll(bob, toAnn, 1)
	w.hasAll(ann, toBob, 1)
}

// flaky is a store that stores and says that it has failed, as long as it is told to.
type flaky struct {
	*chat.Memory
	failures atomic.Int32
}

func (s *flaky) Append(ctx context.Context, posts []*chat.Post, allow func(*chat.Post, *chat.Standing) error) error {
	err := s.Memory.Append(ctx, posts, allow)
	if s.failures.Add(-1) >= 0 {
		return errors.New("the answer of the commit is lost")
	}
	return err
}

func TestAMessageThatIsNotKnownToBeStoredIsSentAgain(t *testing.T) {
	store := &flaky{Memory: chat.NewMemory()}
	w := newWorld(t, chat.Config{Store: store, StoreTimeout: 200 * time.Millisecond})
	ann, bob := w.dial("ann", chatclient.Config{}), w.dial("bob", chatclient.Config{})
	store.failures.Store(6) // more than the server tries again by itself
	ann.send(toBob, "hello")
	ann.send(toBob, "again")
	w.hasAll(bob, toAnn, 1)
	w.hasAll(ann, toBob, 1)
	if n := len(w.stored("ann", toBob)); n != 2 {
		t.Errorf("rule P33: %d messages are stored", n)
	}
}

func TestManySendsAtATimeAreAllStored(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann := w.dial("ann", chatclient.Config{})
	group := w.group(ann)
	var all sync.WaitGroup
	for range 300 {
		all.Go(func() { ann.send(group, "one of many") })
	}
	all.Wait()
	if n := len(w.stored("ann", group)); n != 300 {
		t.Errorf("%d messages are stored", n)
	}
	w.hasAll(ann, group, 1)
}

// The server has too much to do, and says when to come back.
func TestASendThatIsRefusedWithBusyComesBack(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann := w.dial("ann", chatclient.Config{})
	group := w.group(ann)
	for _, code := range []protocol.CloseCode{protocol.Busy, protocol.NotStored, protocol.TimedOut, protocol.HandlerFailed} {
		var refusals atomic.Int32
		refusals.Store(3)
		w.gate.set(func(a chat.Action) (bool, error) {
			if a.Type == protocol.TypeChat && a.Op == protocol.ChatSend && refusals.Add(-1) >= 0 {
				return false, &protocol.CloseError{Code: code, Info: map[string]string{protocol.FieldRetryMS: "5"}}
			}
			return false, nil
		})
		ann.send(group, code.Error())
		if n := refusals.Load(); n != -1 {
			t.Errorf("%v: %d refusals are left", code, n)
		}
	}
	w.gate.set(func(chat.Action) (bool, error) { return false, protocol.HandlerFailed }) // without a time
	if _, err := ann.Send(t.Context(), group, text, nil, chatclient.SendOptions{}); !isCode(err, protocol.HandlerFailed) {
		t.Error(err)
	}
	w.gate.set(nil)
	w.hasAll(ann, group, 1)
}

// The service has ended, and its server has not: the client waits for the next one.
func TestASendAfterTheEndIsStoredByTheNextServer(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann := w.dial("ann", chatclient.Config{})
	group := w.group(ann)
	if err := w.chat.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := ann.History(t.Context(), group, chatclient.Range{}); !isCode(err, protocol.Busy) {
		t.Errorf("rule P44: a request after the end is answered %v", err)
	}
	sent := make(chan chatclient.Sent, 1)
	var all sync.WaitGroup
	all.Go(func() { sent <- ann.send(group, "late") })
	w.restart(w.store, chat.Config{})
	if s := testkit.Receive(t, "the answer", sent); s.Seq != 1 {
		t.Errorf("rule P45: the message has the number %d", s.Seq)
	}
	all.Wait()
	w.hasAll(ann, group, 1)
}

func TestARefusalIsReturned(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann := w.dial("ann", chatclient.Config{})
	if _, err := ann.Send(t.Context(), chatclient.ToUser("nobody"), text, nil, chatclient.SendOptions{}); !isCode(err, protocol.NoSuchUser) {
		t.Error(err)
	}
	if _, err := ann.Send(t.Context(), chatclient.Conversation{}, text, nil, chatclient.SendOptions{}); !isCode(err, protocol.Incomplete) {
		t.Error(err)
	}
	w.part(ann)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	sent, err := ann.Send(ctx, toBob, text, nil, chatclient.SendOptions{})
	if !errors.Is(err, context.DeadlineExceeded) || sent.ID == uuid.Nil {
		t.Errorf("without a connection: %v, %v", sent, err)
	}
	if _, err := ann.History(t.Context(), toBob, chatclient.Range{}); !errors.Is(err, client.ErrNotConnected) {
		t.Error(err)
	}
	waits := make(chan error, 1)
	go func() {
		_, err := ann.Send(context.Background(), toBob, text, nil, chatclient.SendOptions{})
		waits <- err
	}()
	ann.end()
	if err := testkit.Receive(t, "the Send's end", waits); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
	if err := ann.Err(); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
}

// A program that has kept a message's ID sends it in a later run.
func TestAMessageOfAnEarlierRunIsStoredOnce(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.dial("ann", chatclient.Config{}), w.direct("bob", chatclient.Config{})
	first := ann.send(toBob, "hello")
	w.hasAll(ann, toBob, 1)
	again, err := ann.Send(t.Context(), toBob, text, []byte("hello"), chatclient.SendOptions{ID: first.ID})
	if err != nil || again != first {
		t.Errorf("rule P33: %v, %v; it was %v", again, err, first)
	}
	ann.send(toBob, "next")
	w.hasAll(ann, toBob, 1)
	w.hasAll(bob, toAnn, 1)
}

func TestARecallIsHandedOut(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.dial("ann", chatclient.Config{}), w.direct("bob", chatclient.Config{})
	sent := ann.send(toBob, "oh")
	seq, err := ann.Recall(t.Context(), toBob, sent.Seq, chatclient.SendOptions{})
	if err != nil || seq != 2 {
		t.Fatal(seq, err)
	}
	for _, p := range []*person{ann, bob} {
		of := map[*person]chatclient.Conversation{ann: toBob, bob: toAnn}[p]
		w.hasAll(p, of, 1)
		if m := p.of(of)[1]; m.Recalls != 1 || string(p.of(of)[0].Content) != "oh" {
			t.Errorf("rule P32: %+v", m)
		}
	}
	if _, err := bob.Recall(t.Context(), toAnn, 1, chatclient.SendOptions{}); !isCode(err, protocol.NotYours) {
		t.Error(err)
	}
	if page, err := ann.History(t.Context(), toBob, chatclient.Range{Before: 2}); err != nil || len(page.Messages) != 1 || !page.Messages[0].Recalled || page.First != 1 {
		t.Error(page, err)
	}
}

// The user's other session gets what this one sends, and the other way round.
func TestAllSessionsOfAUserAreHandedTheSame(t *testing.T) {
	w := newWorld(t, chat.Config{})
	phone := w.dialAt(w.server.Addr, client.Config{UserID: "ann", Device: 1}, chatclient.Config{})
	desk := w.dialAt(w.server.Addr, client.Config{UserID: "ann", Device: 2}, chatclient.Config{})
	bob := w.direct("bob", chatclient.Config{})
	phone.send(toBob, "from the phone")
	desk.send(toBob, "from the desk")
	bob.send(toAnn, "from bob")
	for _, p := range []*person{phone, desk} {
		w.hasAll(p, toBob, 1)
	}
}

func TestAnonymousMessages(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob := w.dial("ann", chatclient.Config{}), w.dial("bob", chatclient.Config{})
	if s, err := bob.SetSettings(t.Context(), func(s *chatclient.Settings) { s.Anonymous = true }); err != nil || !s.Anonymous || !s.Receive {
		t.Fatal(s, err)
	}
	id, err := ann.CreateGroup(t.Context(), chatclient.Group{Name: "masks", Anonymous: true, Open: true})
	if err != nil {
		t.Fatal(err)
	}
	group := chatclient.ToGroup(id)
	for _, to := range []chatclient.Conversation{toBob, group} {
		if _, err := ann.Send(t.Context(), to, text, []byte("guess"), chatclient.SendOptions{Anonymous: true}); err != nil {
			t.Fatal(err)
		}
	}
	unknown := chatclient.ToUser(chatclient.Anonymous)
	w.hasAll(bob, unknown, 1)
	w.hasAll(ann, group, 1)
	if n := len(ann.of(toBob)) + len(ann.of(unknown)); n != 0 {
		t.Errorf("rule P31: the sender was handed %d messages of another user's conversation", n)
	}
	if err := bob.BlockAuthor(t.Context(), 1, true); err != nil {
		t.Fatal(err)
	}
	if _, err := ann.Send(t.Context(), toBob, text, nil, chatclient.SendOptions{Anonymous: true}); !isCode(err, protocol.Blocked) {
		t.Error(err)
	}
}

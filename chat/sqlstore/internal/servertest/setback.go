package servertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// SetBack holds rules P29 and P45: a database that is set back to an earlier copy has other messages under numbers that a client knows. The client
// notices it by the IDs, and is handed all that the database has. open opens the database, save makes the copy, and setBack gives the database
// what the copy has; no store is open meanwhile.
func SetBack(t *testing.T, open func(t *testing.T) Store, save, setBack func()) {
	say := func(w *chattest.World, texts ...string) {
		bob := w.LogOn("bob")
		for _, text := range texts {
			bob.Say("ann", text)
		}
	}
	var known map[chatclient.Conversation]chatclient.Mark
	none := map[chatclient.Conversation]chatclient.Mark{{With: "bob"}: {}}
	run(t, open(t), func(w *chattest.World) {
		w.LogOn("ann")
		say(w, "one", "two")
	})
	save()
	run(t, open(t), func(w *chattest.World) {
		say(w, "lost three", "lost four")
		known, _ = reader(t, w, none, "#1 one", "#2 two", "#3 lost three", "#4 lost four")
	})
	setBack()
	run(t, open(t), func(w *chattest.World) {
		say(w, "three", "four", "five")
		_, resets := reader(t, w, known, "#1 one", "#2 two", "#3 three", "#4 four", "#5 five")
		if resets != 1 {
			t.Errorf("rule P45: ann was told %d times that the conversation is another one", resets)
		}
	})
}

// run has a server with a store for as long as f takes.
func run(t *testing.T, store Store, f func(w *chattest.World)) {
	t.Helper()
	w := chattest.NewWorld(t, chat.Config{Store: store, Strangers: true})
	f(w)
	w.End()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// reader is ann's client, with what she knows from an earlier run.
func reader(t *testing.T, w *chattest.World, known map[chatclient.Conversation]chatclient.Mark, want ...string) (marks map[chatclient.Conversation]chatclient.Mark, resets int) {
	t.Helper()
	var mu sync.Mutex
	var got []string
	c, err := chatclient.Dial(context.Background(), w.Addr, client.Config{UserID: "ann"}, chatclient.Config{
		Known: known,
		OnMessage: func(_ *chatclient.Client, m *chatclient.Message) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf("#%d %s", m.Seq, m.Content))
		},
		OnReset: func(*chatclient.Client, chatclient.Conversation) {
			mu.Lock()
			defer mu.Unlock()
			resets++
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ok := testkit.ComesTrue(testkit.Patience, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) >= len(want)
	})
	marks = c.Marks()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	testkit.Receive(t, "the client's end", c.Done())
	if !ok || !slices.Equal(got, want) {
		t.Errorf("rule P29: ann was handed %q, not %q", got, want)
	}
	return marks, resets
}

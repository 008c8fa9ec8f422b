//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
)

// talk is two groups whose members write all the time, and the sessions of the members.
type talk struct {
	*chattest.World
	groups    []string
	receivers []*chattest.Peer

	mu       sync.Mutex
	answered map[string]map[uint64]string // by group and number
	heard    map[*chattest.Peer]map[string][]string
}

// Rules P29, P33 and P43: while the members of two groups write, PostgreSQL is stopped at once, again and again. Each message that was answered is in
// the history once, with its number, and none is there twice; each receiver has at any time the first messages of the history, each once and in
// order, and all when the database has gone on.
func TestAServerWhoseDatabaseIsStoppedLosesNothing(t *testing.T) {
	pgtest.Shared(t)            // or the test is left out
	server, err := pgtest.New() // with fsync
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Remove)
	w := &talk{answered: make(map[string]map[uint64]string), heard: make(map[*chattest.Peer]map[string][]string)}
	w.World = chattest.NewWorld(t, chat.Config{
		Store: open(t, server.Schema(t)), Logger: zap.NewNop(),
		StoreTimeout: time.Second, // some are answered NotStored, and some wait for the database
		Presence:     presence.Config{Store: presence.NewMemory()},
	})
	for _, user := range []string{"ann", "bob", "cid"} {
		p := w.LogOn(user)
		w.receivers = append(w.receivers, p)
		w.heard[p] = make(map[string][]string)
	}
	for range 2 {
		g := w.receivers[0].Create()
		w.groups, w.answered[g] = append(w.groups, g), make(map[uint64]string)
		for _, p := range w.receivers[1:] {
			p.Join(g)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() { w.write(ctx, w.groups[i%2], w.receivers[i%3].User, i) })
	}
	for range kills(t) {
		before, failed := w.count(), w.Chat.Stats().Failures
		testkit.EventuallyIn(t, time.Minute, "messages are answered", func() bool { return w.count() >= before+10 })
		server.Kill()
		testkit.Eventually(t, "the store fails", func() bool { return w.Chat.Stats().Failures > failed })
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		before = w.count()
		testkit.EventuallyIn(t, time.Minute, "the store goes on", func() bool { return w.count() >= before+10 })
		w.receive()
	}
	stop()
	writers.Wait()
	for _, g := range w.groups { // what could not be delivered comes before it
		w.send(t.Context(), g, "ann", "the end")
	}
	w.receive()
	w.check()
}

// write writes messages until ctx ends.
func (w *talk) write(ctx context.Context, group, user string, writer int) {
	for i := 0; ctx.Err() == nil; i++ {
		w.send(ctx, group, user, fmt.Sprint("writer ", writer, " says ", i))
	}
}

// send repeats a message until it is answered.
func (w *talk) send(ctx context.Context, group, user, text string) {
	id := uuid.New()
	for {
		m, err := w.Chat.Send(context.WithoutCancel(ctx), user, chat.ToGroup(groupID(group)), 1, []byte(text), chat.SendOptions{ID: id})
		if err == nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			if was, twice := w.answered[group][m.Seq]; twice {
				w.T.Errorf("rule P29: %q and %q have the number %d", was, text, m.Seq)
			}
			w.answered[group][m.Seq] = text
			return
		}
		if chattest.CodeOf(err) != protocol.NotStored {
			w.T.Errorf("rule P43: a message is answered %v", err)
			return
		}
		if testkit.BeSlow(); ctx.Err() != nil {
			return // it is not known whether it is stored
		}
	}
}

func (w *talk) count() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.answered {
		n += len(all)
	}
	return n
}

// receive waits until each receiver has all that was answered before, and wants it to have the first messages of each group.
func (w *talk) receive() {
	w.T.Helper()
	last := make(map[string]uint64)
	w.mu.Lock()
	for g, all := range w.answered {
		for seq := range all {
			last[g] = max(last[g], seq)
		}
	}
	w.mu.Unlock()
	for _, p := range w.receivers {
		_ = p.SetWriteDeadline(time.Now().Add(testkit.Patience))
		p.Must(protocol.TypePresence, protocol.PresenceQuery, chattest.IDs()) // a sign of life
		all := func() bool {
			w.sort(p)
			return !slices.ContainsFunc(w.groups, func(g string) bool { return uint64(len(w.heard[p][g])) < last[g] })
		}
		if !p.Await(all) {
			w.T.FailNow()
		}
	}
}

// sort takes what a receiver has heard, which are the messages of each group in order.
func (w *talk) sort(p *chattest.Peer) {
	w.T.Helper()
	for _, line := range p.Heard {
		g, message, is := strings.Cut(line, "#")
		if !is { // a notice of a group
			continue
		}
		of := w.heard[p]
		if of[g] = append(of[g], "#"+message); !strings.HasPrefix(message, fmt.Sprint(len(of[g]), " ")) {
			w.T.Fatalf("rule P29: after %d messages of a group %s gets %s", len(of[g])-1, p.User, line)
		}
	}
	p.Heard = nil
}

// check compares with the history what was answered, and what was heard.
func (w *talk) check() {
	w.T.Helper()
	for _, g := range w.groups {
		var stored []string
		texts := make(map[string]bool)
		for more := true; more; {
			page := testkit.Must(w.Chat.History(w.T.Context(), "ann", chat.ToGroup(groupID(g)), chat.Range{FromStart: true, After: uint64(len(stored)), Limit: 1000}))
			more = page.More
			for _, m := range page.Messages {
				stored = append(stored, fmt.Sprintf("#%d %s: %s", m.Seq, m.From, m.Content))
				if text := string(m.Content); texts[text] {
					w.T.Errorf("rule P33: %q is there twice", text)
				} else {
					texts[text] = true
				}
			}
		}
		for seq, text := range w.answered[g] {
			if seq > uint64(len(stored)) || !strings.HasPrefix(stored[seq-1], fmt.Sprint("#", seq, " ")) || !strings.HasSuffix(stored[seq-1], ": "+text) {
				w.T.Errorf("rule P29: %q was answered with the number %d, and is not there", text, seq)
			}
		}
		for _, p := range w.receivers {
			if !slices.Equal(w.heard[p][g], stored) {
				w.T.Errorf("rule P29: %s has heard %d messages of a group, and %d are stored", p.User, len(w.heard[p][g]), len(stored))
			}
		}
	}
}

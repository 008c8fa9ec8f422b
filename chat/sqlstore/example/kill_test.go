//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// talker is a member of the group who writes, and hears what is written.
type talker struct {
	*chatclient.Client
	cable *testkit.Cable
	user  string

	mu       sync.Mutex
	heard    []string // "#1 text"
	answered []string
}

func (p *talker) counts() (heard, answered int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.heard), len(p.answered)
}

// Rules P29, P33 and P45: while three users write to a group, the server on a file is killed again and again. Each message that was answered is in the
// history once, with its number, none is there twice, and the numbers have no gaps. Each user has got all of it, once and in order.
func TestAServerThatIsKilledLosesNothing(t *testing.T) {
	kills := 5
	if text := os.Getenv("SOAK_KILLS"); text != "" {
		kills = testkit.Must(strconv.Atoi(text))
	}
	file := filepath.Join(t.TempDir(), "chat.db")
	p, addr := start(t, "-db", file)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var talkers []*talker
	for _, user := range []string{"ann", "bob", "cid"} {
		talkers = append(talkers, newTalker(t, addr, user))
	}
	id := testkit.Must(talkers[0].CreateGroup(ctx, chatclient.Group{Name: "climbing", Open: true}))
	for _, one := range talkers[1:] {
		testkit.Must(one.Join(ctx, id))
	}
	var writing sync.WaitGroup
	for _, one := range talkers {
		for i := range 2 {
			writing.Go(func() { one.write(ctx, t, id, i) })
		}
	}
	answered := func() (n int) {
		for _, one := range talkers {
			_, m := one.counts()
			n += m
		}
		return n
	}
	goesOn := func(what string) {
		t.Helper()
		before := answered()
		testkit.EventuallyIn(t, time.Minute, what, func() bool { return answered() >= before+30 })
	}
	for range kills {
		goesOn("messages are answered")
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		testkit.Receive(t, "the server ends", p.exited)
		p, addr = start(t, "-db", file)
		for _, one := range talkers {
			one.cable.Lead(addr)
		}
	}
	goesOn("the last server goes on")
	stop()
	writing.Wait()
	last := testkit.Must(talkers[0].Send(t.Context(), chatclient.ToGroup(id), 1, []byte("the end"), chatclient.SendOptions{}))
	for _, one := range talkers {
		testkit.EventuallyIn(t, time.Minute, one.user+" has all", func() bool { n, _ := one.counts(); return n >= int(last.Seq) })
		if err := one.Close(); err != nil {
			t.Error(err)
		}
	}
	p.end(t)
	check(t, file, chat.GroupID(id), talkers)
}

// newTalker has a user log on, over a cable that leads to the server.
func newTalker(t *testing.T, addr, user string) *talker {
	t.Helper()
	p := &talker{cable: testkit.NewCable(t, addr), user: user}
	cc := client.Config{UserID: user, Reconnect: client.Reconnect{Min: time.Millisecond, Max: 50 * time.Millisecond}}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	c, err := chatclient.Dial(ctx, p.cable.Addr(), cc, chatclient.Config{OnMessage: func(_ *chatclient.Client, m *chatclient.Message) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.heard = append(p.heard, fmt.Sprintf("#%d %s", m.Seq, m.Content))
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p.Client = c
	return p
}

// write writes messages until ctx ends. A message that was begun is sent until it is answered.
func (p *talker) write(ctx context.Context, t *testing.T, group uint64, writer int) {
	for i := 0; ctx.Err() == nil; i++ {
		text := fmt.Sprint(p.user, writer, " says ", i)
		sent, err := p.Send(context.WithoutCancel(ctx), chatclient.ToGroup(group), 1, []byte(text), chatclient.SendOptions{})
		if err != nil {
			t.Errorf("rule P45: Send returns %v", err)
			return
		}
		p.mu.Lock()
		p.answered = append(p.answered, fmt.Sprintf("#%d %s", sent.Seq, text))
		p.mu.Unlock()
	}
}

// check compares with the file what was answered, and what each has heard.
func check(t *testing.T, file string, group chat.GroupID, talkers []*talker) {
	t.Helper()
	store := testkit.Must(sqlite.Open(file))
	defer store.Close()
	var stored []string
	lines, texts := make(map[string]bool), make(map[string]bool)
	for more := true; more; {
		page := testkit.Must(store.History(t.Context(), chat.Key{Group: group}, "ann", chat.Range{FromStart: true, After: uint64(len(stored)), Limit: 1000}))
		more = page.More
		for _, m := range page.Messages {
			if stored = append(stored, fmt.Sprintf("#%d %s", m.Seq, m.Content)); m.Seq != uint64(len(stored)) {
				t.Fatalf("rule P29: message %d has the number %d", len(stored), m.Seq)
			}
			if texts[string(m.Content)] {
				t.Errorf("rule P33: %q is there twice", m.Content)
			}
			texts[string(m.Content)] = true
			lines[stored[len(stored)-1]] = true
		}
	}
	for _, p := range talkers {
		for _, line := range p.answered {
			if !lines[line] {
				t.Errorf("rule P29: %s was answered, and is not there", line)
			}
		}
		if !slices.Equal(p.heard, stored) {
			t.Errorf("rule P45: %s has got %d messages, and %d are stored", p.user, len(p.heard), len(stored))
		}
	}
}

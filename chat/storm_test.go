//go:build unix

package chat_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// storm is a server, and clients in groups whose members see each other.
type storm struct {
	*rollcalltest.Server
	t        *testing.T
	chat     *chat.Service
	size     int           // of a group
	patience time.Duration // for what must come
	clients  []*stormClient
	byUser   map[string]*stormClient
	probes   []*probe      // one for each event loop
	read     atomic.Int64  // bytes, by clients
	slots    chan struct{} // of clients that connect
	logons   int
	faults   atomic.Int64
}

// Rules P20 to P23, P25 and P28 over sockets: clients in groups, in make soak 5,000 in groups of 100, are all cut at once and come back at once,
// several times, and in the end only one half of each group. A tenth is busy, and a tenth in Stealth, each time another one. Each client knows in
// the end what each fellow member is, is told no state twice, and nothing of other groups. Meanwhile each event loop answers. When all have
// gone nothing is left of them.
func TestStormOverSockets(t *testing.T) {
	clients, times, interval := 200, 2, 50*time.Millisecond
	s := &storm{t: t, size: 20, patience: testkit.Patience, byUser: make(map[string]*stormClient), slots: make(chan struct{}, 64)}
	if text := os.Getenv("SOAK_STORM_CLIENTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 100 || n%100 != 0 {
			t.Fatalf("SOAK_STORM_CLIENTS is %q, it is a multiple of 100", text)
		}
		clients, times, interval = n, 3, time.Second
		s.size, s.patience = 100, 5*time.Minute
	}
	s.start(clients, interval)
	before, routines := testkit.Heap().HeapAlloc, runtime.NumGoroutine()
	s.phase("the first logons", func() { s.come(s.clients, choice(0)) })
	for i := range times {
		choose, how := choice(1+i), "all are cut, and come back at once"
		if i == times-1 {
			choose = func(int) presence.State { return presence.Online }
		}
		if i%2 == 1 {
			how = "all are cut, and come back when the server knows it"
		}
		s.phase(how, func() {
			s.cut(s.clients)
			if i%2 == 1 {
				s.allHaveGone()
			}
			s.come(s.clients, choose)
		})
	}
	var half []*stormClient
	for _, c := range s.clients {
		if c.place%2 == 1 {
			half = append(half, c)
		}
	}
	peak := testkit.Heap().HeapAlloc
	s.phase("one half is cut", func() { s.cut(half) })
	s.phase("the half comes back", func() { s.come(half, choice(0)) })
	s.cut(s.clients)
	s.allHaveGone()

	after := testkit.Heap().HeapAlloc
	t.Logf("memory: %d KB before, %d KB with all online, the clients' own included, %d KB after all have gone; goroutines: %d before, %d after",
		before>>10, peak>>10, after>>10, routines, runtime.NumGoroutine())
	// What the store and the caches have of a user, and what is remembered of a session that has ended, for a client that comes back (rule 26).
	const ofUser, ofEnded = 1000, 140
	if most := before + 1<<20 + uint64(ofUser*clients+ofEnded*s.logons); after > most {
		t.Errorf("rule P28: %d bytes more are in use after the storms than before, and %d are allowed", after-before, most-before)
	}
}

// choice returns what the client of a number chooses to be.
func choice(round int) func(i int) presence.State {
	return func(i int) presence.State {
		switch (i + round) % 10 {
		case 0:
			return presence.Busy
		case 1:
			return presence.Stealth
		}
		return presence.Online
	}
}

// start starts the server, and makes the users and their groups.
func (s *storm) start(clients int, interval time.Duration) {
	t := s.t
	t.Helper()
	cfg := rollcall.Config{
		Engine: engine.Config{Loops: 2},
		Users:  usermgr.Config{HeartbeatTimeout: time.Hour, ClosedHistory: -1}, // the clients send no heartbeats
	}
	s.Server = rollcalltest.NewServer(t, cfg, func(srv *rollcall.Server) {
		s.chat = testkit.Must(chat.New(srv.Bridge, chat.Config{Store: chat.NewMemory(), StoreTimeout: s.patience,
			Presence: presence.Config{Interval: interval, StoreTimeout: s.patience}}))
		srv.Engine.Handle(probeType, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, goroutine()) })
	})
	t.Cleanup(func() {
		s.cut(s.clients)
		s.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		if err := s.chat.Close(ctx); err != nil {
			t.Errorf("the service did not end: %v", err)
		}
	})
	for i := range clients {
		c := &stormClient{storm: s, user: fmt.Sprintf("user%05d", i), number: i, group: i / s.size, place: i % s.size, seen: presence.Offline}
		s.clients, s.byUser[c.user] = append(s.clients, c), c
		testkit.Must(s.chat.CreateUser(t.Context(), chat.NewUser{UserID: c.user}))
	}
	for group := range slices.Chunk(s.clients, s.size) {
		id := testkit.Must(s.chat.CreateGroup(t.Context(), group[0].user, chat.Group{MaxMembers: s.size}))
		var others []string
		for _, c := range group[1:] {
			others = append(others, c.user)
		}
		if n := testkit.Must(s.chat.AddMembers(t.Context(), chat.Server, id, others)); n != len(others) {
			t.Fatalf("%d of %d users were added", n, len(others))
		}
	}
	s.probe(cfg.Engine.Loops)
}

// phase has something happen, waits until all clients know what is right, and says what that took.
func (s *storm) phase(what string, happens func()) {
	s.t.Helper()
	for _, p := range s.probes {
		p.take()
	}
	told, read, used, stalls, began := s.chat.Presence().Stats(), s.read.Load(), testkit.ProcessorTime(), s.Engine.Stats().Stalls, time.Now()
	happens()
	watching := s.isRight(what)
	took := time.Since(began)
	used = testkit.ProcessorTime() - used
	now := s.chat.Presence().Stats()
	s.t.Logf("%s: right after %v (all watch after %v), %d KB read, %v of processor time, %d pairs told in %d notices, %d stalls", what,
		took.Round(time.Millisecond), max(watching.Sub(began), 0).Round(time.Millisecond), (s.read.Load()-read)>>10, used.Round(time.Millisecond),
		now.Told-told.Told, now.Frames-told.Frames, s.Engine.Stats().Stalls-stalls)
	var answers []time.Duration
	for i, p := range s.probes {
		testkit.EventuallyIn(s.t, s.patience, fmt.Sprintf("%s: loop %d answers", what, i), p.hasAnswer)
		answers = append(answers, p.take()...)
	}
	slices.Sort(answers)
	n := len(answers)
	s.t.Logf("%s: the loops have answered %d times meanwhile, half within %v, 99 of 100 within %v, all within %v", what, n,
		answers[n/2].Round(time.Microsecond), answers[n*99/100].Round(time.Microsecond), answers[n-1].Round(time.Microsecond))
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// come has clients log on, all at once, and watch.
func (s *storm) come(clients []*stormClient, choose func(i int) presence.State) {
	s.logons += len(clients)
	for _, c := range clients {
		c.come(choose(c.number))
	}
}

// cut resets the connections of those clients that have one, and waits until the clients know it.
func (s *storm) cut(clients []*stormClient) {
	for _, c := range clients {
		c.cut()
	}
	for _, c := range clients {
		c.routine.Wait()
	}
}

// isRight waits until the clients that are there know what is right, and returns when the last of them began to watch.
func (s *storm) isRight(what string) (watching time.Time) {
	s.t.Helper()
	await := func(where string, holds func(*stormClient) bool) {
		s.t.Helper()
		next := 0
		all := testkit.ComesTrue(s.patience, func() bool {
			for next < len(s.clients) && holds(s.clients[next]) {
				next++
			}
			return next == len(s.clients) || s.faults.Load() > 0
		})
		if s.faults.Load() > 0 {
			s.t.FailNow()
		}
		if !all {
			s.t.Fatalf("%s: %s: %d of %d do, %s does not", what, where, next, len(s.clients), s.clients[next])
		}
	}
	// From here on a state that is told is the last one, so that a client that is right stays so.
	await("rule P22: each client watches", func(c *stormClient) bool { return !c.isThere() || !c.watchesSince().IsZero() })
	await("rule P19: each user has the state that was chosen", func(c *stormClient) bool { return s.chat.Presence().Visible(c.user) == c.seen })
	await("rule P21: each client knows what is right", (*stormClient).isRight)
	for _, c := range s.clients {
		if !c.isRight() {
			s.t.Fatalf("rule P21: %s: %s was right, and is not", what, c)
		}
		if at := c.watchesSince(); at.After(watching) {
			watching = at
		}
	}
	return watching
}

// allHaveGone waits until the server has nothing more of clients that were cut.
func (s *storm) allHaveGone() {
	s.t.Helper()
	testkit.EventuallyIn(s.t, s.patience, "rule 3: the server has no connection of theirs", func() bool { return s.Engine.Stats().Conns.Open == len(s.probes) })
	testkit.EventuallyIn(s.t, s.patience, "rule P28: presence has no user of theirs", func() bool {
		st := s.chat.Presence().Stats()
		return st.Users == len(s.probes) && st.Watching == 0 && st.Waiting == 0
	})
}

// fault reports what a client has seen that breaks a rule, a few times.
func (s *storm) fault(format string, a ...any) {
	if s.faults.Add(1) <= 10 {
		s.t.Errorf(format, a...)
	}
}

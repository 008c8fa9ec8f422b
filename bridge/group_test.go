package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// names returns the members of a group as "ann" for a user and "ann@" for a session of hers.
func names(g *bridge.Group) string {
	var all []string
	for _, m := range g.Members() {
		all = append(all, nameOf(m))
	}
	return strings.Join(all, " ")
}

// has reports whether a user or a session is a member.
func has(g *bridge.Group, m bridge.Member) bool {
	return slices.ContainsFunc(g.Members(), func(o bridge.Member) bool { return o.Conn == m.Conn && (m.Conn != nil || o.UserID == m.UserID) })
}

func nameOf(m bridge.Member) string {
	if m.Conn != nil {
		return m.UserID + "@"
	}
	return m.UserID
}

// connFrom returns the connection of a client's session.
func (s *server) connFrom(c *rawClient) *engine.Conn {
	s.t.Helper()
	for conn := range s.engine.Conns() {
		if conn.RemoteAddr().String() == c.conn.LocalAddr().String() {
			return conn
		}
	}
	s.t.Fatalf("client %s has no connection", c.name)
	return nil
}

func mustJoin(t testing.TB, g *bridge.Group, users ...string) {
	t.Helper()
	for _, u := range users {
		if err := g.Join(bridge.Member{UserID: u}); err != nil {
			t.Fatalf("%s cannot join: %v", u, err)
		}
	}
}

func mustSend(t testing.TB, g *bridge.Group, text string, want int) {
	t.Helper()
	if n, err := g.Send(push, []byte(text)); n != want || err != nil {
		t.Fatalf("%q went to %d connections, %v; want %d", text, n, err, want)
	}
}

// Rule 28: a user who is a member has the group's messages on all sessions, a session that is one has them by itself, a connection
// that is both has them once, and who is excepted has none.
func TestAGroupSendsToUsersAndSessions(t *testing.T) {
	s := serve(t, options{users: usermgr.Config{Devices: usermgr.Devices{MaxSessions: 3}}})
	ann1, ann2, bob1, bob2 := s.logOn("ann"), s.logOn("ann"), s.logOn("bob"), s.logOn("bob")
	g := s.bridge.Group("room")
	mustSend(t, g, "nobody is there", 0)
	mustJoin(t, g, "ann", "ann")
	for range 2 {
		if err := g.Join(bridge.Member{Conn: s.connFrom(bob1)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Join(bridge.Member{Conn: s.connFrom(ann1)}); err != nil {
		t.Fatal(err)
	}
	if got := names(g); got != "ann ann@ bob@" {
		t.Errorf("the members are %s", got)
	}
	for m, want := range map[bridge.Member]bool{
		{UserID: "ann"}: true, {UserID: "bob"}: false, {UserID: "carl"}: false,
		{Conn: s.connFrom(bob1)}: true, {Conn: s.connFrom(ann2)}: false,
	} {
		if has(g, m) != want || has(s.bridge.Group("other"), m) {
			t.Errorf("%+v, a member: want %v", m, want)
		}
	}
	ann3 := s.logOn("ann")
	mustSend(t, s.bridge.Group("room"), "all", 4)
	m := &protocol.Message{Type: push, UserID: "ann", Body: []byte("from ann")}
	for _, c := range []struct {
		except bridge.Member
		want   int
	}{{bridge.Member{UserID: "ann"}, 1}, {bridge.Member{Conn: s.connFrom(ann1)}, 3}} {
		if n, err := g.SendMessage(m, nil, c.except); n != c.want || err != nil {
			t.Errorf("a message went to %d, %v; want %d", n, err, c.want)
		}
	}
	if !g.Leave(bridge.Member{UserID: "ann"}) || g.Leave(bridge.Member{UserID: "ann"}) { // her first session stays a member by itself
		t.Error("Leave tells whether there was a member")
	}
	mustSend(t, g, "ann has left", 2)
	if !g.Leave(bridge.Member{Conn: s.connFrom(ann1)}) || g.Leave(bridge.Member{Conn: s.connFrom(ann1)}) {
		t.Error("Leave tells whether there was a member")
	}
	mustSend(t, g, "her session, too", 1)
	if _, err := g.Send(protocol.TypePush, nil); err == nil {
		t.Error("Send takes a type of the system's")
	}
	for _, c := range []struct {
		client *rawClient
		texts  []string
	}{
		{ann1, []string{"all", "ann has left"}},
		{ann2, []string{"all", "from ann"}},
		{ann3, []string{"all", "from ann"}},
		{bob1, []string{"all", "from ann", "from ann", "ann has left", "her session, too"}},
		{bob2, nil},
	} {
		for _, text := range c.texts {
			c.client.expect(push, text)
		}
		c.client.ask("no more")
	}
}

// Rule 28: who goes offline leaves by itself, in the grace not yet; a session that ends leaves by itself.
func TestWhoGoesOfflineLeavesTheGroup(t *testing.T) {
	for _, grace := range []time.Duration{0, 50 * time.Millisecond} {
		t.Run(fmt.Sprint(grace), func(t *testing.T) {
			s := serve(t, options{users: usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}, OfflineGrace: grace}})
			g, other := s.bridge.Group("room"), s.bridge.Group("other")
			left := make(chan string, 8)
			g.Subscribe(bridge.GroupEvents{Left: func(m bridge.Member, offline bool) { left <- fmt.Sprint(nameOf(m), " ", offline) }})
			ann1, ann2 := s.logOn("ann"), s.logOn("ann")
			s.logOn("bob")
			mustJoin(t, g, "ann", "bob")
			mustJoin(t, other, "ann")
			if err := g.Join(bridge.Member{Conn: s.connFrom(ann1)}); err != nil {
				t.Fatal(err)
			}
			ann1.reset()
			if got := receive(t, "the session leaves", left); got != "ann@ true" {
				t.Errorf("%s left", got)
			}
			mustSend(t, g, "ann has one session", 2)
			ann2.reset()
			if got := receive(t, "ann leaves", left); got != "ann true" {
				t.Errorf("%s left", got)
			}
			if got := names(g); got != "bob" {
				t.Errorf("the members are %s", got)
			}
			eventually(t, "she has left the other group too", func() bool { return names(other) == "" })
			s.logOn("ann")
			mustSend(t, g, "ann is no member", 1)
			if err := g.Join(bridge.Member{UserID: "carl"}); !errors.Is(err, protocol.UserOffline) {
				t.Errorf("a user who is offline can join: %v", err)
			}
			g.Leave(bridge.Member{UserID: "bob"})
			if got := receive(t, "bob leaves", left); got != "bob false" {
				t.Errorf("%s left", got)
			}
		})
	}
}

// Rule 28: who logs on again stays a member, and misses nothing: what the old session does not get the new one does.
func TestWhoLogsOnAgainStaysInTheGroup(t *testing.T) {
	s := newServer(t, options{})
	g := s.bridge.Group("room")
	send := func(text string) { _, _ = g.Send(push, []byte(text)) }
	s.users.Subscribe(usermgr.Events{
		PushedOut:    func(usermgr.SessionInfo, usermgr.Address) { send("in PushedOut") },
		Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { send("in Disconnected") },
		Connected:    func(usermgr.SessionInfo) { send("in Connected") },
	})
	s.start()
	old := s.logOn("ann")
	mustJoin(t, g, "ann")
	s.users.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { send("and in the last Connected") }})
	next := s.logOn("ann")
	old.expect(push, "in PushedOut")
	got := []string{string(old.receive().Body)}
	if got[0] != "in Disconnected" { // Disconnected's own subscribers come one after the other
		got = nil
	}
	for _, text := range []string{"in Disconnected", "in Connected", "and in the last Connected"}[len(got):] {
		next.expect(push, text)
	}
	if got := names(g); got != "ann" {
		t.Errorf("the members are %q", got)
	}
	mustSend(t, g, "afterwards", 1)
	next.expect(push, "afterwards")
}

// Rule 28: a user within the grace is a member without a session, and gets what is sent from the return on, in Connected
// already, behind the answer to the Logon.
func TestWhoReturnsWithinTheGraceIsStillAMember(t *testing.T) {
	s := newServer(t, options{users: usermgr.Config{OfflineGrace: time.Hour}})
	g := s.bridge.Group("room")
	s.users.Subscribe(usermgr.Events{Connected: func(i usermgr.SessionInfo) {
		if err := g.Join(bridge.Member{UserID: i.UserID}); err != nil {
			t.Error(err)
		}
		if err := g.Join(bridge.Member{Conn: s.engine.Conn(i.Address.Conn)}); err != nil {
			t.Error(err)
		}
		_, _ = g.Send(push, []byte("welcome"))
	}})
	s.start()
	ann := s.logOn("ann")
	ann.expect(push, "welcome")
	ann.reset()
	eventually(t, "her session is gone", func() bool { return len(s.users.Links("ann")) == 0 && names(g) == "ann" })
	mustSend(t, g, "she is away", 0)
	if err := g.Join(bridge.Member{UserID: "ann"}); err != nil {
		t.Errorf("in the grace: %v", err)
	}
	s.logOn("ann").expect(push, "welcome")
	_, err := s.users.Kick("ann", nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "she has left", func() bool { return names(g) == "" })
}

// Rule 28: events come in the order in which they took effect, without a lock: a handler may call the group. One that panics, or
// ends its goroutine, is followed by the next.
func TestEventsOfAGroupComeInOrder(t *testing.T) {
	s := serve(t, options{})
	s.logOn("ann")
	s.logOn("bob")
	g := s.bridge.Group("room")
	var mu sync.Mutex
	var got []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprintf(format, args...))
	}
	stop := g.Subscribe(bridge.GroupEvents{Joined: func(m bridge.Member) {
		if m.UserID == "ann" {
			mustJoin(t, g, "bob")
			_, _ = g.Send(push, nil)
			panic("the test's")
		}
		g.Leave(bridge.Member{UserID: "ann"})
		g.Leave(bridge.Member{UserID: "bob"})
		runtime.Goexit()
	}})
	g.Subscribe(bridge.GroupEvents{
		Joined: func(m bridge.Member) { note("+%s", m.UserID) },
		Left:   func(m bridge.Member, _ bool) { note("-%s", m.UserID) },
	})
	mustJoin(t, g, "ann")
	want := []string{"+ann", "+bob", "-ann", "-bob"}
	all := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
	eventually(t, "all is told", func() bool { return len(all()) == len(want) })
	stop()
	stop()
	mustJoin(t, g, "ann")
	want = append(want, "+ann")
	eventually(t, "all is told", func() bool { return len(all()) == len(want) })
	if got := all(); !slices.Equal(got, want) {
		t.Errorf("it was told %v, want %v", got, want)
	}
}

// Rule 28: the end of the engine's Run waits until the events of its sessions' ends have been told.
func TestRunWaitsForTheEventsOfGroups(t *testing.T) {
	s := serve(t, options{})
	s.logOn("ann")
	g := s.bridge.Group("room")
	told := false
	g.Subscribe(bridge.GroupEvents{Left: func(bridge.Member, bool) {
		testkit.BeSlow() // a Run that does not wait returns now
		told = true
	}})
	mustJoin(t, g, "ann")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if !told {
		t.Error("Run returned before a group's event was told")
	}
}

// Rule 16: where a group's handler does not return in time, Run says that not everything has ended.
func TestRunSaysThatAGroupsHandlerIsStuck(t *testing.T) {
	s := serve(t, options{engine: engine.Config{Timeouts: engine.Timeouts{Stop: 100 * time.Millisecond}}})
	s.logOn("ann")
	g := s.bridge.Group("room")
	release := make(chan struct{})
	defer close(release)
	g.Subscribe(bridge.GroupEvents{Left: func(bridge.Member, bool) { <-release }})
	mustJoin(t, g, "ann")
	if err := s.stop(); !errors.Is(err, engine.ErrStopTimeout) {
		t.Errorf("Run returned %v", err)
	}
}

// Rule 28: a group that has no members and no subscribers is not kept, and neither is a member that is in no group. A *Group from
// before works on.
func TestAGroupThatIsEmptyIsNotKept(t *testing.T) {
	s := serve(t, options{})
	kept := func(groups, members int) {
		t.Helper()
		if g, m := s.bridge.Groups(); g != groups || m != members {
			t.Fatalf("%d groups and %d members are kept, want %d and %d", g, m, groups, members)
		}
	}
	first, second := s.bridge.Group("room"), s.bridge.Group("room")
	kept(0, 0)
	if err := first.Join(bridge.Member{UserID: "carl"}); err == nil {
		t.Error("carl is offline")
	}
	kept(0, 0)
	ann := s.logOn("ann")
	mustJoin(t, second, "ann")
	kept(1, 1)
	mustSend(t, first, "one", 1)
	if !first.Leave(bridge.Member{UserID: "ann"}) {
		t.Error("ann is a member, whichever *Group is asked")
	}
	kept(0, 0)
	mustJoin(t, first, "ann")
	mustSend(t, second, "two", 1)
	ann.expect(push, "one")
	ann.expect(push, "two")
	stop := second.Subscribe(bridge.GroupEvents{Left: func(bridge.Member, bool) {}})
	ann.reset()
	eventually(t, "ann has left", func() bool { return names(first) == "" })
	stop()
	eventually(t, "nothing is kept", func() bool { g, m := s.bridge.Groups(); return g == 0 && m == 0 })
}

// plainManager has what a user manager must have, and no more.
type plainManager struct{ usermgr.UserManager }

// Rule 28: groups need to be told of sessions.
func TestGroupsNeedAManagerThatTells(t *testing.T) {
	users := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1}))
	t.Cleanup(func() {
		if err := users.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	b := testkit.Must(bridge.Attach(testkit.Must(engine.New(engine.Config{})), plainManager{users}, nil, bridge.Config{}))
	g := b.Group("room")
	if err := g.Join(bridge.Member{UserID: "ann"}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Join returned %v", err)
	}
	if err := g.Join(bridge.Member{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Join of nobody returned %v", err)
	}
	if g.Leave(bridge.Member{UserID: "ann"}) || len(g.Members()) > 0 {
		t.Error("the group has members")
	}
}

// Rules 15 and 28: a member that does not keep up is dealt with by the policy, when the group's lock is free: what runs then
// may send to the group. The others get everything.
func TestASlowMemberOfAGroupHoldsUpNobody(t *testing.T) {
	for _, policy := range []engine.SlowPolicy{engine.SlowClose, engine.SlowDropNewest, engine.SlowDropOldest} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			s := serve(t, options{engine: engine.Config{Limits: engine.Limits{MaxOutbound: 1 << 20}}})
			s.logOn("slow")
			fast := s.logOn("fast")
			g := s.bridge.Group("room")
			mustJoin(t, g, "slow", "fast")
			var slow *engine.Conn
			for c := range s.bridge.ConnsOf("slow") {
				slow = c
			}
			asked := make(chan struct{}, 1) // the client does not answer: done runs when the connection closes
			err := slow.RequestFunc(push, nil, time.Hour, func(*protocol.Message, error) {
				_, _ = g.Send(push, []byte("it has gone"))
				asked <- struct{}{}
			})
			if err != nil {
				t.Fatal(err)
			}
			body := make([]byte, 200<<10)
			missed := false
			for i := 0; !missed; i++ {
				if i == 10_000 {
					t.Fatal("the slow member keeps up")
				}
				m := &protocol.Message{Type: push, Body: body}
				_, err := g.SendMessage(m, &engine.SendOptions{Policy: policy,
					Report: func(c *engine.Conn, err error) {
						missed = true
						if c != slow || policy == engine.SlowClose && !errors.Is(err, engine.ErrClosed) || policy != engine.SlowClose && !errors.Is(err, engine.ErrDropped) {
							t.Errorf("connection %d of %s was missed: %v", c.ID(), c.UserID(), err)
						}
						_, _ = g.Send(push, []byte("missed"))
					}})
				if err != nil {
					t.Fatal(err)
				}
				if policy == engine.SlowDropOldest && i > 100 { // which drops without an error
					missed = true
				}
				if m := fast.receive(); len(m.Body) != len(body) {
					t.Fatalf("the fast member received %d bytes", len(m.Body))
				}
			}
			switch policy {
			case engine.SlowClose:
				receive(t, "the end of the slow member's request", asked)
				a, b := fast.receive(), fast.receive()
				if got := []string{string(a.Body), string(b.Body)}; !slices.Contains(got, "missed") || !slices.Contains(got, "it has gone") {
					t.Errorf("the fast member received %q", got)
				}
				eventually(t, "it has left", func() bool { return names(g) == "fast" })
			case engine.SlowDropNewest:
				fast.expect(push, "missed")
			}
		})
	}
}

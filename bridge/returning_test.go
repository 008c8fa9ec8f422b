package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// returningClients come back all at once.
const returningClients = 2000

// meter counts who is in at a time, and writes down in which order they came.
type meter struct {
	in, most atomic.Int32
	mu       sync.Mutex
	order    []int
}

// work takes 2 ms.
func (m *meter) work(userID string) {
	n := m.in.Add(1)
	defer m.in.Add(-1)
	for most := m.most.Load(); n > most && !m.most.CompareAndSwap(most, n); most = m.most.Load() {
	}
	i, _ := strconv.Atoi(userID)
	m.mu.Lock()
	m.order = append(m.order, i)
	m.mu.Unlock()
	time.Sleep(2 * time.Millisecond)
}

// check fails unless places were in use at once, and no client was overtaken by half of them all.
func (m *meter) check(t *testing.T, what string, places int32) {
	t.Helper()
	if n := m.most.Load(); n != places {
		t.Errorf("%d %s ran at a time, %d is the most", n, what, places)
	}
	if len(m.order) != returningClients {
		t.Fatalf("%d %s ran for %d clients", len(m.order), what, returningClients)
	}
	furthest := 0
	for turn, i := range m.order {
		furthest = max(furthest, turn-i)
	}
	if furthest > returningClients/2 { // goroutines whose turn it is begin in the order of the scheduler's
		t.Errorf("%s: somebody was overtaken by %d others", what, furthest)
	}
	t.Logf("%s: nobody was overtaken by more than %d others", what, furthest)
}

// meteredManager is a user manager that asks others before it answers.
type meteredManager struct {
	*usermgr.Manager
	meter
}

func (m *meteredManager) Register(ctx context.Context, l usermgr.Logon, link usermgr.Link) (usermgr.Session, error) {
	m.work(l.UserID)
	return m.Manager.Register(ctx, l, link)
}

// Rule 13: a storm of returning clients queues, in the order in which they came, for the authenticators, or without any
// for the user manager. No more than the bound are at work at a time, and everybody comes in.
func TestReturningClientsQueue(t *testing.T) {
	const places = 16
	for _, c := range []struct {
		name string
		cfg  bridge.Config
	}{
		{"for the authenticators", bridge.Config{MaxAuthenticating: places}},
		{"for the user manager", bridge.Config{MaxLogons: places}},
		{"for both", bridge.Config{MaxAuthenticating: places / 2, MaxLogons: places}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var authenticators meter
			var auth bridge.Authenticator
			if c.cfg.MaxAuthenticating > 0 {
				auth = func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
					authenticators.work(l.UserID)
					return bridge.Identity{UserID: l.UserID}, nil
				}
			}
			c.cfg.LogonDeadline = patience
			users := &meteredManager{Manager: testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1, Logger: zap.NewNop()}))}
			t.Cleanup(func() { _ = users.Close(context.Background()) })
			var online atomic.Int64
			users.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { online.Add(1) }})
			s := newServerFor(t, options{engine: engine.Config{Loops: 1}, bridge: c.cfg, auth: auth}, nil, users)
			s.start()

			clients := make([]*rawClient, returningClients)
			for i := range clients {
				client, err := dialRaw(s.addr())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { client.conn.Close() })
				clients[i] = client
			}
			for i, client := range clients {
				if err := client.write(logonMessage(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
			for i, client := range clients {
				if m, err := client.read(); err != nil || !m.IsReply() || m.DestUserID != fmt.Sprint(i) {
					t.Fatalf("client %d received %+v, %v", i, m, err)
				}
			}
			if n := online.Load(); n != returningClients {
				t.Errorf("%d are online", n)
			}
			if c.cfg.MaxAuthenticating > 0 {
				authenticators.check(t, "authenticators", int32(c.cfg.MaxAuthenticating))
			}
			if c.cfg.MaxLogons > 0 && c.cfg.MaxAuthenticating == 0 {
				users.check(t, "logons", places)
			}
			if n := users.most.Load(); c.cfg.MaxLogons > 0 && n > places {
				t.Errorf("%d logons were with the user manager at a time", n)
			}
			for _, client := range clients { // or they would be told one by one
				client.conn.Close()
			}
			eventually(t, "everybody is gone", func() bool { return s.engine.Stats().Conns.Open == 0 })
		})
	}
}

// Who waits for the turn of its logon is told so at the deadline, and takes no turn then.
func TestWaitingForALogonsTurnEndsAtTheDeadline(t *testing.T) {
	g := newGate()
	s := serve(t, options{auth: g.authenticate, bridge: bridge.Config{MaxLogons: 1, LogonDeadline: 150 * time.Millisecond}})
	stuck := s.dial()
	stuck.send(logonMessage("slow"))
	eventually(t, "the authenticator is at it", func() bool { return g.waiting.Load() == 1 })
	behind := s.dial()
	behind.send(logonMessage("ann"))
	stuck.expectRefused(protocol.InternalError)
	behind.expectRefused(protocol.InternalError)
	g.open()
	eventually(t, "the authenticator has returned", func() bool { return g.waiting.Load() == 0 })
	s.logOn("bob").ask("in")
	if n := g.asked.Load(); n != 2 {
		t.Errorf("%d authenticators were asked", n)
	}
}

// waitingClaims give up the place of slow's logon, which waits for another server until it is free.
type waitingClaims struct {
	waits, free chan struct{}
}

func (c waitingClaims) Claim(ctx context.Context, r usermgr.ClaimRequest) (usermgr.Claimed, error) {
	if r.Logon.UserID == "slow" {
		seam.LeavePlace(ctx)
		close(c.waits)
		<-c.free
	}
	return usermgr.Claimed{}, nil
}

func (c waitingClaims) Release(string, uuid.UUID, uint64, usermgr.SessionInfo) {}

// Rule 13: a logon that waits for other servers holds no place of MaxLogons.
func TestALogonThatWaitsForOtherServersHoldsNoPlace(t *testing.T) {
	claims := waitingClaims{make(chan struct{}), make(chan struct{})}
	s := serve(t, options{users: usermgr.Config{Claims: claims}, bridge: bridge.Config{MaxLogons: 1}})
	free := sync.OnceFunc(func() { close(claims.free) })
	t.Cleanup(free)
	slow := s.dial()
	slow.send(logonMessage("slow"))
	testkit.Receive(t, "the logon waits", claims.waits)
	s.logOn("ann").ask("in")
	free()
	if m := slow.receive(); m.Type != protocol.TypeLogon || m.DestUserID != "slow" {
		t.Errorf("the logon that has waited was answered with %+v", m)
	}
}

// The bridge's refusals count as the engine's failed log-ons: Unauthorized does, a failure of the server does not.
func TestFailedLogonsBan(t *testing.T) {
	s := serve(t, options{engine: engine.Config{Bans: engine.Bans{FailedLogons: 3}},
		auth: tokenIsUser})
	for _, c := range []struct {
		token string
		code  protocol.CloseCode
		bans  int
	}{
		{"broken", protocol.InternalError, 0}, {"broken", protocol.InternalError, 0}, {"broken", protocol.InternalError, 0}, {"wrong", protocol.Unauthorized, 0}, {"wrong", protocol.Unauthorized, 0}, {"wrong", protocol.Unauthorized, 1},
	} {
		client := s.dial()
		client.send(logonMessage("ann", "token", c.token))
		client.expectRefused(c.code)
		if n := s.engine.Stats().Bans; n != c.bans {
			t.Fatalf("after %+v %d bans are in force", c, n)
		}
	}
	banned := s.dial()
	if m, err := banned.read(); err == nil {
		t.Errorf("a banned client received %+v", m)
	}
}

// tokenIsUser lets in whose token is the name, and cannot decide about the token "broken".
func tokenIsUser(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
	switch l.Token {
	case l.UserID:
		return bridge.Identity{UserID: l.UserID}, nil
	case "broken":
		return bridge.Identity{}, errors.New("the database is down")
	}
	return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "wrong token"}
}

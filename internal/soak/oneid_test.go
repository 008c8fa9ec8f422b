//go:build linux

package soak

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/contract"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// judged is a server in this process, whose manager's doings are held against the contract when it ends.
type judged struct {
	t      testing.TB
	engine *engine.Engine
	bridge *bridge.Bridge
	users  *contract.Manager
	at     target
	end    func()

	connected, pushedOut, ignored atomic.Int64
}

func newJudged(t testing.TB, mode usermgr.RelogonMode, e engine.Config) *judged {
	t.Helper()
	returnsTheDescriptors(t)
	leaks := goleak.IgnoreCurrent()
	nop := zap.NewNop()
	e.Listeners, e.Loops, e.Logger = []engine.Listener{{Addr: "127.0.0.1:0"}}, 2, nop
	s := &judged{t: t, engine: testkit.Must(engine.New(e)),
		users: contract.New(usermgr.Config{RelogonMode: mode, HeartbeatTimeout: -1, Logger: nop})}
	s.bridge = testkit.Must(bridge.Attach(s.engine, s.users, nil, bridge.Config{LogonDeadline: patience, RelogonBurst: -1, Logger: nop}))
	s.users.Subscribe(usermgr.Events{
		Connected: func(usermgr.SessionInfo) { s.connected.Add(1) },
		PushedOut: func(usermgr.SessionInfo, usermgr.Address) { s.pushedOut.Add(1) },
		Ignored:   func(string, usermgr.Address) { s.ignored.Add(1) },
	})
	s.engine.Handle(echo, func(c *engine.Conn, m *protocol.Message) error {
		defer s.users.Message(c.ID())()
		return c.Reply(m, m.Body)
	})
	if err := s.engine.Listen(); err != nil {
		t.Fatal(err)
	}
	s.at.Addr = s.engine.Addrs()[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.engine.Run(ctx) }()
	s.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		closing, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.users.Close(closing); err != nil {
			t.Errorf("closing the manager: %v", err)
		}
		if !t.Failed() { // first, because a goroutine that is late may have something to do yet
			if err := noneLeft(leaks); err != nil {
				t.Error(err)
			}
		}
		s.users.AtRest()
		if err := s.users.Check(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.end)
	return s
}

// inBothModes runs a test in ReplaceOld and in IgnoreNew.
func inBothModes(t *testing.T, test func(t *testing.T, mode usermgr.RelogonMode)) {
	t.Run("ReplaceOld", func(t *testing.T) { test(t, usermgr.ReplaceOld) })
	t.Run("IgnoreNew", func(t *testing.T) { test(t, usermgr.IgnoreNew) })
}

// Rules 3 to 7: a thousand connections log on under one ID at the same moment, and a thousand more when one of the first
// has it. Of each wave one connection is left (ReplaceOld), or the first of all stays (IgnoreNew), and everybody else is
// told why not.
func TestThousandsLogOnUnderOneID(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode usermgr.RelogonMode) {
		wave := sized(200, 1000, 1000)
		s := newJudged(t, mode, engine.Config{})
		other := online(t, s.at, "other")
		began := time.Now()
		all := make([]*peer, 0, 2*wave)
		told := make(chan error, 2*wave) // what a connection ended with
		for range 2 {
			all = append(all, s.wave(wave, told)...)
			if err := other.ask(1); err != nil {
				t.Fatalf("the other user: %v", err)
			}
		}
		counts := make(map[protocol.CloseCode]int)
		for range len(all) - 1 {
			var ce *protocol.CloseError
			if err := <-told; !errors.As(err, &ce) {
				t.Fatalf("a connection ended with %v", err)
			}
			counts[ce.Code]++
		}
		t.Logf("2 × %d logons took %v: %v", wave, time.Since(began).Round(time.Millisecond), counts)
		left := s.users.Links("one")
		if len(left) != 1 || s.users.Count() != 2 {
			t.Fatalf("the user has %d sessions, and %d users are online", len(left), s.users.Count())
		}
		for _, p := range all {
			if p.LocalAddr().String() == left[0].Address().String() {
				_ = p.SetReadDeadline(time.Now()) // its reader, which waits for an end, gives up
			}
		}
		var ce *protocol.CloseError
		if err := <-told; errors.As(err, &ce) {
			t.Fatalf("the connection that is left was told %v", err)
		}
		want, refused := protocol.PushedOut, s.pushedOut.Load()
		if mode == usermgr.IgnoreNew {
			want, refused = protocol.AlreadyLoggedOn, s.ignored.Load()
		}
		if counts[want] != len(all)-1 || int(refused) != len(all)-1 {
			t.Errorf("the connections were told %v, the application of %d", counts, refused)
		}
		for _, p := range all {
			p.reset()
		}
		eventually(t, "the user is offline", func() bool { return s.users.Count() == 1 })
		_ = other.Close()
		s.end()
	})
}

// wave logs a user on many times at once, and returns when one connection of the wave, or of an earlier one, is online
// and all others know. told gets what each connection ends with.
func (s *judged) wave(n int, told chan<- error) []*peer {
	s.t.Helper()
	peers := make([]*peer, n)
	for i := range peers {
		p, err := dial(s.at)
		if err != nil {
			s.t.Fatal(err)
		}
		peers[i] = p
	}
	start := make(chan struct{})
	var answered sync.WaitGroup
	for _, p := range peers {
		answered.Add(1)
		go func() {
			<-start
			_, err := p.logOn("one")
			answered.Done()
			if err == nil {
				var code protocol.CloseCode
				if code, err = p.hearOut(); code != 0 {
					err = &protocol.CloseError{Code: code}
				}
			}
			told <- err
		}()
	}
	close(start)
	answered.Wait()
	return peers
}

// Rules 6, 7 and 14: the client of the old session is frozen, with as much on the way to it as the system takes. The new
// logon does not wait for it: at once where it replaces (ReplaceOld), with the session's ID where it would be refused.
func TestFrozenOldSessionIsReplacedAtOnce(t *testing.T) {
	inBothModes(t, func(t *testing.T, mode usermgr.RelogonMode) {
		s := newJudged(t, mode, engine.Config{Timeouts: engine.Timeouts{Write: time.Minute, Close: sized(200*time.Millisecond, 500*time.Millisecond, 5*time.Second)}, Limits: engine.Limits{MaxOutbound: 64 << 20}})
		old, err := dial(s.at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { old.reset() })
		_ = old.tcp.SetReadBuffer(4096)
		session, err := old.logOn("one")
		if err != nil {
			t.Fatal(err)
		}
		for range 256 { // more than the sockets hold
			if err := s.bridge.Send("one", push, make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		if mode == usermgr.IgnoreNew {
			var ce *protocol.CloseError
			p, err := dial(s.at)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = p.logOn("one"); !errors.As(err, &ce) || ce.Code != protocol.AlreadyLoggedOn {
				t.Errorf("a logon without the session's ID: %v", err)
			}
			p.reset()
		}
		p := online(t, s.at, "one", protocol.FieldSession, session)
		if err := p.ask(1); err != nil {
			t.Error(err)
		}
		t.Logf("the new session was served after %v", time.Since(began).Round(time.Millisecond))
		if c, o := s.connected.Load(), s.pushedOut.Load(); c != 2 || o != 1 {
			t.Errorf("%d Connected and %d PushedOut", c, o)
		}
		eventually(t, "the old connection is given up on", func() bool { return s.engine.Stats().Conns.Open == 1 })
		_ = p.Close()
		s.end()
	})
}

// Rules 3, 4 and 6: two clients of one ID that do what they must not, and log on again when they are pushed out, push each
// other out for ever. That is their business: every round is told in order, and other users do not suffer.
func TestTwoClientsThatReconnectOnPushOut(t *testing.T) {
	s := newJudged(t, usermgr.ReplaceOld, engine.Config{})
	h := startHealthy(t, s.at, 1)
	rounds := int64(sized(200, 1000, 10_000))
	began := time.Now()
	var fight sync.WaitGroup
	for range 2 {
		fight.Go(func() {
			for s.connected.Load() < rounds {
				p, err := dial(s.at)
				if err == nil {
					_, err = p.logOn("one")
				}
				if err == nil {
					_ = p.ask(1)
					if s.connected.Load() < rounds {
						_, err = p.hearOut()
					}
				}
				var ce *protocol.CloseError
				if err != nil && !errors.As(err, &ce) {
					t.Errorf("a client that was to be pushed out: %v", err)
				}
				if p != nil {
					p.reset()
				}
				if err != nil {
					return
				}
			}
			// The other one may wait to be pushed out.
			if p, err := dial(s.at); err == nil {
				_, _ = p.logOn("one")
				p.reset()
			}
		})
	}
	fight.Wait()
	t.Logf("%d logons, %d push-outs in %v; a healthy user meanwhile: %v", s.connected.Load(), s.pushedOut.Load(),
		time.Since(began).Round(time.Millisecond), h.p99())
	h.stop()
	eventually(t, "everybody is gone", func() bool { return s.users.Count() == 0 && s.engine.Stats().Conns.Open == 0 })
	if n := s.pushedOut.Load(); n < rounds/2 {
		t.Errorf("%d push-outs", n)
	}
	s.end()
}

//go:build linux

package soak

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
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

// Rules 3 to 7, 10, 12, 14 to 17 and 26: seeded stories of a server and its clients, over real sockets. What passes through the
// user manager is held against the contract, and what each client got against what it asked, to the last byte.
func TestStress(t *testing.T) {
	from, to := stressSeeds(t)
	cert := newCertificate(t)
	var failed []string
	for seed := from; seed <= to; seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			told := drawStory(seed)
			if testing.Verbose() {
				t.Log(told)
			}
			s := newStress(t, told, cert)
			defer func() {
				if t.Failed() {
					failed = append(failed, fmt.Sprintf("seed %d: %s", seed, s.complaint()))
				}
			}()
			s.run()
		})
	}
	if len(failed) > 0 { // said again where the output ends, because what is long may be cut
		t.Logf("SOAK_SEEDS=%d-%d go test -race -v -run '^TestStress$' ./internal/soak shows the stories of:\n%s", from, to, strings.Join(failed, "\n"))
	}
}

// stressSeeds are the seeds that SOAK_SEEDS names: 1000 for 1 to 1000, 17-20 for 17 to 20.
func stressSeeds(t *testing.T) (from, to uint64) {
	named := os.Getenv("SOAK_SEEDS")
	if named == "" {
		return 1, sized[uint64](15, 40, 1000)
	}
	first, last, both := strings.Cut(named, "-")
	if !both {
		first, last = "1", named
	}
	from, err := strconv.ParseUint(first, 10, 32)
	to, err2 := strconv.ParseUint(last, 10, 32)
	if err := errors.Join(err, err2); err != nil {
		t.Fatalf("SOAK_SEEDS is %q: %v", named, err)
	}
	return from, to
}

// stress is a server while a story is told.
type stress struct {
	t      *testing.T
	story  *story
	engine *engine.Engine
	bridge *bridge.Bridge
	users  *contract.Manager
	at     target
	cancel context.CancelFunc
	ended  chan error // what Run returns

	stopping atomic.Bool
	over     chan struct{} // closed when nothing goes on but clients that stay

	// Messages that were to be sent, and those that were taken; requests to clients that were taken, and answered.
	tried, taken, asked, answered atomic.Int64

	first atomic.Pointer[string] // complaint

	mu       sync.Mutex
	sessions map[string][]string // of each user, that clients were told of
	fates    map[string]*fate    // of sessions, by the addresses of their clients
	guests   []*heard
	pushed   uint32 // the number of the last push
}

// fate is what the events told of a session.
type fate struct {
	conn         uint64
	disconnected int
	code         protocol.CloseCode
	final        usermgr.SessionInfo
}

func newStress(t *testing.T, told *story, cert *certificate) *stress {
	t.Helper()
	nop := zap.NewNop()
	s := &stress{t: t, story: told, over: make(chan struct{}), ended: make(chan error, 1), sessions: make(map[string][]string), fates: make(map[string]*fate)}
	cfg := engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}, Loops: 2, Workers: told.workers, SlowPolicy: told.slow, Limits: engine.Limits{MaxOutbound: 256 << 20}, Logger: nop,
		Timeouts: engine.Timeouts{Write: -1, FirstMessage: 2 * patience, Handshake: 2 * patience, Stop: 2 * patience,
			Close: 2 * patience}} // longer than a test waits: no end may need it
	if told.tight {
		cfg.Limits.MaxOutbound = tightLimit
	}
	if told.secure {
		secure, err := cert.config()
		if err != nil {
			t.Fatal(err)
		}
		cfg.Listeners[0].TLS, s.at.CA = secure, cert.authority()
	}
	s.engine = testkit.Must(engine.New(cfg))
	s.users = contract.NewWith(told.policy, usermgr.Config{RelogonMode: told.relogon, OfflineGrace: told.grace, ReturnWins: told.returnWins,
		HeartbeatTimeout: -1, QuiesceTimeout: 2 * patience, Logger: nop})
	b := bridge.Config{LogonDeadline: 2 * patience, Logger: nop}
	var auth bridge.Authenticator
	if told.deciding > 0 {
		auth = func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
			takes(told.deciding)
			return bridge.Identity{UserID: l.UserID}, nil
		}
	}
	s.bridge = testkit.Must(bridge.Attach(s.engine, s.users, auth, b))
	s.users.Subscribe(s.handlers())
	s.engine.Handle(echo, s.answer)
	if err := s.engine.Listen(); err != nil {
		t.Fatal(err)
	}
	s.at.Addr = s.engine.Addrs()[0].String()
	return s
}

// run tells the story.
func (s *stress) run() {
	returnsTheDescriptors(s.t)
	leaks := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() { s.ended <- s.engine.Run(ctx) }()

	var all, busy sync.WaitGroup
	for _, visits := range s.story.clients {
		busy.Add(1)
		all.Go(func() {
			left := sync.OnceFunc(busy.Done)
			defer left()
			for i := range visits {
				if visits[i].end.how == byStaying && i == len(visits)-1 {
					left()
				}
				s.come(&visits[i])
			}
		})
	}
	busy.Go(s.act)
	if s.story.stopAfter > 0 {
		busy.Go(func() {
			takes(s.story.stopAfter)
			s.stop()
		})
	}
	busy.Wait()
	close(s.over)
	all.Wait()
	s.untilLeft()
	s.stop()
	select {
	case err := <-s.ended:
		if err != nil {
			s.trouble("Run returned %v", err)
		}
	case <-time.After(patience):
		s.giveUp("Run has not returned")
	}
	closing, cancelClosing := context.WithTimeout(context.Background(), patience)
	defer cancelClosing()
	if err := s.users.Close(closing); err != nil {
		s.trouble("closing the manager: %v", err)
	}
	if err := noneLeft(leaks); err != nil { // first, because a goroutine that is late may have something to do yet
		s.trouble("a goroutine is left: %v", err)
	}
	s.users.AtRest()
	if err := s.users.Check(); err != nil {
		for _, v := range contract.Violations(err) {
			s.trouble("%v", v)
		}
		s.t.Log(err)
	}
	s.judge()
}

// untilLeft waits until the server has nothing left of the clients.
func (s *stress) untilLeft() {
	if testkit.ComesTrue(patience, func() bool { return s.engine.Stats().Conns.Open == 0 }) {
		return
	}
	for _, h := range s.guests {
		if f := s.fates[h.remote]; f != nil && s.engine.Conn(f.conn) != nil {
			s.trouble("rule 14: a connection is left")
			s.t.Log(s.describe(h))
		}
	}
	s.giveUp("the server still has %d connections", s.engine.Stats().Conns.Open)
}

// takes has a deed or a handler take as long as the story tells.
func takes(d time.Duration) { time.Sleep(d) }

func (s *stress) stop() {
	s.stopping.Store(true)
	s.cancel()
}

// trouble is a complaint, which is short. What explains it is logged by itself.
func (s *stress) trouble(format string, args ...any) {
	complaint := fmt.Sprintf(format, args...)
	s.first.CompareAndSwap(nil, &complaint)
	s.t.Error(complaint)
}

// giveUp is trouble that ends the test.
func (s *stress) giveUp(format string, args ...any) {
	s.trouble(format, args...)
	s.t.FailNow()
}

// complaint returns the first one, in one line.
func (s *stress) complaint() string {
	first := s.first.Load()
	if first == nil {
		return "see above"
	}
	line := strings.Join(strings.Fields(*first), " ")
	return line[:min(len(line), 400)]
}

// answer is the server's message handler.
func (s *stress) answer(c *engine.Conn, m *protocol.Message) error {
	defer s.users.Message(c.ID())()
	if s.story.workers > 0 {
		takes(time.Duration(m.Body[0]) * takesUnit)
	}
	s.sent(c.Reply(m, cutFrom(m.ID, int(binary.BigEndian.Uint32(m.Body[1:])))))
	return nil
}

// sent counts a message that was to be sent.
func (s *stress) sent(err error) error {
	s.tried.Add(1)
	if err == nil {
		s.taken.Add(1)
	}
	return err
}

func (s *stress) handlers() usermgr.Events {
	pause := func() { takes(s.story.telling) }
	return usermgr.Events{
		Connected: func(i usermgr.SessionInfo) {
			s.mu.Lock()
			s.fates[i.Address.String()] = &fate{conn: i.Address.Conn}
			s.mu.Unlock()
			pause()
		},
		PushedOut: func(old usermgr.SessionInfo, _ usermgr.Address) {
			pause()
			if c := s.engine.Conn(old.Address.Conn); c != nil {
				_ = s.sent(c.Send(note, []byte("pushed out")))
			}
		},
		Disconnected: func(i usermgr.SessionInfo, why protocol.CloseCode) {
			s.mu.Lock()
			if f := s.fates[i.Address.String()]; f != nil {
				f.code, f.final = why, i
				f.disconnected++
			}
			s.mu.Unlock()
			pause()
		},
	}
}

// told keeps the ID of a session that a client was told.
func (s *stress) told(user, session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[user] = append(s.sessions[user], session)
}

// session returns the session with which a client comes back, or "".
func (s *stress) session(user string, back int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.sessions[user]
	if back == 0 || len(all) == 0 {
		return ""
	}
	return all[max(len(all)-back, 0)]
}

// act does the server's deeds.
func (s *stress) act() {
	for i, d := range s.story.deeds {
		takes(d.pause)
		text := fmt.Sprint("deed ", i)
		switch d.do {
		case kickUser:
			_, _ = s.users.Kick(d.user, &usermgr.KickOptions{Text: text, RevokeFor: d.revoke})
		case kickDevice:
			_, _ = s.users.Kick(d.user, &usermgr.KickOptions{Devices: []uint16{d.device}, Text: text, RevokeFor: d.revoke})
		case kickSession:
			_, _ = s.users.KickSession(s.session(d.user, 1), &usermgr.KickOptions{Text: text, RevokeFor: d.revoke})
		case unregister:
			_, _ = s.users.Kick(d.user, &usermgr.KickOptions{Text: text})
		case clears:
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_, _ = s.users.Clear(ended) // does not wait
		case pushes:
			for range d.times {
				body := s.pushBody(d.size)
				for c := range s.bridge.ConnsOf(d.user) {
					_ = s.sent(c.Send(push, body))
				}
			}
		case broadcasts:
			m := &protocol.Message{Type: push, Body: s.pushBody(d.size)}
			n, err := s.engine.Broadcast(s.engine.Conns(), m, &engine.SendOptions{Report: func(*engine.Conn, error) { s.tried.Add(1) }})
			if err != nil {
				s.trouble("a broadcast failed: %v", err)
			}
			s.tried.Add(int64(n))
			s.taken.Add(int64(n))
		case asksClients:
			for c := range s.bridge.ConnsOf(d.user) {
				err := c.RequestFunc(note, nil, -1, func(m *protocol.Message, err error) {
					s.answered.Add(1)
					if m != nil || !errors.Is(err, engine.ErrClosed) {
						s.trouble("a request that no client answers ended with %v, %v", m, err)
					}
				})
				if s.sent(err) == nil {
					s.asked.Add(1)
				}
			}
		}
	}
}

// pushBody returns the body of the next push: its number, and what belongs to it.
func (s *stress) pushBody(size int) []byte {
	s.pushed++
	return append(binary.BigEndian.AppendUint32(nil, s.pushed), cutFrom(s.pushed, size)...)
}

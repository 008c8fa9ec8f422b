package usermgr_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contract"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	// modelQuiesceTimeout is no multiple of any duration of the programs, so that a handler hardly ever returns in the
	// instant in which it is given up on.
	modelQuiesceTimeout = 50*time.Millisecond + 1
	// bystander is a user whose handlers never wait: whatever the others do, it must not wait either (rule 10).
	bystander = "bystander"
	// drowsy begins a tag whose UserTagged holds up its user for as long as it takes to expire.
	drowsy = "drowsy "
	// modelPatience is how long (in fake time) the model waits for what must happen.
	modelPatience = 2 * time.Minute
)

// world is one manager, and all that happens to it while a program runs.
type world struct {
	users   *contract.Manager
	checker *modelChecker
	program *program
	claims  *claimsFunc // nil for none
	steps   *atomic.Int64
	busy    sync.WaitGroup // everything that was spawned
	codes   atomic.Uint32

	draining atomic.Bool // hold and pause return at once

	mu       sync.Mutex
	links    []*modelLink
	latest   map[string]*modelLink // where each user logged on last
	gate     chan struct{}         // closed by release; hold waits for it
	troubles []error
}

func newWorld(p *program, rules []int, steps *atomic.Int64) *world {
	w := &world{program: p, steps: steps, checker: new(modelChecker), latest: make(map[string]*modelLink),
		gate: make(chan struct{})}
	if p.Claims {
		w.claims = grantAtOnce()
	}
	w.users = contract.NewWith(p.Policy, usermgr.Config{Claims: w.claimsOrNone(), RelogonMode: p.Relogon, ReturnWins: p.ReturnWins, OfflineGrace: p.Grace, IdleTimeout: p.Idle,
		HeartbeatChecker: w.checker, QuiesceTimeout: modelQuiesceTimeout, Logger: zap.NewNop()})
	w.users.FakeTime = true
	w.users.Rules = rules
	w.users.Subscribe(w.handlers())
	w.users.Subscribe(usermgr.Events{}) // runs although the one before may panic
	return w
}

// claimsOrNone is what the manager gets: with claims that are granted at once it behaves as without.
func (w *world) claimsOrNone() usermgr.Claims {
	if w.claims == nil {
		return nil
	}
	return w.claims
}

// run runs the whole program and returns what it broke.
func (w *world) run() error {
	for i, phase := range w.program.Phases {
		w.draining.Store(false)
		scripts := w.start(phase)
		if i == len(w.program.Phases)-1 && w.program.CloseAfter > 0 {
			time.Sleep(w.program.CloseAfter)
			break
		}
		w.await(scripts)
		if !w.settle() {
			return w.verdict()
		}
		if w.program.Idle > 0 && i < len(w.program.Phases)-1 {
			w.drowse(i)
			if !w.settle() {
				return w.verdict()
			}
			if i > 0 {
				time.Sleep(2 * w.program.Idle) // sessions that woke up are checked again
				if !w.settle() {
					return w.verdict()
				}
			}
		}
	}
	w.close()
	return w.verdict()
}

// start starts the scripts of a phase. The channel is closed when they have ended.
func (w *world) start(phase [][]step) (ended <-chan struct{}) {
	var running sync.WaitGroup
	for _, script := range phase {
		running.Add(1)
		w.spawn(func() {
			defer running.Done()
			for _, s := range script {
				w.steps.Add(1)
				w.do(s)
			}
		})
	}
	all := make(chan struct{})
	w.spawn(func() { running.Wait(); close(all) })
	return all
}

// await waits for goroutines to end. From time to time it releases those that hold.
func (w *world) await(ended <-chan struct{}) {
	for began := time.Now(); time.Since(began) < modelPatience; {
		select {
		case <-ended:
			return
		case <-time.After(modelQuiesceTimeout * 3 / 2):
			w.release()
		}
	}
	w.trouble(10, "goroutines that wait for the manager have not ended in %v", modelPatience)
}

// settle waits until nothing goes on any more, and has that written down.
func (w *world) settle() (quiet bool) {
	w.draining.Store(true)
	for began := time.Now(); time.Since(began) < modelPatience; {
		w.release()
		before := w.users.Len()
		time.Sleep(3 * modelQuiesceTimeout)
		synctest.Wait()
		if w.users.Len() == before {
			w.users.AtRest()
			if n := w.checker.overlooked(); n > 0 {
				w.trouble(8, "at rest, %d silent sessions are online", n)
			}
			return true
		}
	}
	w.trouble(10, "something went on for %v", modelPatience)
	return false
}

// drowse holds up every user until all sessions are found idle, and then has some of them wake up before their turn comes.
func (w *world) drowse(phase int) {
	var awake []*modelLink
	for i := range modelUsers {
		user := step{User: i}.user()
		w.users.SetTag(user, fmt.Sprint(drowsy, phase))
		w.mu.Lock()
		if l := w.latest[user]; l != nil {
			awake = append(awake, l)
		}
		w.mu.Unlock()
	}
	time.Sleep(2*w.program.Idle - 10*time.Millisecond)
	for _, l := range awake {
		switch (l.addr.Conn + uint64(2*phase)) % 4 {
		case 0:
			l.message()
		case 1:
			w.users.TouchSession(l.bound().ID())
		case 2:
			w.users.Touch(l.user)
		}
	}
	time.Sleep(20 * time.Millisecond)
}

// close closes the manager, twice, and waits for everything that was spawned.
func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), modelPatience)
	defer cancel()
	w.draining.Store(true)
	w.release()
	w.spawn(func() { _ = w.users.Close(ctx) })
	_ = w.users.Close(ctx) // the contract complains about an error
	_, err := w.users.Register(ctx, usermgr.Logon{UserID: "late"}, w.newLink("late", step{}))
	if ce := new(protocol.CloseError); !errors.As(err, &ce) || ce.Code != protocol.ServerStopping {
		w.trouble(16, "a logon after Close ended with %v", err)
	}
	if w.settle() {
		all := make(chan struct{})
		go func() { w.busy.Wait(); close(all) }()
		w.await(all)
	}
	if w.claims != nil && w.claims.open() != 0 {
		w.trouble(20, "%d claims were not given back, of %d", w.claims.open(), w.claims.granted)
	}
}

func (w *world) verdict() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(append(w.troubles, w.users.Check())...)
}

func (w *world) trouble(rule int, format string, args ...any) {
	if rules := w.users.Rules; len(rules) > 0 && !slices.Contains(rules, rule) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.troubles = append(w.troubles, fmt.Errorf("rule %d: "+format, append([]any{rule}, args...)...))
}

func (w *world) spawn(f func()) {
	w.busy.Add(1)
	go func() {
		defer w.busy.Done()
		f()
	}()
}

// spawnAfter has f run in a while.
func (w *world) spawnAfter(d time.Duration, f func()) {
	w.spawn(func() { time.Sleep(d); f() })
}

// hold waits for the next release.
func (w *world) hold() {
	w.mu.Lock()
	gate := w.gate
	w.mu.Unlock()
	if !w.draining.Load() {
		<-gate
	}
}

func (w *world) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.gate)
	w.gate = make(chan struct{})
}

func (w *world) pause(d time.Duration) {
	if !w.draining.Load() {
		time.Sleep(d)
	}
}

// code returns a new close code each time, which shows what cause ended a session. After every other one a client may
// reconnect.
func (w *world) code() protocol.CloseCode {
	n := w.codes.Add(1)
	switch {
	case n >= 2000:
		return protocol.CloseCode(10000 + n)
	case n%2 == 0:
		return protocol.CloseCode(3000 + n/2)
	}
	return protocol.CloseCode(4000 + n/2)
}

func (w *world) newLink(user string, s step) *modelLink {
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &modelLink{world: w, user: user, manner: s.manner(), late: s.Wait, ctx: ctx, cancel: cancel,
		closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links = append(w.links, l)
	l.addr = usermgr.Address{Conn: uint64(len(w.links)), Via: "model"}
	return l
}

// pick returns the connection on which the user logged on last, or any of the latest connections, or nil when there is
// none at all.
func (w *world) pick(s step) *modelLink {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.latest[s.user()]; l != nil && s.Pick%4 != 3 {
		return l
	}
	if len(w.links) == 0 {
		return nil
	}
	return w.links[len(w.links)-1-s.Pick%len(w.links)]
}

// latestOf returns the last n connections on which a user tried to log on, the latest first.
func (w *world) latestOf(user string, n int) (all []*modelLink) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range slices.Backward(w.links) {
		if l.user == user && len(all) < n {
			all = append(all, l)
		}
	}
	return all
}

// admitted notes that l is where its user logged on last.
func (w *world) admitted(l *modelLink) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest[l.user] = l
}

// latestSession returns the ID of the session that the user got last: it may have ended.
func (w *world) latestSession(user string) string {
	w.mu.Lock()
	l := w.latest[user]
	w.mu.Unlock()
	if l == nil {
		return "none"
	}
	return l.bound().ID()
}

// pastSession returns the ID of the session that the user got so many before the last.
func (w *world) pastSession(user string, back int) string {
	for _, l := range w.latestOf(user, 20) {
		s := l.bound()
		if s == nil {
			continue
		}
		if back--; back < 0 {
			return s.ID()
		}
	}
	return w.latestSession(user)
}

// handlers are the subscriber that does all that an event handler may do.
func (w *world) handlers() usermgr.Events {
	at := func(what, user string, conn uint64) {
		w.users.Addresses(user) // the contract knows the right answers
		w.users.SessionAt(conn)
		w.behave(&occasion{what: what, user: user, link: w.link(conn)})
	}
	return usermgr.Events{
		Connected: func(s usermgr.SessionInfo) {
			w.users.User(s.UserID)
			at("Connected", s.UserID, s.Address.Conn)
		},
		PushedOut: func(old usermgr.SessionInfo, by usermgr.Address) {
			w.users.SessionAt(by.Conn)
			at("PushedOut", old.UserID, old.Address.Conn)
		},
		Ignored:  func(userID string, by usermgr.Address) { at("Ignored", userID, by.Conn) },
		TimedOut: func(s usermgr.SessionInfo) { at("TimedOut", s.UserID, s.Address.Conn) },
		Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) {
			at("Disconnected", s.UserID, s.Address.Conn)
		},
		Expired: func(s usermgr.SessionInfo) { at("Expired", s.UserID, s.Address.Conn) },
		Tagged:  func(s usermgr.SessionInfo, _ string) { at("Tagged", s.UserID, s.Address.Conn) },
		Online:  func(u usermgr.UserData) { at("Online", u.UserID, u.Sessions[0].Address.Conn) },
		Offline: func(u usermgr.UserData) {
			w.users.Addresses(u.UserID)
			w.behave(&occasion{what: "Offline", user: u.UserID, link: w.pick(step{User: int(u.UserID[0] - 'a')})})
		},
		UserTagged: func(u usermgr.UserData, _ string) {
			if strings.HasPrefix(u.Tag, drowsy) {
				time.Sleep(2 * w.program.Idle)
				return
			}
			w.behave(&occasion{what: "UserTagged" + u.Tag, user: u.UserID, link: w.pick(step{User: int(u.UserID[0] - 'a')})})
		},
		UserCountChanged: func(online int) { w.behave(&occasion{what: "UserCountChanged", n: online}) },
	}
}

func (w *world) link(conn uint64) *modelLink {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.links[conn-1]
}

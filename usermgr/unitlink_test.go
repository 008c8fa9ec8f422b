package usermgr_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// journal notes what happened, in order. Its handlers write a line for every event: a session is "user@connection".
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *journal) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = nil
}

func (j *journal) sort() {
	j.mu.Lock()
	defer j.mu.Unlock()
	slices.Sort(j.lines)
}

// expect fails the test unless exactly these lines were written since the last call.
func (j *journal) expect(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, want) {
		t.Errorf("it happened:\n\t%s\nwant:\n\t%s", strings.Join(j.lines, "\n\t"), strings.Join(want, "\n\t"))
	}
	j.lines = nil
}

func (j *journal) handlers() usermgr.Events {
	return usermgr.Events{
		Connected: func(s usermgr.SessionInfo) { j.add("Connected %s@%d", s.UserID, s.Address.Conn) },
		PushedOut: func(old usermgr.SessionInfo, by usermgr.Address) {
			j.add("PushedOut %s@%d by @%d", old.UserID, old.Address.Conn, by.Conn)
		},
		Ignored:  func(userID string, by usermgr.Address) { j.add("Ignored %s@%d", userID, by.Conn) },
		TimedOut: func(s usermgr.SessionInfo) { j.add("TimedOut %s@%d", s.UserID, s.Address.Conn) },
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
			j.add("Disconnected %s@%d %s", s.UserID, s.Address.Conn, why)
		},
	}
}

// rest are the handlers that handlers leaves out.
func (j *journal) rest() usermgr.Events {
	return usermgr.Events{
		Online:  func(u usermgr.UserData) { j.add("Online %s@%d", u.UserID, u.Sessions[0].Address.Conn) },
		Offline: func(u usermgr.UserData) { j.add("Offline %s", u.UserID) },
		Expired: func(s usermgr.SessionInfo) { j.add("Expired %s@%d", s.UserID, s.Address.Conn) },
		Tagged: func(s usermgr.SessionInfo, old string) {
			j.add("Tagged %s@%d %q, was %q", s.UserID, s.Address.Conn, s.Tag, old)
		},
		UserTagged: func(u usermgr.UserData, old string) { j.add("UserTagged %s %q, was %q", u.UserID, u.Tag, old) },
	}
}

// testLink is a connection that is not there. It writes to its journal, if it has one, when it is closed.
type testLink struct {
	conn    uint64
	journal *journal
	via     string // its transport

	mu     sync.Mutex
	busy   bool   // a message handler runs
	done   func() // Quiesce's, kept while busy
	closed []protocol.CloseError
}

func newLink(conn uint64) *testLink { return &testLink{conn: conn} }

func (l *testLink) Address() usermgr.Address {
	return usermgr.Address{Conn: l.conn, Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(l.conn)), Via: l.via}
}

func (l *testLink) Quiesce(done func()) {
	l.mu.Lock()
	if l.busy {
		l.done, done = done, func() {}
	}
	l.mu.Unlock()
	done()
}

// Close is the end of the connection, too.
func (l *testLink) Close(why *protocol.CloseError, done func(protocol.CloseOutcome)) {
	l.mu.Lock()
	l.closed = append(l.closed, *why)
	if l.journal != nil {
		l.journal.add("closed @%d %s", l.conn, why.Code)
	}
	l.mu.Unlock()
	if done != nil {
		done(protocol.OutcomeTold)
	}
}

// handlerStarts and handlerReturns are a message handler of the connection.
func (l *testLink) handlerStarts() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = true
}

func (l *testLink) handlerReturns() {
	l.mu.Lock()
	done := l.done
	l.busy, l.done = false, nil
	l.mu.Unlock()
	if done != nil {
		done()
	}
}

// closings returns how the link was closed, once for each time.
func (l *testLink) closings() []protocol.CloseError {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.closed)
}

// newManager returns a manager that is closed when the test ends, and fails the test if that takes long.
func newManager(t testing.TB, cfg usermgr.Config) *usermgr.Manager {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	m := testkit.Must(usermgr.New(cfg))
	t.Cleanup(func() { closeManager(t, m) })
	return m
}

func closeManager(t testing.TB, m *usermgr.Manager) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.Close(ctx); err != nil {
		t.Errorf("closing the manager: %v", err)
	}
}

// watched returns a manager and a journal that is subscribed to it.
func watched(t testing.TB, cfg usermgr.Config) (*usermgr.Manager, *journal) {
	m, j := newManager(t, cfg), new(journal)
	m.Subscribe(j.handlers())
	return m, j
}

// watchedAll is watched with a journal that tells of every event. By default no session is ever silent.
func watchedAll(t testing.TB, cfg usermgr.Config) (*usermgr.Manager, *journal) {
	if cfg.HeartbeatChecker == nil && cfg.HeartbeatTimeout == 0 {
		cfg.HeartbeatTimeout = -1
	}
	m, j := watched(t, cfg)
	m.Subscribe(j.rest())
	return m, j
}

// isAt reports whether two times of a bubble are the same. The time of a session is that of its ID, which goes on from the IDs of earlier
// bubbles: where the test runs again it is a little later.
func isAt(at, want time.Time) bool { return at.Sub(want).Abs() < time.Millisecond }

func logOn(t testing.TB, m *usermgr.Manager, userID string, l *testLink) usermgr.Session {
	t.Helper()
	s, err := m.Register(t.Context(), usermgr.Logon{UserID: userID, Address: l.Address()}, l)
	if err != nil {
		t.Fatalf("%s could not log on: %v", userID, err)
	}
	return s
}

func logOnAs(t testing.TB, m *usermgr.Manager, l usermgr.Logon, link usermgr.Link) usermgr.Session {
	t.Helper()
	l.Address = link.Address()
	s, err := m.Register(t.Context(), l, link)
	if err != nil {
		t.Fatalf("%s could not log on: %v", l.UserID, err)
	}
	return s
}

func onDevice(t testing.TB, m *usermgr.Manager, userID string, device uint16, link usermgr.Link) usermgr.Session {
	t.Helper()
	return logOnAs(t, m, usermgr.Logon{UserID: userID, Device: device}, link)
}

// beginLogOn is a logOn that is not waited for. Tests in which it must have come to its end look at the journal.
func beginLogOn(t testing.TB, m *usermgr.Manager, userID string, l *testLink) {
	go func() {
		if _, err := m.Register(t.Context(), usermgr.Logon{UserID: userID, Address: l.Address()}, l); err != nil {
			t.Errorf("%s could not log on: %v", userID, err)
		}
	}()
}

// wait waits for what endUser and its like have begun, and returns how many sessions it ended.
func wait(t testing.TB, w usermgr.Wait) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ended, err := w(ctx)
	if err != nil {
		t.Fatalf("the kick has not come to its end: %v", err)
	}
	return len(ended)
}

// sessionsOf returns the user's sessions, the oldest first.
func sessionsOf(m interface {
	User(userID string) (usermgr.UserData, bool)
}, userID string) []usermgr.SessionInfo {
	d, _ := m.User(userID)
	return d.Sessions
}

// oneOnEach allows a user one session on each of these device classes, and none on others. Stats has the number on each.
func oneOnEach(known ...uint16) usermgr.Devices {
	d := usermgr.Devices{OnePerClass: true, Known: known}
	return d
}

// addressesOf returns where the user's sessions are.
func addressesOf(m usermgr.UserManager, userID string) (all []usermgr.Address) {
	for _, l := range m.Links(userID) {
		all = append(all, l.Address())
	}
	return all
}

// clearAll waits for a Clear and returns how many sessions it ended.
func clearAll(t testing.TB, m kicker) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n, err := m.Clear(ctx)
	if err != nil {
		t.Fatalf("Clear has not come to its end: %v", err)
	}
	return n
}

package bridge_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // gnet's pool of workers is the process's, and starts with it
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}

// Message types of the tests.
const (
	echo uint16 = 1 // is replied to with its own body
	say  uint16 = 2 // is noted in the journal: "say ann@1 text"
	push uint16 = 3 // comes from the server
)

// options are the settings of a server. Zero values are made fit for tests: a free port, no heartbeats, no log.
type options struct {
	engine engine.Config
	users  usermgr.Config
	bridge bridge.Config
	auth   bridge.Authenticator
}

// server is an engine and a manager joined by a bridge, with a journal of what happened.
type server struct {
	t       testing.TB
	engine  *engine.Engine
	users   *usermgr.Manager
	bridge  *bridge.Bridge
	journal *journal
	clients []*rawClient // of dial

	cancel  context.CancelFunc
	ended   chan struct{} // closed when Run has returned
	outcome error
}

// newServer makes a server that does not run yet, so that a test can add handlers.
func newServer(t testing.TB, o options) *server {
	o.users.Logger = testkit.OrNop(o.users.Logger)
	if o.users.HeartbeatChecker == nil && o.users.HeartbeatTimeout == 0 {
		o.users.HeartbeatTimeout = -1
	}
	users := testkit.Must(usermgr.New(o.users))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := users.Close(ctx); err != nil {
			t.Errorf("closing the manager: %v", err)
		}
	})
	return newServerFor(t, o, users, users)
}

// newServerFor is newServer for a manager that the test has; the bridge gets it as um.
func newServerFor(t testing.TB, o options, users *usermgr.Manager, um usermgr.UserManager) *server {
	if o.engine.Listeners == nil {
		o.engine.Listeners = make([]engine.Listener, 1)
	}
	o.engine.Listeners[0].Addr = cmp.Or(o.engine.Listeners[0].Addr, "127.0.0.1:0")
	o.engine.Logger, o.bridge.Logger = testkit.OrNop(o.engine.Logger), testkit.OrNop(o.bridge.Logger)
	s := &server{t: t, engine: testkit.Must(engine.New(o.engine)), users: users, journal: newJournal(), ended: make(chan struct{})}
	s.bridge = testkit.Must(bridge.Attach(s.engine, um, o.auth, o.bridge))
	if users != nil {
		users.Subscribe(s.journal.handlers())
	}
	s.engine.Handle(echo, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	s.engine.Handle(say, func(c *engine.Conn, m *protocol.Message) error {
		s.journal.add("say %s@%s %s", m.UserID, s.journal.name(c.RemoteAddr().String()), m.Body)
		return nil
	})
	return s
}

// start runs the server until the test ends, which it must without an error.
func (s *server) start() *server {
	s.t.Helper()
	if err := s.engine.Listen(); err != nil {
		s.t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	go func() {
		s.outcome = s.engine.Run(ctx)
		close(s.ended)
	}()
	s.t.Cleanup(func() {
		select {
		case <-s.ended: // the test has looked at the outcome itself
		default:
			if err := s.stop(); err != nil {
				s.t.Errorf("Run returned %v", err)
			}
		}
	})
	return s
}

func serve(t testing.TB, o options) *server { return newServer(t, o).start() }

// stop stops the server and returns what Run returned. The clients hear it out: what they are told is there to be read.
func (s *server) stop() error {
	s.cancel()
	for _, c := range s.clients {
		go c.hearOut()
	}
	<-s.ended
	for _, c := range s.clients {
		<-c.heardOut
	}
	return s.outcome
}

func (s *server) addr() string { return s.engine.Addrs()[0].String() }

// dial connects a client. The journal knows the first one as 1, the second one as 2.
func (s *server) dial() *rawClient {
	s.t.Helper()
	c, err := dialRaw(s.addr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.conn.Close() })
	s.clients = append(s.clients, c)
	c.t, c.name = s.t, s.journal.meet(c.conn.LocalAddr().String())
	return c
}

// logOn connects a client and logs it on.
func (s *server) logOn(userID string, fields ...string) *rawClient {
	s.t.Helper()
	c := s.dial()
	c.logOn(userID, fields...)
	return c
}

// eventually is testkit.Eventually.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, what, ok)
}

// receive is testkit.Receive.
func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	return testkit.Receive(t, what, ch)
}

// journal notes what happened, in order. A session is "user@connection", a connection the number of its dial.
type journal struct {
	mu    sync.Mutex
	names map[string]string
	lines []string
}

func newJournal() *journal { return &journal{names: make(map[string]string)} }

func (j *journal) meet(remote string) (name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	name = strconv.Itoa(len(j.names) + 1)
	j.names[remote] = name
	return name
}

func (j *journal) name(remote string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.names[remote]
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

// expect waits until as many lines are written, and fails the test unless they are these. The order of a user's lines
// is what counts: users have none among each other.
func (j *journal) expect(t testing.TB, want ...string) {
	t.Helper()
	var got []string
	testkit.ComesTrue(patience, func() bool {
		got = j.all()
		return len(got) >= len(want)
	})
	byUser := func(a, b string) int { return strings.Compare(userOf(a), userOf(b)) }
	slices.SortStableFunc(got, byUser)
	slices.SortStableFunc(want, byUser)
	if !slices.Equal(got, want) {
		t.Fatalf("it happened:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// userOf returns the user of a line.
func userOf(line string) string {
	_, line, _ = strings.Cut(line, " ")
	user, _, _ := strings.Cut(line, "@")
	return user
}

// expectEnd stops the server and expects the lines, none of which may come later: it is how to say that something did
// not happen.
func (s *server) expectEnd(want ...string) {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Errorf("Run returned %v", err)
	}
	s.journal.expect(s.t, want...)
}

func (j *journal) handlers() usermgr.Events {
	on := func(s usermgr.SessionInfo) string { return s.UserID + "@" + j.name(s.Address.String()) }
	return usermgr.Events{
		Connected: func(s usermgr.SessionInfo) { j.add("Connected %s", on(s)) },
		PushedOut: func(old usermgr.SessionInfo, by usermgr.Address) {
			j.add("PushedOut %s by %s", on(old), j.name(by.String()))
		},
		Ignored:  func(userID string, by usermgr.Address) { j.add("Ignored %s@%s", userID, j.name(by.String())) },
		TimedOut: func(s usermgr.SessionInfo) { j.add("TimedOut %s", on(s)) },
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
			j.add("Disconnected %s %v", on(s), why)
		},
	}
}

// sessionsOf returns the user's sessions, the oldest first.
func sessionsOf(m interface {
	User(userID string) (usermgr.UserData, bool)
}, userID string) []usermgr.SessionInfo {
	d, _ := m.User(userID)
	return d.Sessions
}

// addressesOf returns where the user's sessions are.
func addressesOf(m usermgr.UserManager, userID string) (all []usermgr.Address) {
	for _, l := range m.Links(userID) {
		all = append(all, l.Address())
	}
	return all
}

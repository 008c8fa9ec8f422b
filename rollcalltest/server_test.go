package rollcalltest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// chat is a message type of the application's.
const chat = 1

func echo(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) }

// recorder is a testing.TB whose failures are looked at instead of failing the test.
type recorder struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

// run runs f as a test, with its cleanups, and returns how it failed.
func (r *recorder) run(f func()) (failures []string) {
	defer func() {
		if v := recover(); v != nil && v != any(r) {
			panic(v)
		}
		for i := len(r.cleanups) - 1; i >= 0; i-- {
			r.cleanups[i]()
		}
		failures = r.failures
	}()
	f()
	return nil
}

func TestTheExample(t *testing.T) { testGreeting(t) }

func TestAServerServesInOneLine(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{}, nil)
	c := srv.Client(t, "alice", client.Config{})
	if !srv.Users.IsOnline("alice") || c.UserID() != "alice" || !strings.HasPrefix(srv.Addr, "127.0.0.1:") {
		t.Errorf("alice is not online at %s", srv.Addr)
	}
}

func TestSetupRunsBeforeTheServerDoes(t *testing.T) {
	online := make(chan string, 1)
	srv := rollcalltest.NewServer(t, rollcall.Config{}, func(s *rollcall.Server) {
		s.Engine.Handle(chat, echo)
		s.Users.Subscribe(usermgr.Events{Connected: func(i usermgr.SessionInfo) { online <- i.UserID }})
	})
	c := srv.Client(t, "alice", client.Config{})
	if got := <-online; got != "alice" {
		t.Errorf("%s is online", got)
	}
	if reply, err := c.Request(t.Context(), chat, []byte("hi")); err != nil || string(reply.Body) != "hi" {
		t.Errorf("the reply is %v, %v", reply, err)
	}
}

func TestTheConfigsOfThePartsCount(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{
		Engine: engine.Config{Limits: engine.Limits{MaxBody: 10}},
		Users:  usermgr.Config{RelogonMode: usermgr.IgnoreNew},
		Bridge: bridge.Config{HeartbeatInterval: 50 * time.Millisecond},
	}, nil)
	c := srv.Client(t, "alice", client.Config{})
	if _, err := client.Dial(t.Context(), srv.Addr, client.Config{UserID: "alice"}); err == nil {
		t.Error("alice logs on twice where IgnoreNew is set")
	}
	if err := c.Send(chat, make([]byte, 11)); !errors.Is(err, protocol.MessageTooLarge) { // the server has told its limit
		t.Errorf("a body over the server's limit: %v", err)
	}
}

func TestStopEndsEverySession(t *testing.T) {
	var gone atomic.Int64
	srv := rollcalltest.NewServer(t, rollcall.Config{}, func(s *rollcall.Server) {
		s.Users.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { gone.Add(1) }})
	})
	for i := range 10 {
		srv.Client(t, fmt.Sprint("user", i), client.Config{Reconnect: client.Reconnect{Max: -1}})
	}
	srv.Stop()
	if got := gone.Load(); got != 10 {
		t.Errorf("%d of 10 sessions have ended when Stop returns", got)
	}
	srv.Stop() // does nothing
}

func TestAServerThatDoesNotStopCleanlyFailsTheTest(t *testing.T) {
	release := make(chan struct{})
	returned := make(chan struct{})
	r := &recorder{TB: t}
	failures := r.run(func() {
		srv := rollcalltest.NewServer(r, rollcall.Config{
			Engine: engine.Config{Workers: 1, Timeouts: engine.Timeouts{Stop: 50 * time.Millisecond, Close: 10 * time.Millisecond}},
			Users:  usermgr.Config{QuiesceTimeout: -1},
		}, func(s *rollcall.Server) {
			s.Engine.Handle(chat, func(*engine.Conn, *protocol.Message) error { close(returned); <-release; return nil })
		})
		c := srv.Client(t, "alice", client.Config{Reconnect: client.Reconnect{Max: -1}})
		if err := c.Send(chat, nil); err != nil {
			t.Fatal(err)
		}
		<-returned
	})
	close(release)
	if len(failures) != 1 || !strings.Contains(failures[0], "did not stop cleanly") {
		t.Errorf("the test fails with %q", failures)
	}
}

func TestAServerThatCannotListenEndsTheTest(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{}, nil)
	r := &recorder{TB: t}
	failures := r.run(func() {
		rollcalltest.NewServer(r, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{{Addr: srv.Addr}}}}, nil)
	})
	if len(failures) != 1 || !strings.Contains(failures[0], "cannot listen") {
		t.Errorf("the test fails with %q", failures)
	}
}

func TestAClientThatIsRefusedEndsTheTest(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{}, nil)
	r := &recorder{TB: t}
	failures := r.run(func() { srv.Client(r, "_0", client.Config{}) })
	if len(failures) != 1 || !strings.Contains(failures[0], "_0 cannot log on") {
		t.Errorf("the test fails with %q", failures)
	}
}

func TestEventuallyWaitsAndNoLonger(t *testing.T) {
	n := 0
	rollcalltest.Eventually(t, func() bool { n++; return n == 3 }, "three looks")
	if n != 3 {
		t.Errorf("%d looks", n)
	}
}

func TestAServerMayHaveListeners(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{Engine: engine.Config{
		Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0"}}}}, nil)
	srv.Client(t, "alice", client.Config{})
	if addrs := srv.Engine.Addrs(); len(addrs) != 2 || srv.Addr != addrs[0].String() {
		t.Errorf("the server is at %s, and listens on %v", srv.Addr, addrs)
	}
}

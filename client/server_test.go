package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
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

// E13: the client comes back by itself when the server does, and is the same user again.
func TestTheClientLogsOnAgainWhenTheServerIsBack(t *testing.T) {
	srv := newServer(t, rollcall.Config{}, nil)
	cfg := client.Config{Reconnect: client.Reconnect{Max: 20 * time.Millisecond}}
	changes := watch(&cfg)
	c := join(t, srv, "alice", cfg)
	expect(t, changes, client.Online)
	first := c.SessionID()
	srv.Stop()
	if got := code(t, expect(t, changes, client.Reconnecting)); got != protocol.ServerStopping {
		t.Errorf("the connection was lost with %v", got)
	}

	again := newServer(t, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{{Addr: srv.Addr}}}}, nil)
	for ch := range changes { // attempts fail until the server is there
		if ch.state == client.Online {
			break
		}
	}
	if !again.Users.IsOnline("alice") || c.SessionID() == first || c.SessionID() == "" {
		t.Errorf("online: %v, session %q after %q", again.Users.IsOnline("alice"), c.SessionID(), first)
	}
}

// E13: two clients with one ID must not push each other out for ever.
func TestAClientThatWasPushedOutStaysOut(t *testing.T) {
	srv := newServer(t, rollcall.Config{}, nil)
	cfg := client.Config{Reconnect: client.Reconnect{Min: -1}}
	changes := watch(&cfg)
	old := join(t, srv, "alice", cfg)
	expect(t, changes, client.Online)
	next := join(t, srv, "alice", client.Config{})
	if got := code(t, expect(t, changes, client.Closed)); got != protocol.PushedOut {
		t.Errorf("the old client ended with %v", got)
	}
	receive(t, "the end of the client", old.Done())
	if _, err := next.Ping(t.Context()); err != nil {
		t.Errorf("the new client: %v", err)
	}
}

// E13: not after it was kicked.
func TestAClientThatWasKickedStaysOut(t *testing.T) {
	srv := newServer(t, rollcall.Config{}, nil)
	c := join(t, srv, "alice", client.Config{Reconnect: client.Reconnect{Min: -1}})
	_, _ = srv.Users.Kick("alice", &usermgr.KickOptions{Text: "be nice"})
	receive(t, "the end of the client", c.Done())
	var ce *protocol.CloseError
	if err := c.Err(); !errors.As(err, &ce) || ce.Code != protocol.KickedOut || ce.Text != "be nice" {
		t.Errorf("ended with %v", err)
	}
	if srv.Users.IsOnline("alice") {
		t.Error("alice is online")
	}
}

// A client that was idle for too long does not reconnect by itself.
func TestAClientWhoseSessionExpiredStaysOut(t *testing.T) {
	srv := newServer(t, rollcall.Config{}, nil)
	c := join(t, srv, "alice", client.Config{Reconnect: client.Reconnect{Min: -1}})
	_, _ = srv.Users.Kick("alice", &usermgr.KickOptions{Code: protocol.SessionExpired, Text: "idle for an hour"})
	receive(t, "the end of the client", c.Done())
	if got := code(t, c.Err()); got != protocol.SessionExpired {
		t.Errorf("ended with %v", got)
	}
	if srv.Users.IsOnline("alice") {
		t.Error("alice is online")
	}
}

// tokens lets users in whose token is "t:" and their ID.
func tokens(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
	token := l.Fields[protocol.FieldToken]
	if len(token) < 3 || token[:2] != "t:" {
		return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "bad token"}
	}
	return bridge.Identity{UserID: token[2:]}, nil
}

func TestTheServerMayKnowTheUserByTheToken(t *testing.T) {
	srv := newServer(t, rollcall.Config{Authenticate: tokens}, nil)
	c := join(t, srv, "", client.Config{Fields: map[string]string{protocol.FieldToken: "t:alice"}, Device: 3})
	if c.UserID() != "alice" {
		t.Errorf("the client is %q", c.UserID())
	}
	if u, ok := srv.Users.User("alice"); !ok || u.Sessions[0].Device != 3 || u.Sessions[0].ID != c.SessionID() {
		t.Errorf("the server has %+v, the client the session %s", u, c.SessionID())
	}
}

// E13: not after it was refused.
func TestAClientWhoseTokenHasExpiredStaysOut(t *testing.T) {
	srv := newServer(t, rollcall.Config{Authenticate: tokens}, nil)
	token := make(chan string, 2)
	token <- "t:alice"
	token <- "expired"
	c := join(t, srv, "alice", client.Config{Reconnect: client.Reconnect{Min: -1},
		Token: func(context.Context) (string, error) {
			return <-token, nil
		}})
	_, _ = srv.Users.Kick("alice", &usermgr.KickOptions{Code: protocol.ServerStopping}) // which a client may reconnect after
	receive(t, "the end of the client", c.Done())
	if got := code(t, c.Err()); got != protocol.Unauthorized {
		t.Errorf("ended with %v", got)
	}
}

func TestRequestsAndRepliesBothWays(t *testing.T) {
	srv := newServer(t, rollcall.Config{}, func(s *rollcall.Server) {
		s.Engine.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, append([]byte("re: "), m.Body...)) })
		s.Engine.Handle(2, func(c *engine.Conn, m *protocol.Message) error {
			return c.ReplyError(m, protocol.Errorf(protocol.Refused, "no"))
		})
	})
	c := join(t, srv, "alice", client.Config{Handle: map[uint16]client.Handler{
		1: func(c *client.Client, m *protocol.Message) error {
			return c.Reply(m, append([]byte("client: "), m.Body...))
		},
	}})
	if reply, err := c.Request(t.Context(), 1, []byte("hi")); err != nil || string(reply.Body) != "re: hi" {
		t.Errorf("the reply is %v, %v", reply, err)
	}
	if _, err := c.Request(t.Context(), 2, nil); code(t, err) != protocol.Refused {
		t.Errorf("the error is %v", err)
	}
	if _, err := c.Request(t.Context(), 3, nil); code(t, err) != protocol.NoHandler {
		t.Errorf("the error is %v", err)
	}
	conn := srv.Engine.Conn(srv.Users.Links("alice")[0].Address().Conn)
	if reply, err := conn.Request(t.Context(), 1, []byte("yo")); err != nil || string(reply.Body) != "client: yo" {
		t.Errorf("the client's reply is %v, %v", reply, err)
	}
	if _, err := conn.Request(t.Context(), 3, nil); code(t, err) != protocol.NoHandler {
		t.Errorf("the client's error is %v", err)
	}
}

// The client's heartbeats hold it online for much longer than the server's timeout.
func TestAnIdleClientStaysOnline(t *testing.T) {
	srv := newServer(t, rollcall.Config{
		Users: usermgr.Config{HeartbeatTimeout: 400 * time.Millisecond, HeartbeatCheckInterval: 10 * time.Millisecond}}, nil)
	cfg := client.Config{}
	changes := watch(&cfg)
	c := join(t, srv, "alice", cfg)
	expect(t, changes, client.Online)
	session := c.SessionID()
	timer := time.NewTimer(1200 * time.Millisecond)
	defer timer.Stop()
	select {
	case ch := <-changes:
		t.Errorf("the client is %v: %v", ch.state, ch.err)
	case <-timer.C:
	}
	if _, ok := srv.Users.Session(session); !ok {
		t.Error("the session is gone")
	}
}

// swamp is a proxy to a server whose connections can be made to swallow what goes through, as a dead network does: both
// ends still have their connection.
type swamp struct {
	ln     net.Listener
	server string
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	links []*swampLink
}

type swampLink struct {
	mu   sync.Mutex
	dead bool
}

func newSwamp(t *testing.T, server string) *swamp {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &swamp{ln: ln, server: server}
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		s.cut()
		s.wg.Wait()
	})
	return s
}

// dial logs a client on through the proxy.
func (s *swamp) dial(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), s.ln.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *swamp) accept() {
	for {
		a, err := s.ln.Accept()
		if err != nil {
			return
		}
		b, err := new(net.Dialer).DialContext(context.Background(), "tcp", s.server)
		if err != nil {
			_ = a.Close()
			continue
		}
		l := new(swampLink)
		s.mu.Lock()
		s.conns, s.links = append(s.conns, a, b), append(s.links, l)
		s.mu.Unlock()
		s.wg.Go(func() { l.pass(a, b) })
		s.wg.Go(func() { l.pass(b, a) })
	}
}

func (l *swampLink) pass(from, to net.Conn) {
	b := make([]byte, 4<<10)
	for {
		n, err := from.Read(b)
		l.mu.Lock()
		dead := l.dead
		l.mu.Unlock()
		switch {
		case dead && err == nil:
			continue
		case dead: // not even the end comes through
			return
		}
		_, _ = to.Write(b[:n])
		if errors.Is(err, io.EOF) {
			if half, ok := to.(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
			return
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// swallow makes the connections of the moment dead.
func (s *swamp) swallow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		l.mu.Lock()
		l.dead = true
		l.mu.Unlock()
	}
}

// cut ends the connections of the moment.
func (s *swamp) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
}

// Rule 7: a client back from a dead network is not locked out by its own ghost, even where the server keeps who is
// there: it takes its old session over, long before the server has noticed the silence.
func TestAClientBackFromADeadNetworkTakesItsSessionOver(t *testing.T) {
	events := make(chan string, 10)
	srv := rollcalltest.NewServer(t, rollcall.Config{Users: usermgr.Config{RelogonMode: usermgr.IgnoreNew}}, func(s *rollcall.Server) {
		s.Users.Subscribe(usermgr.Events{
			Connected:    func(usermgr.SessionInfo) { events <- "Connected" },
			Ignored:      func(string, usermgr.Address) { events <- "Ignored" },
			PushedOut:    func(usermgr.SessionInfo, usermgr.Address) { events <- "PushedOut" },
			Disconnected: func(_ usermgr.SessionInfo, why protocol.CloseCode) { events <- "Disconnected " + why.Error() },
		})
	})
	proxy := newSwamp(t, srv.Addr)
	cfg := client.Config{UserID: "alice", Timeouts: client.Timeouts{Server: 300 * time.Millisecond}, Reconnect: client.Reconnect{Min: -1}}
	changes := watch(&cfg)
	c := proxy.dial(t, cfg)
	defer closeAndWait(t, c)
	expect(t, changes, client.Online)
	old := c.SessionID()
	proxy.swallow()
	if got := code(t, expect(t, changes, client.Reconnecting)); got != protocol.NetworkError {
		t.Errorf("the connection was lost with %v", got)
	}
	expect(t, changes, client.Online)
	for _, want := range []string{"Connected", "PushedOut", "Disconnected PushedOut", "Connected"} {
		if got := receive(t, "the server's event", events); got != want {
			t.Errorf("the server's event is %s, want %s", got, want)
		}
	}
	if s, ok := srv.Users.Session(c.SessionID()); !ok || s.UserID != "alice" || c.SessionID() == old {
		t.Errorf("the session %s after %s: %v, %v", c.SessionID(), old, s.UserID, ok)
	}
}

// Where another client has logged on meanwhile, and the server keeps the session that it has and lets returns win, the client
// tries again until there is room, or the heartbeat timeout has passed.
func TestAReconnectingClientWaitsForWhoIsLoggedOnAlready(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{Users: usermgr.Config{RelogonMode: usermgr.IgnoreNew, ReturnWins: true}}, nil)
	proxy := newSwamp(t, srv.Addr)
	hold := make(chan struct{}, 1)
	hold <- struct{}{}
	cfg := client.Config{UserID: "alice", Reconnect: client.Reconnect{Max: 10 * time.Millisecond},
		Token: func(context.Context) (string, error) {
			<-hold
			return "", nil
		}}
	changes := watch(&cfg)
	c := proxy.dial(t, cfg)
	defer closeAndWait(t, c)
	expect(t, changes, client.Online)
	proxy.cut()
	expect(t, changes, client.Reconnecting)
	rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline("alice") }, "alice is offline")
	other := srv.Client(t, "alice", client.Config{})
	close(hold)
	for range 3 {
		if got := code(t, expect(t, changes, client.Reconnecting)); got != protocol.AlreadyLoggedOn {
			t.Errorf("refused with %v", got)
		}
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	for ch := range changes {
		if ch.state == client.Online {
			break
		}
		if ch.state == client.Closed {
			t.Fatalf("ended with %v", ch.err)
		}
	}
}

// A first logon of a user who is logged on already is refused at once, and the program is told.
func TestAFirstLogonDoesNotWaitForWhoIsLoggedOnAlready(t *testing.T) {
	srv := newServer(t, rollcall.Config{Users: usermgr.Config{RelogonMode: usermgr.IgnoreNew}}, nil)
	join(t, srv, "alice", client.Config{})
	_, err := client.Dial(t.Context(), srv.Addr, client.Config{UserID: "alice"})
	if got := code(t, err); got != protocol.AlreadyLoggedOn {
		t.Errorf("refused with %v", got)
	}
}

// The server counts a Close as the client's leaving, not as a lost connection.
func TestCloseIsAGoodbye(t *testing.T) {
	why := make(chan protocol.CloseCode, 1)
	srv := newServer(t, rollcall.Config{}, func(s *rollcall.Server) {
		s.Users.Subscribe(usermgr.Events{Disconnected: func(_ usermgr.SessionInfo, c protocol.CloseCode) { why <- c }})
	})
	c := join(t, srv, "alice", client.Config{})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got := receive(t, "the end of the session", why); got != protocol.ClientClosed {
		t.Errorf("the session ended with %v", got)
	}
}

// Many goroutines use one client while connections come and go: nothing hangs, and each request has one outcome.
func TestManyGoroutinesShareAClientWhileConnectionsBreak(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{}, func(s *rollcall.Server) {
		s.Engine.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	})
	proxy := newSwamp(t, srv.Addr)
	cfg := client.Config{UserID: "alice", Reconnect: client.Reconnect{Min: -1}}
	changes := watch(&cfg)
	c := proxy.dial(t, cfg)
	defer closeAndWait(t, c)
	expect(t, changes, client.Online)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				reply, err := c.Request(context.Background(), 1, []byte{byte(i)})
				if err == nil && (len(reply.Body) != 1 || reply.Body[0] != byte(i)) {
					t.Errorf("the reply to %d is %v", i, reply.Body)
				}
				if err != nil && !errors.Is(err, client.ErrDisconnected) && !errors.Is(err, client.ErrNotConnected) {
					t.Errorf("a request ends with %v", err)
				}
				if err != nil {
					time.Sleep(time.Millisecond) // eight that try at once would leave no processor to reconnect with
				}
			}
		})
	}
	for range 10 {
		if _, err := c.Request(t.Context(), 1, []byte{1}); err != nil {
			t.Errorf("after coming back: %v", err)
		}
		proxy.cut()
		for ch := range changes {
			if ch.state == client.Online {
				break
			}
			if ch.state == client.Closed {
				t.Fatalf("ended with %v", ch.err)
			}
		}
	}
	close(stop)
	wg.Wait()
}

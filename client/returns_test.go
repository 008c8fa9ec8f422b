package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 26: a client whose connection dies before it has read why its session ends comes back by itself, is refused for that
// reason, and stays out. Who has logged on since is not touched.
func TestAClientThatMissedTheNoticeHearsItWhenItComesBack(t *testing.T) {
	silencer := &earlyChecker{Checker: heartbeat.New(0, -1)}
	for _, c := range []struct {
		name  string
		cfg   usermgr.Config
		end   func(srv *rollcalltest.Server) // makes the server end the session, whose client hears nothing
		newer bool                           // another client logs on
		code  protocol.CloseCode
		text  string
	}{
		{name: "pushed out", newer: true, code: protocol.PushedOut, text: "the same user logged on again"},
		{name: "pushed out, and returns win", cfg: usermgr.Config{ReturnWins: true}, newer: true, code: protocol.PushedOut,
			text: "the same user logged on again"},
		{name: "kicked", end: func(srv *rollcalltest.Server) {
			_, _ = srv.Users.Kick("alice", &usermgr.KickOptions{Text: "enough"})
		}, code: protocol.KickedOut, text: "enough"},
		{name: "kicked, with a newer login", end: func(srv *rollcalltest.Server) {
			_, _ = srv.Users.Kick("alice", &usermgr.KickOptions{Text: "enough"})
		}, newer: true, code: protocol.KickedOut, text: "enough"},
		{name: "timed out, with a newer login", cfg: usermgr.Config{HeartbeatChecker: silencer},
			end: func(*rollcalltest.Server) { silencer.find() }, newer: true, code: protocol.PushedOut, text: "the same user logged on again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := rollcalltest.NewServer(t, rollcall.Config{Users: c.cfg}, nil)
			proxy := newSwamp(t, srv.Addr)
			cfg := client.Config{UserID: "alice", Reconnect: client.Reconnect{Min: -1}}
			changes := watch(&cfg)
			old := proxy.dial(t, cfg)
			defer closeAndWait(t, old)
			expect(t, changes, client.Online)
			proxy.swallow()
			if c.end != nil {
				c.end(srv)
				rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline("alice") }, "alice's session has ended")
			}
			var newer *client.Client
			if c.newer {
				newer = srv.Client(t, "alice", client.Config{})
			}
			proxy.cut()
			if got := code(t, expect(t, changes, client.Reconnecting)); got != protocol.NetworkError {
				t.Errorf("the connection was lost with %v", got)
			}
			err := expect(t, changes, client.Closed)
			var ce *protocol.CloseError
			if !errors.As(err, &ce) || ce.Code != c.code || ce.Text != c.text {
				t.Errorf("the client that came back ended with %v, want %v %q", err, c.code, c.text)
			}
			receive(t, "the end of the client", old.Done())
			if newer != nil {
				if _, err := newer.Ping(t.Context()); err != nil {
					t.Errorf("the newer login: %v", err)
				}
			}
			if again := srv.Client(t, "alice", client.Config{}); again.State() != client.Online {
				t.Error("a logon that a person asks for was not let in")
			}
		})
	}
}

// Rule 26, the other way: with ReturnWins a client whose session timed out comes back in spite of the newer login.
func TestAReturnWinsWhereTheServerSaysSo(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{Users: usermgr.Config{ReturnWins: true}}, nil)
	proxy := newSwamp(t, srv.Addr)
	var hold atomic.Pointer[chan struct{}]
	cfg := client.Config{UserID: "alice", Reconnect: client.Reconnect{Min: -1}, Token: func(context.Context) (string, error) {
		if h := hold.Load(); h != nil {
			<-*h
		}
		return "", nil
	}}
	changes := watch(&cfg)
	old := proxy.dial(t, cfg)
	defer closeAndWait(t, old)
	expect(t, changes, client.Online)
	free := make(chan struct{})
	hold.Store(&free)
	proxy.cut()
	expect(t, changes, client.Reconnecting)
	rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline("alice") }, "alice is offline")
	newer := srv.Client(t, "alice", client.Config{})
	close(free)
	expect(t, changes, client.Online)
	receive(t, "the end of the newer login", newer.Done())
	if got := code(t, newer.Err()); got != protocol.PushedOut {
		t.Errorf("the newer login ended with %v", got)
	}
}

// deafConn loses what comes, from the moment at which the server has let its client in, and stays open when its client gives it
// up: as over a network that has died in one direction.
type deafConn struct {
	net.Conn
	admitted <-chan struct{}
}

func (c *deafConn) Read([]byte) (int, error) {
	<-c.admitted
	return 0, io.ErrUnexpectedEOF
}

func (c *deafConn) Close() error { return nil }

// Rule 26: the answer to a client's take-over is lost. It comes back with the ID that it knows, which stands for the session
// that it got and never heard of: it is let in, also where the server keeps the session that it has.
func TestAClientWhoseTakeOverWentUnansweredComesBack(t *testing.T) {
	for name, mode := range map[string]usermgr.RelogonMode{"ReplaceOld": usermgr.ReplaceOld, "IgnoreNew": usermgr.IgnoreNew} {
		t.Run(name, func(t *testing.T) {
			const lost = 3 // answers
			admitted := make(chan struct{}, 10)
			srv := rollcalltest.NewServer(t, rollcall.Config{Users: usermgr.Config{RelogonMode: mode}}, func(s *rollcall.Server) {
				s.Users.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { admitted <- struct{}{} }})
			})
			proxy := newSwamp(t, srv.Addr)
			var dials atomic.Int32
			cfg := client.Config{UserID: "alice", Reconnect: client.Reconnect{Min: -1},
				DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					nc, err := new(net.Dialer).DialContext(ctx, network, addr)
					if n := dials.Add(1); err == nil && n > 1 && n <= 1+lost {
						return &deafConn{nc, admitted}, nil
					}
					return nc, err
				}}
			changes := watch(&cfg)
			c := proxy.dial(t, cfg)
			defer closeAndWait(t, c)
			receive(t, "the first logon", admitted)
			expect(t, changes, client.Online)
			first := c.SessionID()
			proxy.swallow() // the server does not see the end of the connection
			proxy.cut()
			for range 1 + lost {
				expect(t, changes, client.Reconnecting)
			}
			expect(t, changes, client.Online)
			s, ok := srv.Users.Session(c.SessionID())
			if !ok || c.SessionID() == first {
				t.Fatalf("the client has session %s after %s, of which the server knows: %v", c.SessionID(), first, ok)
			}
			if u, _ := srv.Users.User("alice"); len(u.Sessions) != 1 || u.Sessions[0].ID != s.ID {
				t.Errorf("alice has the sessions %+v", u.Sessions)
			}
		})
	}
}

// A logon that a person asks for names no session (docs/protocol.md); those of a client that comes back name the last one, see
// TestTheLastSessionIsSentAlong.
func TestALogonThatAPersonAsksForNamesNoSession(t *testing.T) {
	_ = sockets(t).refusal(client.Config{}, func(p *peer, logon *protocol.Message) {
		fields, err := system.ParseStringMap(logon.Body)
		if s, ok := fields[protocol.FieldSession]; ok || err != nil {
			t.Errorf("the first logon names the session %q (%v)", s, err)
		}
		p.refuse(logon, protocol.CloseError{Code: protocol.Unauthorized})
	})
}

// earlyChecker finds the first session that it watches silent, when it is told to.
type earlyChecker struct {
	heartbeat.Checker
	mu    sync.Mutex
	first *earlyWatch
}

type earlyWatch struct {
	heartbeat.Watch
	silent func()
	quiet  atomic.Bool
}

func (c *earlyChecker) Watch(silent func()) heartbeat.Watch {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &earlyWatch{Watch: c.Checker.Watch(silent), silent: silent}
	if c.first == nil {
		c.first = w
	}
	return w
}

func (w *earlyWatch) Silent() bool { return w.quiet.Load() }

func (c *earlyChecker) find() {
	c.mu.Lock()
	w := c.first
	c.mu.Unlock()
	w.quiet.Store(true)
	w.silent()
}

package bridge_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/wiretest"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// slowly is an authenticator that takes its time.
func slowly(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
	testkit.BeSlow()
	return bridge.Identity{UserID: l.UserID}, nil
}

// endSide ends the client's sending side.
func (c *rawClient) endSide() {
	c.t.Helper()
	if err := c.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// Rule 14: what comes in one piece with a Logon and the end of the client's sending side, as `printf … | nc` sends it, is handled
// and answered like anything else: while the Logon is still being decided, over TCP and TLS, with Workers and without.
func TestALogonAndARequestWithTheEndBehindThemAreAnswered(t *testing.T) {
	const clients = 300
	ca := testca.New(t)
	for _, workers := range []int{0, 4} {
		for _, secure := range []bool{false, true} {
			o := options{engine: engine.Config{Workers: workers}, auth: slowly}
			if secure {
				o.engine.Listeners = []engine.Listener{{TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}}}
			}
			s := serve(t, o)
			errs := make(chan error, clients)
			places := make(chan struct{}, 20)
			var wg sync.WaitGroup
			for i := range clients {
				b := frame(t, logonMessage("user"+strconv.Itoa(i)), &protocol.Message{Type: echo, ID: 2, Body: []byte("hello")})
				places <- struct{}{}
				wg.Go(func() {
					defer func() { <-places }()
					errs <- logOnAskAndEnd(s.addr(), secure, ca, b)
				})
			}
			wg.Wait()
			answered := 0
			for range clients {
				if err := <-errs; err == nil {
					answered++
				} else {
					t.Log(err)
				}
			}
			if answered != clients {
				t.Errorf("%d workers, secure %v: %d of %d were answered", workers, secure, answered, clients)
			}
		}
	}
}

// logOnAskAndEnd sends b and the end in one piece, and wants the answers to a Logon and to a request.
func logOnAskAndEnd(addr string, secure bool, ca *testca.Authority, b []byte) error {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if secure {
		nc = tls.Client(nc, &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"})
	}
	if _, err := nc.Write(b); err != nil {
		return err
	}
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	var in wiretest.Reader
	for _, id := range []uint32{1, 2} {
		m, err := in.Next(nc.Read)
		if err != nil {
			return err
		}
		if m.ID != id || m.Flags != protocol.FlagReply {
			return errors.New("not the answer that was to come")
		}
	}
	if _, err := in.Next(nc.Read); err != io.EOF {
		return errors.New("no clean end")
	}
	return nil
}

// halfClosed returns a server with one client, ann, that has ended its sending side while its request is being handled: the
// handler runs until the function that is returned is called. Heartbeats are checked often.
func halfClosed(t *testing.T, o options) (s *server, c *rawClient, conn *engine.Conn, finish func()) {
	t.Helper()
	o.engine.Workers = 2
	s = newServer(t, o)
	handling, release := make(chan *engine.Conn, 1), make(chan struct{})
	finish = sync.OnceFunc(func() { close(release) })
	s.engine.Handle(7, func(c *engine.Conn, m *protocol.Message) error {
		handling <- c
		<-release
		return c.Reply(m, []byte("done"))
	})
	s.start()
	t.Cleanup(finish)
	c = s.logOn("ann")
	c.send(&protocol.Message{Type: 7, ID: 3})
	conn = receive(t, "the request", handling)
	c.endSide()
	eventually(t, "the client's end", func() bool {
		cannotBeSent := &protocol.Message{Type: push, UserID: strings.Repeat("x", 1000)}
		return errors.Is(conn.SendMessage(cannotBeSent, nil), engine.ErrClosed)
	})
	return s, c, conn, finish
}

// Rules 3, 8 and 14: a session whose client has ended its sending side gets replies only, is not timed out, and ends with
// ClientClosed when its last handler has returned.
func TestAHalfClosedSessionGetsRepliesOnly(t *testing.T) {
	const timeout = 50 * time.Millisecond
	s, c, conn, finish := halfClosed(t, options{users: usermgr.Config{HeartbeatTimeout: timeout, HeartbeatCheckInterval: 10 * time.Millisecond}})
	if err := conn.RequestFunc(push, nil, 0, func(*protocol.Message, error) {}); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("Request returned %v", err)
	}
	want := []string{"Connected ann@1", "Disconnected ann@1 ClientClosed"}
	for n := range 5 { // others, which fall silent after ann, are timed out
		s.logOn("bob").expectClose(protocol.HeartbeatTimeout)
		want = append(want, fmt.Sprintf("Connected bob@%d", n+2), fmt.Sprintf("TimedOut bob@%d", n+2), fmt.Sprintf("Disconnected bob@%d HeartbeatTimeout", n+2))
		if !s.users.IsOnline("ann") {
			t.Fatalf("ann is offline: %v", s.journal.all())
		}
	}
	finish()
	c.expect(7, "done")
	c.expectEnd()
	s.journal.expect(t, want...)
}

// Rule 14: the server's own requests fail when the client ends its sending side, which ends all that it could answer.
func TestARequestToAClientThatEndsItsSideFails(t *testing.T) {
	s := newServer(t, options{engine: engine.Config{Workers: 2}})
	failed := make(chan error, 1)
	release := make(chan struct{})
	s.engine.Handle(7, func(c *engine.Conn, m *protocol.Message) error {
		_, err := c.Request(context.Background(), push, nil)
		failed <- err
		<-release
		return nil
	})
	s.start()
	c := s.logOn("ann")
	c.send(&protocol.Message{Type: 7})
	if m := c.receive(); m.Type != push {
		t.Fatalf("received type %#x", m.Type)
	}
	c.endSide()
	if err := receive(t, "the request's end", failed); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("the request ended with %v", err)
	}
	close(release)
	c.expectEnd()
}

// Rule 14: a half-closed session that is kicked is told.
func TestAHalfClosedSessionIsToldWhyItIsKicked(t *testing.T) {
	s, c, _, _ := halfClosed(t, options{users: usermgr.Config{QuiesceTimeout: 10 * time.Millisecond}})
	wait, err := s.users.Kick("ann", &usermgr.KickOptions{Text: "enough"})
	if err != nil {
		t.Fatal(err)
	}
	c.expectClose(protocol.KickedOut)
	if _, err := wait(t.Context()); err != nil {
		t.Error(err)
	}
	s.journal.expect(t, "Connected ann@1", "Disconnected ann@1 KickedOut")
}

// Rule 4: a half-closed session is pushed out as any other, and told.
func TestAHalfClosedSessionIsPushedOutInOrder(t *testing.T) {
	s, c, _, _ := halfClosed(t, options{users: usermgr.Config{QuiesceTimeout: 10 * time.Millisecond}})
	s.logOn("ann")
	c.expectClose(protocol.PushedOut)
	lines := []string{"Connected ann@1", "PushedOut ann@1 by 2", "Disconnected ann@1 PushedOut", "Connected ann@2"}
	eventually(t, "the second session", func() bool { return len(s.journal.all()) >= len(lines) })
	if got := s.journal.all(); !slices.Equal(got, lines) {
		t.Errorf("it happened:\n\t%s", strings.Join(got, "\n\t"))
	}
}

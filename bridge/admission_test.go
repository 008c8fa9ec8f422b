package bridge_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// gate is an authenticator that holds users whose ID begins with "slow" up, until open is called, and pays no heed to
// its context.
type gate struct {
	held    chan struct{}
	waiting atomic.Int32
	most    atomic.Int32
	asked   atomic.Int32
}

func newGate() *gate { return &gate{held: make(chan struct{})} }

func (g *gate) open() { close(g.held) }

func (g *gate) authenticate(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
	g.asked.Add(1)
	if len(l.UserID) >= 4 && l.UserID[:4] == "slow" {
		n := g.waiting.Add(1)
		for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
		}
		<-g.held
		g.waiting.Add(-1)
	}
	return bridge.Identity{UserID: l.UserID}, nil
}

// Rule 13: a slow authenticator blocks no other user, not even on the same event loop.
func TestSlowAuthenticatorBlocksNobody(t *testing.T) {
	g := newGate()
	s := serve(t, options{engine: engine.Config{Loops: 1}, auth: g.authenticate})
	slow := s.dial()
	slow.send(logonMessage("slow"))
	eventually(t, "the authenticator is at it", func() bool { return g.waiting.Load() == 1 })
	for i := range 20 {
		s.logOn(fmt.Sprint("quick", i)).ask("hello")
	}
	g.open()
	slow.receive()
	slow.ask("at last")
}

// Rule 13: so many authenticators run at a time, and no more; those who wait for a place have it when one is free.
func TestAuthenticatorsAreBounded(t *testing.T) {
	const places, logons = 3, 12
	g := newGate()
	s := serve(t, options{engine: engine.Config{Loops: 1},
		auth: g.authenticate, bridge: bridge.Config{MaxAuthenticating: places}})
	var clients []*rawClient
	for i := range logons {
		c := s.dial()
		c.send(logonMessage(fmt.Sprint("slow", i)))
		clients = append(clients, c)
	}
	eventually(t, "all places are taken", func() bool { return g.waiting.Load() == places })
	last := s.dial() // turned away without an authenticator, by which time all Logons have been read
	last.send(&protocol.Message{Type: say, UserID: "ann"})
	last.expectClose(protocol.Unauthorized)
	if n := g.asked.Load(); n != places {
		t.Errorf("%d authenticators were asked at a time, %d is the most", n, places)
	}
	g.open()
	for _, c := range clients {
		c.receive()
		c.ask("in")
	}
	if n := g.most.Load(); n != places {
		t.Errorf("%d authenticators ran at a time, %d is the most", n, places)
	}
}

// Rule 13: at the deadline the client is told InternalError, although its authenticator never returns, and so are
// those who have waited for a place behind it. What the authenticator says then is of no use any more.
func TestLogonDeadline(t *testing.T) {
	const deadline = 150 * time.Millisecond
	g := newGate()
	s := serve(t, options{auth: g.authenticate, bridge: bridge.Config{MaxAuthenticating: 1, LogonDeadline: deadline}})
	began := time.Now()
	stuck := s.dial()
	stuck.send(logonMessage("slow"))
	eventually(t, "the authenticator is at it", func() bool { return g.waiting.Load() == 1 })
	behind := s.dial()
	behind.send(logonMessage("ann"))
	stuck.expectRefused(protocol.InternalError)
	behind.expectRefused(protocol.InternalError)
	if took := time.Since(began); took < deadline {
		t.Errorf("given up on after %v", took)
	}
	g.open()
	s.expectEnd()
}

// Rule 13: an authenticator that heeds its context ends with it: at the deadline, and when its client is gone.
func TestAuthenticatorsContext(t *testing.T) {
	causes := make(chan error, 2)
	var began atomic.Int32
	s := serve(t, options{auth: func(ctx context.Context, _ *engine.Conn, _ usermgr.Logon) (bridge.Identity, error) {
		began.Add(1)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return bridge.Identity{}, ctx.Err()
	}, bridge: bridge.Config{LogonDeadline: 300 * time.Millisecond}})
	waits := s.dial()
	waits.send(logonMessage("ann"))
	waits.expectRefused(protocol.InternalError)
	leaves := s.dial()
	leaves.send(logonMessage("bob"))
	eventually(t, "the authenticator is at it", func() bool { return began.Load() == 2 })
	leaves.reset()
	for _, want := range []protocol.CloseCode{protocol.InternalError, protocol.NetworkError} {
		if ce, ok := (<-causes).(*protocol.CloseError); !ok || ce.Code != want {
			t.Errorf("the cause is %v, want %v", ce, want)
		}
	}
	s.expectEnd()
}

// Rule 13: Timeouts.FirstMessage runs until the first message is there: half a frame does not stop it, and a logon that takes
// longer than it is let in.
func TestLogonTimeout(t *testing.T) {
	const timeout = 150 * time.Millisecond
	g := newGate()
	s := serve(t, options{engine: engine.Config{Timeouts: engine.Timeouts{FirstMessage: timeout}}, auth: g.authenticate})
	slow := s.dial()
	slow.send(logonMessage("slow"))
	eventually(t, "the authenticator is at it", func() bool { return g.waiting.Load() == 1 })
	began := time.Now()
	mute, half := s.dial(), s.dial()
	b := frame(t, logonMessage("ann"))
	half.sendBytes(b[:len(b)-1])
	mute.expectClose(protocol.LogonTimeout)
	half.expectClose(protocol.LogonTimeout)
	if took := time.Since(began); took < timeout {
		t.Errorf("timed out after %v", took)
	}
	g.open()
	slow.receive()
	s.expectEnd("Connected slow@1", "Disconnected slow@1 ServerStopping")
}

// Rules 5 and 13: what arrives while a connection is being admitted waits, and is delivered in order after Connected's
// handlers have returned.
func TestMessagesWaitForAdmission(t *testing.T) {
	for _, workers := range []int{0, 2} {
		g := newGate()
		s := newServer(t, options{engine: engine.Config{Workers: workers}, auth: g.authenticate})
		s.users.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) {
			testkit.BeSlow() // messages that do not wait come now
			s.journal.add("told slow@1")
		}})
		s.start()
		c := s.dial()
		c.send(logonMessage("slow"), &protocol.Message{Type: say, Body: []byte("0")})
		want := []string{"Connected slow@1", "told slow@1", "say slow@1 0"}
		for i := 1; i <= 100; i++ {
			c.send(&protocol.Message{Type: say, Body: fmt.Append(nil, i)})
			want = append(want, fmt.Sprint("say slow@1 ", i))
		}
		eventually(t, "the authenticator is at it", func() bool { return g.waiting.Load() == 1 })
		g.open()
		c.receive()
		c.ask("barrier")
		s.journal.expect(t, want...)
	}
}

// Rule 13: more than 64 KiB may not wait for an admission; that much may.
func TestTooMuchBeforeAdmission(t *testing.T) {
	g := newGate()
	s := serve(t, options{auth: g.authenticate})
	modest, greedy := s.dial(), s.dial()
	for _, c := range []*rawClient{modest, greedy} {
		c.send(logonMessage("slow" + c.name))
	}
	eventually(t, "the authenticators are at it", func() bool { return g.waiting.Load() == 2 })
	fits := &protocol.Message{Type: echo, ID: 1, Body: make([]byte, 64<<10-layout.HeaderLen)}
	modest.send(fits)
	greedy.send(fits)
	greedy.sendBytes([]byte{0x52})
	greedy.expectClose(protocol.RateLimited)
	g.open()
	modest.receive()
	modest.expect(echo, string(fits.Body))
	s.expectEnd("Connected slow1@1", "Disconnected slow1@1 ServerStopping")
}

// Before admission a frame may have 4 KiB: a larger one is refused by its header.
func TestFirstFrameIsLimited(t *testing.T) {
	s := serve(t, options{})
	for _, size := range []int{4<<10 - layout.HeaderLen - 3, 4<<10 - layout.HeaderLen - 2} {
		c := s.dial()
		b := frame(t, &protocol.Message{Type: echo, ID: 1, UserID: "ann", Body: make([]byte, size)})
		if len(b) > 4<<10 {
			c.sendBytes(b[:layout.HeaderLen])
			c.expectClose(protocol.MessageTooLarge)
			continue
		}
		c.sendBytes(b)
		c.expect(echo, string(make([]byte, size)))
	}
}

// Rule 3: a connection that is lost while it is being verified fires nothing.
func TestClientLeavesDuringAdmission(t *testing.T) {
	verifying := make(chan struct{})
	s := serve(t, options{auth: func(ctx context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		close(verifying)
		<-ctx.Done()
		return bridge.Identity{UserID: l.UserID}, nil // after the client has left
	}})
	c := s.dial()
	c.send(logonMessage("slow"))
	receive(t, "the logon", verifying)
	c.reset()
	eventually(t, "the connection is gone, and its logon", func() bool { return s.engine.Stats().Conns.Open == 0 && s.bridge.Logons().LoggingOn == 0 })
	s.expectEnd()
}

// Rules 3 and 13: a client that leaves, or whose deadline comes, while Connected's handlers run has a session, and its
// Disconnected.
func TestClientLeavesDuringConnected(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(c *rawClient)
		want string
	}{
		{"leaves", (*rawClient).reset, "NetworkError"},
		{"deadline", func(c *rawClient) { c.expectRefused(protocol.InternalError) }, "InternalError"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options{}
			if c.want == "InternalError" {
				o.bridge.LogonDeadline = 100 * time.Millisecond
			}
			s := newServer(t, o)
			frozen := make(chan struct{})
			s.users.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { <-frozen }})
			s.start()
			client := s.dial()
			client.send(logonMessage("ann"))
			s.journal.expect(t, "Connected ann@1")
			c.end(client)
			eventually(t, "the connection is gone", func() bool {
				_ = client.conn.(interface{ CloseWrite() error }).CloseWrite()
				return s.engine.Stats().Conns.Open == 0
			})
			close(frozen)
			s.expectEnd("Connected ann@1", "Disconnected ann@1 "+c.want)
		})
	}
}

package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 16: Run returns nil after every session's Disconnected, when all handlers have returned; every client is told;
// no client can connect any more.
func TestRunReturnsAfterEveryDisconnected(t *testing.T) {
	for _, workers := range []int{0, 2} {
		const clients = 50
		s := newServer(t, options{engine: engine.Config{Workers: workers}})
		var over atomic.Int32
		s.users.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) {
			testkit.BeSlow() // a Run that does not wait returns now
			over.Add(1)
		}})
		s.start()
		for i := range clients {
			s.logOn(fmt.Sprint("user", i))
		}
		addr := s.addr()
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if n := over.Load(); n != clients {
			t.Errorf("when Run returned %d of %d sessions had been told to have ended", n, clients)
		}
		if n := s.users.Count(); n != 0 {
			t.Errorf("%d users are online", n)
		}
		for _, c := range s.clients {
			c.expectClose(protocol.ServerStopping)
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Error("a stopped engine takes connections")
		}
	}
}

// Rules 3 and 16: logons that are under way when the engine stops come to nothing, whether they wait for an
// authenticator or for their user's turn.
func TestStopDuringLogons(t *testing.T) {
	s := serve(t, options{auth: func(ctx context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		<-ctx.Done()
		return bridge.Identity{}, ctx.Err()
	}, bridge: bridge.Config{}})
	c := s.dial()
	c.send(logonMessage("ann"))
	s.dial() // has said nothing
	eventually(t, "both are connected", func() bool { return s.engine.Stats().Conns.Open == 2 })
	s.expectEnd()
}

// Rule 16: what is given up on at Timeouts.Stop is in the error: here a session whose Disconnected handler is frozen.
func TestFrozenDisconnectedHandlerIsGivenUpOn(t *testing.T) {
	const timeout = 300 * time.Millisecond
	s := newServer(t, options{engine: engine.Config{Timeouts: engine.Timeouts{Stop: timeout}}})
	frozen := make(chan struct{})
	s.users.Subscribe(usermgr.Events{Disconnected: func(i usermgr.SessionInfo, _ protocol.CloseCode) {
		if i.UserID == "frozen" {
			<-frozen
		}
	}})
	s.start()
	s.logOn("frozen")
	for i := range 5 {
		s.logOn(fmt.Sprint("user", i))
	}
	began := time.Now()
	err := s.stop()
	took := time.Since(began)
	close(frozen)
	if !errors.Is(err, engine.ErrStopTimeout) || !strings.Contains(err.Error(), " 1 sessions and 0 connections") {
		t.Errorf("Run returned %v", err)
	}
	if took < timeout || took > patience {
		t.Errorf("Run returned after %v, the timeout is %v", took, timeout)
	}
	if left := s.users.Count(); left != 0 { // unbinding does not wait for handlers
		t.Errorf("%d users are online", left)
	}
}

// Rule 16: an authenticator that never returns is given up on too.
func TestFrozenAuthenticatorIsGivenUpOn(t *testing.T) {
	g := newGate()
	s := serve(t, options{engine: engine.Config{Timeouts: engine.Timeouts{Stop: 200 * time.Millisecond}}, auth: g.authenticate})
	s.dial().send(logonMessage("slow"))
	eventually(t, "the authenticator is at it", func() bool { return g.waiting.Load() == 1 })
	if err := s.stop(); !errors.Is(err, engine.ErrStopTimeout) {
		t.Errorf("Run returned %v", err)
	}
	g.open()
	eventually(t, "the authenticator has returned", func() bool { return g.waiting.Load() == 0 })
	if all := s.journal.all(); len(all) > 0 {
		t.Errorf("it happened: %q", all)
	}
}

// Rule 16: two engines may share a manager. The end of one leaves the sessions of the other, and a user can go from
// one to the other, pushed out in rule 4's order.
func TestTwoEnginesOneManager(t *testing.T) {
	users := testkit.Must(usermgr.New(usermgr.Config{HeartbeatTimeout: -1, Logger: zap.NewNop()}))
	t.Cleanup(func() { _ = users.Close(context.Background()) })
	one := newServerFor(t, options{}, users, users).start()
	two := newServerFor(t, options{}, nil, users).start()
	ann, bob := one.logOn("ann"), two.logOn("bob")
	first := one.logOn("carol")
	second := two.logOn("carol")
	first.expectClose(protocol.PushedOut)

	if err := two.bridge.Send("ann", push, nil); !errors.Is(err, protocol.UserOffline) {
		t.Errorf("sending to a user of the other engine: %v", err)
	}
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	ann.expectClose(protocol.ServerStopping)
	bob.ask("here")
	second.ask("here")
	if users.IsOnline("ann") || !users.IsOnline("bob") || !users.IsOnline("carol") {
		t.Errorf("online: ann %v, bob %v, carol %v", users.IsOnline("ann"), users.IsOnline("bob"), users.IsOnline("carol"))
	}
	if err := two.stop(); err != nil {
		t.Error(err)
	}
	if n := users.Count(); n != 0 {
		t.Errorf("%d users are online", n)
	}
}

// Rule 16, E6: Clear ends every session of the moment; clients may come back.
func TestClear(t *testing.T) {
	s := serve(t, options{})
	ann := s.logOn("ann")
	if n, err := s.users.Clear(t.Context()); n != 1 || err != nil {
		t.Errorf("Clear ended %d sessions, %v", n, err)
	}
	ann.expectClose(protocol.ServerStopping)
	s.logOn("ann")
	s.expectEnd("Connected ann@1", "Disconnected ann@1 ServerStopping", "Connected ann@2", "Disconnected ann@2 ServerStopping")
}

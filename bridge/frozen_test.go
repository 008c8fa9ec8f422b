package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

const freeze uint16 = 0x70 // its handler is stuck until the test says so

// Rule 5: with Workers, a session whose message handler is stuck is given up on after QuiesceTimeout, so that its user
// can log on again; what the handler sends later gets ErrClosed, and does not reach the new session.
func TestStuckHandlerDoesNotLockItsUserOut(t *testing.T) {
	const deadline = 150 * time.Millisecond
	s := newServer(t, options{engine: engine.Config{Workers: 2}, users: usermgr.Config{QuiesceTimeout: deadline}})
	started, thaw, sent := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	s.engine.Handle(freeze, func(c *engine.Conn, m *protocol.Message) error {
		close(started)
		<-thaw
		sent <- c.Send(push, []byte("too late"))
		sent <- c.Reply(m, []byte("too late"))
		return nil
	})
	s.start()
	first := s.logOn("ann")
	first.send(&protocol.Message{Type: freeze, ID: 1}, &protocol.Message{Type: say, Body: []byte("behind it")})
	<-started
	began := time.Now()
	second := s.logOn("ann")
	if took := time.Since(began); took < deadline {
		t.Errorf("the new session did not wait: %v", took)
	}
	first.expectClose(protocol.PushedOut)
	second.ask("served")
	if n := s.users.Stats().HandlersFrozen; n != 1 {
		t.Errorf("%d handlers were given up on", n)
	}
	close(thaw)
	for range 2 {
		if err := <-sent; !errors.Is(err, engine.ErrClosed) {
			t.Errorf("the stuck handler sent, and got %v", err)
		}
	}
	second.ask("alone")
	s.expectEnd("Connected ann@1", "PushedOut ann@1 by 2", "Disconnected ann@1 PushedOut", "Connected ann@2",
		"Disconnected ann@2 ServerStopping")
}

// Rule 5: a message handler that is busy, but not stuck, is waited for: nothing of the old session's is told, and
// nothing of the new one's happens, before it has returned.
func TestBusyHandlerIsWaitedFor(t *testing.T) {
	s := newServer(t, options{engine: engine.Config{Workers: 2}})
	started, thaw := make(chan struct{}), make(chan struct{})
	s.engine.Handle(freeze, func(c *engine.Conn, m *protocol.Message) error {
		close(started)
		<-thaw
		s.journal.add("handled ann@1")
		return nil
	})
	s.start()
	first, second, bob := s.logOn("ann"), s.dial(), s.logOn("bob")
	first.send(&protocol.Message{Type: freeze}, &protocol.Message{Type: say, Body: []byte("dropped")})
	<-started
	second.send(logonMessage("ann"))
	for range 50 { // longer than it takes to push out a session that is not waited for
		bob.ask("meanwhile")
	}
	s.journal.expect(t, "Connected ann@1", "Connected bob@3")
	close(thaw)
	second.receive()
	first.expectClose(protocol.PushedOut)
	s.journal.expect(t, "Connected ann@1", "Connected bob@3", "handled ann@1", "PushedOut ann@1 by 2",
		"Disconnected ann@1 PushedOut", "Connected ann@2")
}

// Rules 5 and 16: a message handler that blocks its event loop is logged and counted, its session ends without it, and
// Run returns at its deadline with an error that says so. Users on other loops are served.
func TestStuckLoop(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	s := newServer(t, options{
		engine: engine.Config{Loops: 2, Timeouts: engine.Timeouts{Stall: 100 * time.Millisecond, Stop: 500 * time.Millisecond}, Logger: zap.New(core)},
		users:  usermgr.Config{QuiesceTimeout: 50 * time.Millisecond}})
	thaw := make(chan struct{})
	s.engine.Handle(freeze, func(*engine.Conn, *protocol.Message) error { <-thaw; return nil })
	s.start()
	ann, bob := s.logOn("ann"), s.logOn("bob") // each on a loop of its own
	ann.send(&protocol.Message{Type: freeze})
	eventually(t, "the stall is counted and logged", func() bool {
		return s.engine.Stats().Stalls == 1 && logs.FilterMessageSnippet("an event loop is stuck").Len() == 1
	})
	bob.ask("served")

	began := time.Now()
	s.cancel()
	bob.hearOut()
	receive(t, "the end of Run", s.ended)
	if err := s.outcome; !errors.Is(err, engine.ErrStopTimeout) || !strings.Contains(err.Error(), "stuck") ||
		!strings.Contains(err.Error(), " 0 sessions and 1 connections") {
		t.Errorf("Run returned %v", err)
	}
	if took := time.Since(began); took < 500*time.Millisecond || took > patience {
		t.Errorf("Run returned after %v", took)
	}
	s.journal.expect(t, "Connected ann@1", "Connected bob@2", "Disconnected bob@2 ServerStopping", "Disconnected ann@1 ServerStopping")
	close(thaw)
}

// Rules 5 and 10: a frozen event handler holds its own user alone. That user's waiting logons end with InternalError at
// their deadline; thousands of others log on, chat and leave meanwhile.
func TestFrozenEventHandlerHoldsItsUserAlone(t *testing.T) {
	const atATime = 100
	others := 10_000
	if testing.Short() || testkit.Raced {
		others = 1_000
	}
	s := newServer(t, options{bridge: bridge.Config{LogonDeadline: 500 * time.Millisecond}})
	thaw := make(chan struct{})
	var came, left atomic.Int64
	s.users.Subscribe(usermgr.Events{
		Connected: func(i usermgr.SessionInfo) {
			if i.UserID == "frozen" {
				<-thaw
				return
			}
			came.Add(1)
		},
		Disconnected: func(i usermgr.SessionInfo, why protocol.CloseCode) {
			if i.UserID != "frozen" && why == protocol.ClientClosed {
				left.Add(1)
			}
		},
	})
	s.engine.Handle(talk, func(c *engine.Conn, m *protocol.Message) error {
		if err := s.bridge.Send(m.DestUserID, push, m.Body); err != nil {
			_ = c.ReplyError(m, err)
		}
		return nil
	})
	s.start()
	frozen := s.dial()
	frozen.send(logonMessage("frozen"))
	eventually(t, "the handler is frozen", func() bool { return s.users.IsOnline("frozen") })
	waiting := make([]*rawClient, 5)
	for i := range waiting {
		waiting[i] = s.dial()
		waiting[i].send(logonMessage("frozen"))
	}

	var crowd sync.WaitGroup
	began := time.Now()
	for g := range atATime {
		crowd.Go(func() {
			for i := g; i < others; i += atATime {
				if err := chat(s.addr(), fmt.Sprint("user", i)); err != nil {
					t.Errorf("user%d: %v", i, err)
					return
				}
			}
		})
	}
	crowd.Wait()
	t.Logf("%d users came, chatted and left in %v", others, time.Since(began).Round(time.Millisecond))
	for _, c := range append(waiting, frozen) {
		c.expectRefused(protocol.InternalError)
	}
	eventually(t, "all others have left", func() bool { return left.Load() == int64(others) })
	if n := came.Load(); n != int64(others) {
		t.Errorf("%d of %d came", n, others)
	}
	if n := s.users.Count(); n != 1 {
		t.Errorf("%d users are online; it is the frozen one alone", n)
	}
	close(thaw)
	eventually(t, "the frozen user is gone", func() bool { return s.users.Count() == 0 })
	s.logOn("frozen").ask("thawed")
}

// chat logs on, sends itself a message by the bridge, and leaves.
func chat(addr, user string) error {
	c, err := dialRaw(addr)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if _, err := c.tryLogOn(user); err != nil {
		return err
	}
	if err := c.write(&protocol.Message{Type: talk, ID: 1, DestUserID: user, Body: []byte("hello, me")}); err != nil {
		return err
	}
	m, err := c.read()
	if err == nil && (m.Type != push || string(m.Body) != "hello, me") {
		err = fmt.Errorf("received %+v", m)
	}
	return err
}

package bridge_test

import (
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 11: by default the bridge notifies and closes, with the code and the text with which the session ended.
func TestBridgeCloses(t *testing.T) {
	s := serve(t, options{})
	c := s.logOn("ann")
	_, _ = s.users.Kick("ann", &usermgr.KickOptions{Text: "enough of you"})
	if notice := c.expectClose(protocol.KickedOut); notice.Text != "enough of you" {
		t.Errorf("the client was told %q", notice.Text)
	}
	s.expectEnd("Connected ann@1", "Disconnected ann@1 KickedOut")
}

// Rule 11, E4: with ManualClose handlers notify and close, in their own words.
func TestManualCloseLeavesItToHandlers(t *testing.T) {
	s := newServer(t, options{bridge: bridge.Config{ManualClose: true}})
	closeIt := func(i usermgr.SessionInfo, code protocol.CloseCode, text string) {
		c := s.engine.Conn(i.Address.Conn)
		_ = c.Send(push, []byte("goodbye"))
		c.Close(&protocol.CloseError{Code: code, Text: text})
	}
	s.users.Subscribe(usermgr.Events{
		PushedOut: func(old usermgr.SessionInfo, _ usermgr.Address) { closeIt(old, 4001, "from PushedOut") },
		TimedOut:  func(i usermgr.SessionInfo) { closeIt(i, 3001, "from TimedOut") },
		Disconnected: func(i usermgr.SessionInfo, why protocol.CloseCode) {
			if why == protocol.KickedOut {
				closeIt(i, 4002, "from Disconnected")
			}
		},
	})
	s.start()
	first, second := s.logOn("ann"), s.logOn("ann")
	first.expect(push, "goodbye")
	first.expectClose(4001)
	_, _ = s.users.Kick("ann", &usermgr.KickOptions{Text: "the manager's text"})
	second.expect(push, "goodbye")
	if notice := second.expectClose(4002); notice.Text != "from Disconnected" {
		t.Errorf("the client was told %q", notice.Text)
	}
	s.expectEnd("Connected ann@1", "PushedOut ann@1 by 2", "Disconnected ann@1 PushedOut", "Connected ann@2",
		"Disconnected ann@2 KickedOut")
}

// Rule 11: with ManualClose the connection stays open after Disconnected, and can be sent to; but none of its messages
// is delivered. If the application does not close it, the bridge does, after its grace.
func TestManualCloseEndsByItself(t *testing.T) {
	for _, workers := range []int{0, 2} {
		func() {
			const grace = 300 * time.Millisecond
			defer bridge.SetManualCloseGrace(grace)()
			s := serve(t, options{engine: engine.Config{Workers: workers, Loops: 1}, bridge: bridge.Config{ManualClose: true}})
			c, bob := s.logOn("ann"), s.logOn("bob")
			conn := s.engine.Conn(addressesOf(s.users, "ann")[0].Conn)
			began := time.Now()
			_, _ = s.users.Kick("ann", &usermgr.KickOptions{Text: "nobody closes"})
			s.journal.expect(t, "Connected ann@1", "Connected bob@2", "Disconnected ann@1 KickedOut")
			if err := conn.Send(push, []byte("still open")); err != nil {
				t.Errorf("sending after Disconnected: %v", err)
			}
			c.expect(push, "still open")
			c.send(&protocol.Message{Type: say, Body: []byte("dropped")}, &protocol.Message{Type: echo, ID: 1})
			barrier(bob)
			c.expectClose(protocol.KickedOut)
			if took := time.Since(began); took < grace {
				t.Errorf("the bridge closed after %v", took)
			}
			s.expectEnd("Connected ann@1", "Disconnected ann@1 KickedOut", "Connected bob@2", "Disconnected bob@2 ServerStopping")
		}()
	}
}

// Rule 11 and 16: with ManualClose an engine that stops closes its connections itself, at once.
func TestManualCloseDoesNotHoldTheEngineUp(t *testing.T) {
	defer bridge.SetManualCloseGrace(time.Hour)()
	s := serve(t, options{bridge: bridge.Config{ManualClose: true},
		users: usermgr.Config{HeartbeatTimeout: time.Minute}})
	c := s.logOn("ann")
	began := time.Now()
	s.expectEnd("Connected ann@1", "Disconnected ann@1 ServerStopping")
	if took := time.Since(began); took > patience {
		t.Errorf("stopping took %v", took)
	}
	c.expectClose(protocol.ServerStopping)
}

// Rule 7: a refused logon has no session, and no handler to close it: with ManualClose too the bridge does.
func TestManualCloseAndRefusedLogon(t *testing.T) {
	s := serve(t, options{bridge: bridge.Config{ManualClose: true}, users: usermgr.Config{RelogonMode: usermgr.IgnoreNew}})
	s.logOn("ann")
	c := s.dial()
	c.send(logonMessage("ann"))
	c.expectRefused(protocol.AlreadyLoggedOn)
}

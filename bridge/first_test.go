package bridge_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 1, E1: without an authenticator any first message binds, and is delivered like any other. A connection
// without a message has no user.
func TestAnyFirstMessageBindsAndIsDelivered(t *testing.T) {
	s := serve(t, options{})
	s.dial()
	c := s.dial()
	c.send(&protocol.Message{Type: say, UserID: "ann", Body: []byte("hello")},
		&protocol.Message{Type: echo, ID: 3, Body: []byte("there")})
	c.expect(echo, "there")
	s.expectEnd("Connected ann@2", "say ann@2 hello", "Disconnected ann@2 ServerStopping")
}

// Rule 1: a heartbeat binds too, and is answered like any other.
func TestFirstHeartbeatBinds(t *testing.T) {
	s := serve(t, options{})
	c := s.dial()
	c.send(&protocol.Message{Type: protocol.TypeHeartbeat, ID: 5, UserID: "ann"})
	if m := c.receive(); m.Type != protocol.TypeHeartbeat || !m.IsReply() || m.ID != 5 {
		t.Errorf("the heartbeat was answered with %+v", m)
	}
	s.journal.expect(t, "Connected ann@1")
}

// Rule 1: a Logon binds, and its reply has the session's ID and how often to show signs of life.
func TestLogonIsAnswered(t *testing.T) {
	s := serve(t, options{users: usermgr.Config{HeartbeatTimeout: time.Minute}})
	c := s.dial()
	m := logonMessage("ann")
	m.Device = 7
	c.send(m)
	r := c.receive()
	if r.Type != protocol.TypeLogon || r.Flags != protocol.FlagReply || r.ID != m.ID || r.UserID != "" {
		t.Fatalf("the Logon was answered with %+v", r)
	}
	fields, err := protocol.ParseLogonReply(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	info, ok := s.users.Session(fields[protocol.FieldSession])
	if !ok || info.UserID != "ann" || info.Device != 7 || info.Remote.String() != c.conn.LocalAddr().String() || info.Via != "tcp" {
		t.Errorf("the session in the reply is %+v, %v", info, ok)
	}
	if got := fields[protocol.FieldHeartbeatMS]; got != "20000" {
		t.Errorf("heartbeat-ms is %q, want a third of a minute", got)
	}
}

// A negative HeartbeatInterval tells clients nothing; nor does a manager without a heartbeat timeout.
func TestHeartbeatInterval(t *testing.T) {
	for _, c := range []struct {
		name     string
		timeout  time.Duration
		interval time.Duration
		want     string
	}{
		{"a third of the timeout", 9 * time.Second, 0, "3000"},
		{"set", 9 * time.Second, 1500 * time.Millisecond, "1500"},
		{"none", 9 * time.Second, -1, ""},
		{"nobody is watched", -1, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, options{users: usermgr.Config{HeartbeatTimeout: c.timeout},
				bridge: bridge.Config{HeartbeatInterval: c.interval}})
			if got := s.dial().logOn("ann")[protocol.FieldHeartbeatMS]; got != c.want {
				t.Errorf("heartbeat-ms is %q, want %q", got, c.want)
			}
		})
	}
}

// Rule 1: a first message with an invalid or reserved UserID is InvalidMessage; 255 bytes are the most and fine. A
// frame that the codec refuses never was a Logon, and has no reply.
func TestFirstUserID(t *testing.T) {
	long := strings.Repeat("ü", 127) + "x" // 255 bytes
	for _, c := range []struct {
		name    string
		userID  string
		refused bool
		reply   bool // the refused Logon has an error reply
	}{
		{"longest", long, false, false},
		{"spaces and other scripts", "Ann von Ülm 安", false, false},
		{"underscore within", "a_0", false, false},
		{"empty", "", true, true},
		{"the server's", protocol.ServerID, true, true},
		{"reserved", "_ann", true, true},
		{"control character", "ann\n", true, false},
		{"C1 control character", "ann\u0085", true, false},
		{"not UTF-8", "ann\xff", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, options{})
			logon, other := s.dial(), s.dial()
			b := rawFrame(protocol.TypeLogon, c.userID)
			b[11] = 1 // its ID
			logon.sendBytes(b)
			if !c.refused {
				logon.expect(protocol.TypeLogon, string(logonReplyBody(t, s, c.userID)))
				s.expectEnd("Connected "+c.userID+"@1", "Disconnected "+c.userID+"@1 ServerStopping")
				return
			}
			other.sendBytes(rawFrame(say, c.userID))
			if c.reply {
				logon.expectRefused(protocol.InvalidMessage)
			} else {
				logon.expectClose(protocol.InvalidMessage)
			}
			other.expectClose(protocol.InvalidMessage)
			s.expectEnd()
		})
	}
}

// logonReplyBody is the body of the reply to the Logon of a user without a heartbeat timeout.
func logonReplyBody(t *testing.T, s *server, userID string) []byte {
	t.Helper()
	var data usermgr.UserData
	eventually(t, userID+" is online", func() (ok bool) {
		data, ok = s.users.User(userID)
		return ok
	})
	b, err := system.AppendLogonReply(nil, map[string]string{protocol.FieldSession: data.Sessions[0].ID})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A Logon's body must be a string map.
func TestLogonWithBrokenFields(t *testing.T) {
	s := serve(t, options{})
	c := s.dial()
	c.send(&protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "ann", Body: []byte{1, 200}})
	c.expectRefused(protocol.InvalidMessage)
	s.expectEnd()
}

// A second Logon on a connection is InvalidMessage, and ends its session.
func TestSecondLogon(t *testing.T) {
	s := serve(t, options{})
	c := s.logOn("ann")
	c.send(logonMessage("ann"))
	c.expectClose(protocol.InvalidMessage)
	s.expectEnd("Connected ann@1", "Disconnected ann@1 InvalidMessage")
}

// A Close as the first message is a client that has thought better of it.
func TestFirstClose(t *testing.T) {
	s := serve(t, options{})
	c := s.dial()
	c.send(&protocol.Message{Type: protocol.TypeClose, UserID: "ann",
		Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.ClientClosed})})
	c.expectEnd()
	s.expectEnd()
}

// Rule 1: the reply to a Logon comes before any other frame, also what Connected's handlers and other goroutines send
// as soon as the user can be found; and their messages come in order.
func TestLogonReplyComesFirst(t *testing.T) {
	s := newServer(t, options{})
	s.users.Subscribe(usermgr.Events{Connected: func(i usermgr.SessionInfo) {
		for _, text := range []string{"first", "second", "third"} {
			if err := s.bridge.Send(i.UserID, push, []byte(text)); err != nil {
				t.Error(err)
			}
		}
	}})
	s.start()
	for range 20 {
		c := s.logOn("ann") // fails when another frame comes first
		for _, text := range []string{"first", "second", "third"} {
			c.expect(push, text)
		}
		c.ask("still in order")
	}
}

// Rule 1: where the first message binds and is delivered, what Connected's handlers send comes before its reply.
func TestConnectedSendsBeforeTheFirstReply(t *testing.T) {
	s := newServer(t, options{})
	s.users.Subscribe(usermgr.Events{Connected: func(i usermgr.SessionInfo) {
		_ = s.bridge.Send(i.UserID, push, []byte("welcome"))
	}})
	s.start()
	c := s.dial()
	c.send(&protocol.Message{Type: echo, ID: 1, UserID: "ann", Body: []byte("hello")})
	c.expect(push, "welcome")
	c.expect(echo, "hello")
}

// Rule 1: the reply to a Logon comes before what the session was sent, and before the notice, also where the session ends as soon as
// it has begun: a handler of Connected ends it, or another goroutine does.
func TestLogonReplyComesFirstWhenTheSessionEndsAtOnce(t *testing.T) {
	for _, workers := range []int{0, 2} {
		s := newServer(t, options{engine: engine.Config{Workers: workers}})
		s.users.Subscribe(usermgr.Events{Connected: func(i usermgr.SessionInfo) {
			if err := s.bridge.Send(i.UserID, push, []byte("go away")); err != nil {
				t.Error(err)
			}
			_, _ = s.users.Kick(i.UserID, &usermgr.KickOptions{Text: "at once"})
		}})
		s.start()
		for range 50 {
			c := s.logOn("ann") // fails when another frame comes first
			c.expect(push, "go away")
			c.expectClose(protocol.KickedOut)
		}
	}
}

// A bridge without a user manager is the programmer's mistake, told before the first client meets it.
func TestAttachNeedsAUserManager(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Attach did not panic")
		}
	}()
	testkit.Must(bridge.Attach(testkit.Must(engine.New(engine.Config{})), nil, nil, bridge.Config{}))
}

// Send refuses the system's types, for users online and offline: a Close from it would be a notice without an end.
func TestSendRefusesTheSystemsTypes(t *testing.T) {
	s := serve(t, options{})
	c := s.logOn("ann")
	for _, typ := range []uint16{protocol.TypeClose, 0xFFFF} {
		for _, userID := range []string{"ann", "nobody"} {
			if err := s.bridge.Send(userID, typ, nil); err == nil || errors.Is(err, protocol.UserOffline) {
				t.Errorf("Send of type 0x%04x to %s returned %v", typ, userID, err)
			}
		}
	}
	c.ask("still here")
}

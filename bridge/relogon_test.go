package bridge_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rules 4 and 6, E4: a second logon pushes the first one out, in one order, and the first client is told. The user is
// not offline in between, so the number of users does not change.
func TestReplaceOld(t *testing.T) {
	for _, workers := range []int{0, 2} {
		s := newServer(t, options{engine: engine.Config{Workers: workers}})
		var counts atomic.Int32
		s.users.Subscribe(usermgr.Events{UserCountChanged: func(int) { counts.Add(1) }})
		s.start()
		first := s.logOn("ann")
		second := s.logOn("ann")
		first.expectClose(protocol.PushedOut)
		second.ask("mine now")
		if n := counts.Load(); n > 1 {
			t.Errorf("the number of users changed %d times", n)
		}
		s.expectEnd("Connected ann@1", "PushedOut ann@1 by 2", "Disconnected ann@1 PushedOut", "Connected ann@2",
			"Disconnected ann@2 ServerStopping")
	}
}

// Rule 6: PushedOut's handlers may still send to the old connection, which gets it before the Close notice; while they
// run the user is still at the old address, and no message of the old connection is delivered any more. From
// Disconnected on the user is at the new one.
func TestPushedOutHandlers(t *testing.T) {
	s := newServer(t, options{engine: engine.Config{Loops: 1}})
	other := make(chan *rawClient, 1)
	var first *rawClient
	where := func() uint64 {
		a := addressesOf(s.users, "ann")
		if len(a) != 1 {
			t.Errorf("ann is at %v", a)
			return 0
		}
		return a[0].Conn
	}
	s.users.Subscribe(usermgr.Events{
		PushedOut: func(old usermgr.SessionInfo, by usermgr.Address) {
			first.send(&protocol.Message{Type: say, Body: []byte("too late")})
			barrier(<-other)
			if where() != old.Address.Conn {
				t.Error("PushedOut: ann is not at the old address")
			}
			if err := s.bridge.Send("ann", push, []byte("you are pushed out")); err != nil {
				t.Error(err)
			}
		},
		Disconnected: func(i usermgr.SessionInfo, why protocol.CloseCode) {
			if why == protocol.PushedOut && where() == i.Address.Conn {
				t.Error("Disconnected: ann is still at the old address")
			}
		},
	})
	s.start()
	other <- s.logOn("bob")
	first = s.logOn("ann")
	second := s.logOn("ann")
	second.ask("mine now")
	first.expect(push, "you are pushed out")
	first.expectClose(protocol.PushedOut)
	_, _ = s.users.Kick("bob", nil)
	s.journal.expect(t, "Connected bob@1", "Connected ann@2", "PushedOut ann@2 by 3", "Disconnected ann@2 PushedOut",
		"Connected ann@3", "Disconnected bob@1 KickedOut")
}

// barrier returns when a server with one event loop has read all that was written to it before the call: the first
// answer may have been under way already, the second one was not.
func barrier(c *rawClient) {
	c.t.Helper()
	c.ask("barrier")
	c.ask("barrier")
}

// Rule 7, E5: with IgnoreNew the first session stays, at its address, and the second client is told and closed.
func TestIgnoreNew(t *testing.T) {
	s := serve(t, options{users: usermgr.Config{RelogonMode: usermgr.IgnoreNew}})
	first := s.logOn("ann")
	before := addressesOf(s.users, "ann")
	second := s.dial()
	second.send(logonMessage("ann"))
	second.expectRefused(protocol.AlreadyLoggedOn)
	third := s.dial()
	third.send(&protocol.Message{Type: say, UserID: "ann", Body: []byte("no Logon")})
	third.expectClose(protocol.AlreadyLoggedOn)
	if after := addressesOf(s.users, "ann"); !slices.Equal(after, before) {
		t.Errorf("ann was at %v and is at %v", before, after)
	}
	first.ask("still mine")
	s.expectEnd("Connected ann@1", "Ignored ann@2", "Ignored ann@3", "Disconnected ann@1 ServerStopping")
}

// Rules 7 and 26: a Logon that carries the ID of the user's live session takes it over, in rule 4's order, and so does one
// that carries the ID of a session which that one has taken over. No other ID does, nor does another user's session.
func TestTakeOver(t *testing.T) {
	s := serve(t, options{users: usermgr.Config{RelogonMode: usermgr.IgnoreNew}})
	bob := s.logOn("bob")
	ghost := s.dial()
	session := ghost.logOn("ann")[protocol.FieldSession]
	for _, wrong := range []string{"", "nonsense", s.sessionID("bob")} {
		c := s.dial()
		c.send(logonMessage("ann", protocol.FieldSession, wrong))
		c.expectRefused(protocol.AlreadyLoggedOn)
	}
	back := s.dial()
	renewed := back.logOn("ann", protocol.FieldSession, session)[protocol.FieldSession]
	ghost.expectClose(protocol.PushedOut)
	if renewed == session {
		t.Error("the session that took over has the old ID")
	}
	again := s.dial() // as if the answer had been lost
	again.logOn("ann", protocol.FieldSession, session)
	back.expectClose(protocol.PushedOut)
	again.ask("mine")
	bob.ask("untouched")
	_, _ = s.users.Kick("bob", nil)
	s.journal.expect(t, "Connected bob@1", "Connected ann@2", "Ignored ann@3", "Ignored ann@4", "Ignored ann@5",
		"PushedOut ann@2 by 6", "Disconnected ann@2 PushedOut", "Connected ann@6", "PushedOut ann@6 by 7",
		"Disconnected ann@6 PushedOut", "Connected ann@7", "Disconnected bob@1 KickedOut")
}

func (s *server) sessionID(userID string) string {
	s.t.Helper()
	data, ok := s.users.User(userID)
	if !ok {
		s.t.Fatalf("%s is not online", userID)
	}
	return data.Sessions[0].ID
}

// Rule 7: only a client that the authenticator accepts as the session's user can take it over.
func TestTakeOverNeedsAuthentication(t *testing.T) {
	o := authenticated()
	o.users.RelogonMode = usermgr.IgnoreNew
	s := serve(t, o)
	ann := s.dial()
	session := ann.logOn("", protocol.FieldToken, "ann")[protocol.FieldSession]
	for _, l := range []*protocol.Message{
		logonMessage("ann", protocol.FieldSession, session),
		logonMessage("ann", protocol.FieldSession, session, protocol.FieldToken, "mallory"),
	} {
		c := s.dial()
		c.send(l)
		c.expectRefused(protocol.Unauthorized)
	}
	mallory := s.dial()
	mallory.logOn("", protocol.FieldSession, session, protocol.FieldToken, "mallory")
	ann.ask("still mine")
	s.journal.expect(t, "Connected ann@1", "Connected mallory@4")
}

// Rule 9, E4: the end of an old connection, whenever and however it comes, does not touch the newer session.
func TestStaleCloseIsHarmless(t *testing.T) {
	s := serve(t, options{})
	old := s.dial()
	if err := old.conn.(interface{ SetLinger(int) error }).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	old.logOn("ann")
	second := s.logOn("ann")
	old.conn.Close() // a reset, while the server waits for the old client's end
	third := s.logOn("ann")
	second.expectClose(protocol.PushedOut)
	second.conn.Close()
	eventually(t, "the old connections are gone", func() bool { return s.engine.Stats().Conns.Open == 1 })
	third.ask("mine")
	s.expectEnd("Connected ann@1", "PushedOut ann@1 by 2", "Disconnected ann@1 PushedOut", "Connected ann@2",
		"PushedOut ann@2 by 3", "Disconnected ann@2 PushedOut", "Connected ann@3", "Disconnected ann@3 ServerStopping")
}

// Rule 3: a client's own end is Disconnected, with its cause: a Close message or an end between two frames is
// ClientClosed, a reset or an end within a frame a NetworkError.
func TestClientsEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(c *rawClient)
		want string
	}{
		{"Close message", func(c *rawClient) {
			c.send(&protocol.Message{Type: protocol.TypeClose,
				Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.ClientClosed})})
		}, "ClientClosed"},
		{"end between frames", func(c *rawClient) { c.conn.Close() }, "ClientClosed"},
		{"end within a frame", func(c *rawClient) {
			b := frame(c.t, &protocol.Message{Type: say, Body: []byte("never finished")})
			c.sendBytes(b[:len(b)-1])
			c.conn.Close()
		}, "NetworkError"},
		{"reset", func(c *rawClient) {
			_ = c.conn.(interface{ SetLinger(int) error }).SetLinger(0)
			c.conn.Close()
		}, "NetworkError"},
	} {
		for _, workers := range []int{0, 2} {
			t.Run(c.name, func(t *testing.T) {
				s := serve(t, options{engine: engine.Config{Workers: workers}})
				client := s.logOn("ann")
				client.ask("here")
				c.end(client)
				s.journal.expect(t, "Connected ann@1", "Disconnected ann@1 "+c.want)
				if s.users.IsOnline("ann") {
					t.Error("ann is still online")
				}
			})
		}
	}
}

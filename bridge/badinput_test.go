package bridge_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 15: one bad peer is one closed connection, with its code; a healthy one beside it on the same event loop is
// served throughout. Before is what a connection sends without having logged on, after what it sends when it has.
func TestBadInput(t *testing.T) {
	edited := func(m *protocol.Message, edit func(b []byte)) []byte {
		b := frame(t, m)
		edit(b)
		return b
	}
	message := &protocol.Message{Type: say, UserID: "ann", Body: []byte("hello")}
	before := []struct {
		name   string
		bytes  []byte
		code   protocol.CloseCode
		logons bool // it is a Logon, and refused as one
	}{
		{name: "another protocol", bytes: []byte("GET / HTTP/1.1\r\n\r\n"), code: protocol.InvalidMessage},
		{name: "a TLS hello", bytes: []byte{0x16, 3, 1, 2, 0}, code: protocol.InvalidMessage},
		{name: "version 2", bytes: edited(message, func(b []byte) { b[1] = 2 << 4 }), code: protocol.InvalidMessage},
		{name: "flag 4", bytes: edited(message, func(b []byte) { b[1] |= 4 }), code: protocol.InvalidMessage},
		{name: "flag 8", bytes: edited(message, func(b []byte) { b[1] |= 8 }), code: protocol.InvalidMessage},
		{name: "error without reply", bytes: edited(message, func(b []byte) { b[1] |= 2 }), code: protocol.InvalidMessage},
		{name: "type 0", bytes: edited(message, func(b []byte) { b[2], b[3] = 0, 0 }), code: protocol.InvalidMessage},
		{name: "IDs longer than the frame", bytes: edited(message, func(b []byte) { b[13] = 255 }), code: protocol.InvalidMessage},
		{name: "no user", bytes: frame(t, &protocol.Message{Type: say}), code: protocol.InvalidMessage},
		{name: "reserved user", bytes: frame(t, &protocol.Message{Type: say, UserID: "_0"}), code: protocol.InvalidMessage},
		{name: "first frame over 4 KiB", bytes: edited(message, func(b []byte) { binary.BigEndian.PutUint32(b[4:], 5000) }),
			code: protocol.MessageTooLarge},
		{name: "first frame of 4 GiB", bytes: edited(message, func(b []byte) { binary.BigEndian.PutUint32(b[4:], 1<<32-1) }),
			code: protocol.MessageTooLarge},
		{name: "broken fields", bytes: frame(t, &protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "ann", Body: []byte{9}}),
			code: protocol.InvalidMessage, logons: true},
		{name: "already logged on", bytes: frame(t, logonMessage("healthy")), code: protocol.AlreadyLoggedOn, logons: true},
		{name: "nothing in time", bytes: nil, code: protocol.LogonTimeout},
		{name: "half a header in time", bytes: frame(t, message)[:7], code: protocol.LogonTimeout},
	}
	after := []struct {
		name  string
		bytes []byte
		code  protocol.CloseCode
	}{
		{"garbage", []byte{0xff, 0, 0xff}, protocol.InvalidMessage},
		{"garbage behind a message", append(frame(t, &protocol.Message{Type: protocol.TypeHeartbeat}), "garbage"...), protocol.InvalidMessage},
		{"a second Logon", frame(t, logonMessage("bad")), protocol.InvalidMessage},
		{"body over 1 MiB", edited(message, func(b []byte) { binary.BigEndian.PutUint32(b[4:], 3+1<<20+1) }), protocol.MessageTooLarge},
		{"body of 4 GiB", edited(message, func(b []byte) { binary.BigEndian.PutUint32(b[4:], 1<<32-1) }), protocol.MessageTooLarge},
		{"another's ID", frame(t, message), protocol.WrongUserID},
		{"a message whose handler panics", frame(t, &protocol.Message{Type: explode}), protocol.InternalError},
	}

	for _, workers := range []int{0, 2} {
		s := newServer(t, options{engine: engine.Config{Loops: 1, Workers: workers, Timeouts: engine.Timeouts{FirstMessage: 200 * time.Millisecond}},
			users: usermgr.Config{RelogonMode: usermgr.IgnoreNew}, bridge: bridge.Config{StrictUserID: true}})
		s.engine.Handle(explode, func(*engine.Conn, *protocol.Message) error { panic("in a message handler") })
		s.start()
		healthy := s.logOn("healthy")
		for _, c := range before {
			bad := s.dial()
			bad.sendBytes(c.bytes)
			healthy.ask("while " + c.name)
			if c.logons {
				bad.expectRefused(c.code)
			} else {
				bad.expectClose(c.code)
			}
		}
		if n := s.users.Count(); n != 1 {
			t.Errorf("%d users are online", n)
		}
		for _, c := range after {
			bad := s.logOn("bad")
			bad.sendBytes(c.bytes)
			healthy.ask("while " + c.name)
			bad.expectClose(c.code)
			end := "Disconnected bad@" + bad.name + " " + c.code.Error()
			eventually(t, end, func() bool { return slices.Contains(s.journal.all(), end) })
		}
		healthy.ask("to the end")
	}
}

const explode uint16 = 0x66 // its handler panics

// Rule 15: a peer that never reads is a SlowConsumer, and delays no other peer of its event loop.
func TestPeerThatNeverReads(t *testing.T) {
	s := serve(t, options{engine: engine.Config{Loops: 1, Limits: engine.Limits{MaxOutbound: 256 << 10}, Timeouts: engine.Timeouts{Close: 200 * time.Millisecond}}})
	healthy, deaf := s.logOn("healthy"), s.logOn("deaf")
	request := frame(t, &protocol.Message{Type: echo, ID: 1, Body: make([]byte, 32<<10)})
	go func() {
		_ = deaf.conn.SetWriteDeadline(time.Now().Add(patience))
		for {
			if _, err := deaf.conn.Write(request); err != nil {
				return
			}
		}
	}()
	eventually(t, "the peer is thrown out", func() bool {
		healthy.ask("meanwhile")
		return !s.users.IsOnline("deaf")
	})
	eventually(t, "its connection is closed", func() bool {
		healthy.ask("meanwhile")
		return s.engine.Stats().Conns.Open == 1
	})
	s.expectEnd("Connected healthy@1", "Disconnected healthy@1 ServerStopping", "Connected deaf@2", "Disconnected deaf@2 SlowConsumer")
}

// Types of the system are never the application's, and never relayed, whatever their flags and whomever they are for: neither
// a default handler nor the relay sees them. Who asked with one that this version does not know is told.
func TestUnknownSystemTypesAreNotDelivered(t *testing.T) {
	for _, o := range []options{
		{},
		{engine: engine.Config{Workers: 2}},
		{bridge: bridge.Config{Relay: &bridge.Relay{}}},
		{engine: engine.Config{Workers: 2}, bridge: bridge.Config{Relay: &bridge.Relay{}}},
	} {
		s := newServer(t, o)
		s.engine.HandleDefault(func(c *engine.Conn, m *protocol.Message) error {
			t.Errorf("the default handler got type %#x", m.Type)
			return c.Reply(m, m.Body)
		})
		s.start()
		bob, c := s.logOn("bob"), s.logOn("ann")
		for _, typ := range []uint16{protocol.TypeHeartbeat, protocol.TypeLogon, protocol.TypeClose + 1, protocol.TypePushAck, protocol.TypeWhoIsOnline, 0xFFFF} {
			c.send(&protocol.Message{Type: typ, Flags: protocol.FlagReply, ID: 4, DestUserID: "bob", Body: []byte("forged")},
				&protocol.Message{Type: typ, Flags: protocol.FlagReply, DestUserID: "bob"})
		}
		for _, typ := range []uint16{protocol.TypeClose + 1, 0xFFFF} {
			c.send(&protocol.Message{Type: typ, DestUserID: "bob"}, &protocol.Message{Type: typ, ID: 3, DestUserID: "bob"})
			m := c.receive()
			ce, err := protocol.ParseClose(m.Body)
			if err != nil || m.Type != typ || m.ID != 3 || m.Flags != protocol.FlagReply|protocol.FlagError || ce.Code != protocol.NoHandler {
				t.Errorf("type %#x was answered with %+v", typ, m)
			}
		}
		c.ask("served")
		bob.ask("nothing came before this")
		bye := s.logOn("bye")
		bye.send(&protocol.Message{Type: protocol.TypeClose, Flags: protocol.FlagReply, ID: 4, DestUserID: "bob"})
		eventually(t, "the end of who sent a Close", func() bool { return !s.users.IsOnline("bye") })
		bob.ask("still nothing")
	}
}

// Sending to a user who is offline says so, also right after a close.
func TestSendToWhoIsOffline(t *testing.T) {
	s := serve(t, options{})
	if err := s.bridge.Send("nobody", push, nil); !errors.Is(err, protocol.UserOffline) {
		t.Errorf("sending to nobody: %v", err)
	}
	c := s.logOn("ann")
	_, _ = s.users.Kick("ann", nil)
	c.expectClose(protocol.KickedOut)
	if err := s.bridge.Send("ann", push, nil); !errors.Is(err, protocol.UserOffline) {
		t.Errorf("sending to a user who was kicked: %v", err)
	}
}

// A message that carries its sender is relayed under the sender's ID.
func TestSendMessageKeepsTheSender(t *testing.T) {
	s := serve(t, options{})
	c := s.logOn("ann")
	if err := s.bridge.SendMessage("ann", &protocol.Message{Type: push, UserID: "bob", DestUserID: "ann", Body: []byte("hi")}, nil); err != nil {
		t.Fatal(err)
	}
	if m := c.receive(); m.UserID != "bob" || m.DestUserID != "ann" || string(m.Body) != "hi" {
		t.Errorf("ann received %+v", m)
	}
}

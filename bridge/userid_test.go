package bridge_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/protocol"
)

// Rule 2, E1: later messages are delivered under the bound UserID, whatever their headers say, valid or reserved.
func TestLaterUserIDsAreIgnored(t *testing.T) {
	s := serve(t, options{})
	c := s.logOn("ann")
	s.logOn("bob")
	for _, userID := range []string{"", "ann", "bob", protocol.ServerID} {
		c.send(&protocol.Message{Type: say, UserID: userID, Body: []byte("as " + userID)})
	}
	c.ask("barrier")
	s.journal.expect(t, "Connected ann@1", "Connected bob@2",
		"say ann@1 as ", "say ann@1 as ann", "say ann@1 as bob", "say ann@1 as _0")
}

// Rule 2: StrictUserID closes a mismatch with WrongUserID. What came before it has been delivered, what comes after it
// is not, and the user whose ID it was is left alone.
func TestStrictUserID(t *testing.T) {
	s := serve(t, options{bridge: bridge.Config{StrictUserID: true}})
	bob, c := s.logOn("bob"), s.logOn("ann")
	c.send(
		&protocol.Message{Type: say, Body: []byte("none")},
		&protocol.Message{Type: say, UserID: "ann", Body: []byte("mine")},
		&protocol.Message{Type: say, UserID: "bob", Body: []byte("another's")},
		&protocol.Message{Type: say, Body: []byte("after")})
	c.expectClose(protocol.WrongUserID)
	bob.ask("still here")
	s.expectEnd("Connected bob@1", "Connected ann@2", "say ann@2 none", "say ann@2 mine", "Disconnected ann@2 WrongUserID",
		"Disconnected bob@1 ServerStopping")
}

// Rule 2: strictness begins with the message after the first, also where that one came in the same read.
func TestStrictUserIDAfterTheFirstMessage(t *testing.T) {
	s := serve(t, options{bridge: bridge.Config{StrictUserID: true}})
	c := s.dial()
	c.send(&protocol.Message{Type: say, UserID: "ann", Body: []byte("first")},
		&protocol.Message{Type: say, UserID: "bob", Body: []byte("second")})
	c.expectClose(protocol.WrongUserID)
	s.expectEnd("Connected ann@1", "say ann@1 first", "Disconnected ann@1 WrongUserID")
}

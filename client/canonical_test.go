package client_test

import (
	"context"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 1: a client takes the spelling of its name from a strict server, and stays.
func TestTheClientIsWhomTheServerBinds(t *testing.T) {
	auth := func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		return bridge.Identity{UserID: strings.ToLower(l.UserID), Canonical: true}, nil
	}
	got := make(chan string, 1)
	srv := rollcalltest.NewServer(t, rollcall.Config{Authenticate: auth, Bridge: bridge.Config{StrictUserID: true}}, func(s *rollcall.Server) {
		s.Engine.Handle(1, func(_ *engine.Conn, m *protocol.Message) error { got <- m.UserID; return nil })
	})
	c := srv.Client(t, "Alice", client.Config{})
	if c.UserID() != "alice" {
		t.Errorf("the client is %q", c.UserID())
	}
	if err := c.Send(1, nil); err != nil {
		t.Fatal(err)
	}
	if from := receive(t, "the message", got); from != "alice" {
		t.Errorf("the message is from %q", from)
	}
}

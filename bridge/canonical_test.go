package bridge_test

import (
	"context"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 1: where the authenticator says that its ID is the canonical form of the Logon's, that ID binds, and all that
// spell themselves otherwise are one user.
func TestCanonicalIDBinds(t *testing.T) {
	for _, strict := range []bool{false, true} {
		o := options{bridge: bridge.Config{StrictUserID: strict}}
		o.auth = func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
			return bridge.Identity{UserID: strings.ToLower(l.UserID), Canonical: true}, nil
		}
		s := serve(t, o)
		c := s.dial()
		c.send(logonMessage("Ann"))
		if m := c.receive(); m.DestUserID != "ann" {
			t.Errorf("the reply tells the client that it is %q", m.DestUserID)
		}
		for _, header := range []string{"", "ann"} {
			c.send(&protocol.Message{Type: say, UserID: header, Body: []byte("hello")})
		}
		c.ask("barrier")
		again := s.logOn("ANN")
		c.expectClose(protocol.PushedOut)
		again.send(&protocol.Message{Type: say, UserID: "ANN", Body: []byte("as I spell it")})
		if !strict { // rule 2
			again.ask("barrier")
			s.expectEnd("Connected ann@1", "say ann@1 hello", "say ann@1 hello", "PushedOut ann@1 by 2",
				"Disconnected ann@1 PushedOut", "Connected ann@2", "say ann@2 as I spell it", "Disconnected ann@2 ServerStopping")
			continue
		}
		again.expectClose(protocol.WrongUserID)
		s.expectEnd("Connected ann@1", "say ann@1 hello", "say ann@1 hello", "PushedOut ann@1 by 2",
			"Disconnected ann@1 PushedOut", "Connected ann@2", "Disconnected ann@2 WrongUserID")
	}
}

// Rules 1 and 19: a renewal is for the user who is bound, whatever is canonical.
func TestCanonicalIDRenewsNobodyElse(t *testing.T) {
	d := atOnce()
	o := d.options()
	o.auth = func(ctx context.Context, c *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		id, err := d.ask(ctx, c, l)
		id.Canonical = true
		return id, err
	}
	c := serve(t, o).logOn("Ann", protocol.FieldToken, "ann/1h")
	c.renew("bob/1h")
	c.expectNotRenewed(protocol.Unauthorized)
	c.renew("ann/1h")
	c.expectRenewed()
}

package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"testing"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// authenticated are the options of a server whose authenticator takes the token for the user's ID.
func authenticated() options {
	return options{auth: func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		if l.Fields[protocol.FieldToken] == "" {
			return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "no token"}
		}
		return bridge.Identity{UserID: l.Fields[protocol.FieldToken]}, nil
	}}
}

// Rule 1: it is the authenticator's UserID that is bound, whether the Logon's header has it or none.
func TestAuthenticatorSaysWhoItIs(t *testing.T) {
	s := serve(t, authenticated())
	for _, header := range []string{"", "ann"} {
		c := s.dial()
		c.logOn(header, protocol.FieldToken, "ann")
		c.send(&protocol.Message{Type: say, Body: []byte("hello")})
		c.ask("barrier")
	}
	s.expectEnd("Connected ann@1", "say ann@1 hello",
		"PushedOut ann@1 by 2", "Disconnected ann@1 PushedOut", "Connected ann@2", "say ann@2 hello",
		"Disconnected ann@2 ServerStopping")
}

// Rule 1: a Logon whose header names another user than the authenticator does is turned away, and the user who is
// there is left alone.
func TestHeaderMustMatchIdentity(t *testing.T) {
	s := serve(t, authenticated())
	bob := s.dial()
	bob.logOn("bob", protocol.FieldToken, "bob")
	for _, header := range []string{"bob", "Ann"} {
		c := s.dial()
		c.send(logonMessage(header, protocol.FieldToken, "ann"))
		c.expectRefused(protocol.Unauthorized)
	}
	bob.ask("still here")
	s.expectEnd("Connected bob@1", "Disconnected bob@1 ServerStopping")
}

// Rule 1: with an authenticator the first message must be a Logon.
func TestFirstMessageMustBeALogon(t *testing.T) {
	for _, typ := range []uint16{say, protocol.TypeHeartbeat} {
		t.Run(fmt.Sprintf("%#x", typ), func(t *testing.T) {
			o := options{auth: func(context.Context, *engine.Conn, usermgr.Logon) (bridge.Identity, error) {
				t.Error("the authenticator was asked")
				return bridge.Identity{UserID: "ann"}, nil
			}}
			s := serve(t, o)
			c := s.dial()
			c.send(&protocol.Message{Type: typ, ID: 4, UserID: "ann", Body: []byte("hello")})
			c.expectClose(protocol.Unauthorized)
			s.expectEnd()
		})
	}
}

// Rule 1: an invalid or reserved UserID in the header is InvalidMessage before anyone is asked.
func TestReservedUserIDIsNotAuthenticated(t *testing.T) {
	o := options{auth: func(context.Context, *engine.Conn, usermgr.Logon) (bridge.Identity, error) {
		t.Error("the authenticator was asked")
		return bridge.Identity{UserID: "_ann"}, nil
	}}
	s := serve(t, o)
	c := s.dial()
	c.send(logonMessage("_ann"))
	c.expectRefused(protocol.InvalidMessage)
	s.expectEnd()
}

// Rule 1: a *protocol.CloseError chooses the code; whatever else goes wrong is InternalError, after which a client may
// come back.
func TestAuthenticatorsRefusals(t *testing.T) {
	var none *protocol.CloseError
	for _, c := range []struct {
		name     string
		identity string
		err      error
		fails    func()
		want     protocol.CloseCode
	}{
		{name: "unauthorized", err: &protocol.CloseError{Code: protocol.Unauthorized}, want: protocol.Unauthorized},
		{name: "the application's code", err: &protocol.CloseError{Code: 4007}, want: 4007},
		{name: "wrapped", err: fmt.Errorf("asked: %w", &protocol.CloseError{Code: protocol.DeviceNotAllowed}),
			want: protocol.DeviceNotAllowed},
		{name: "outage", err: errors.New("the database is down"), want: protocol.InternalError},
		{name: "error beside an identity", identity: "ann", err: errors.New("not sure"), want: protocol.InternalError},
		{name: "no code", err: &protocol.CloseError{Text: "no"}, want: protocol.InternalError},
		{name: "a CloseError that is nil", identity: "ann", err: none, want: protocol.InternalError},
		{name: "panic", fails: func() { panic("in the authenticator") }, want: protocol.InternalError},
		{name: "Goexit", fails: runtime.Goexit, want: protocol.InternalError},
		{name: "nobody", identity: "", want: protocol.InternalError},
		{name: "reserved", identity: "_root", want: protocol.InternalError},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options{auth: func(context.Context, *engine.Conn, usermgr.Logon) (bridge.Identity, error) {
				if c.fails != nil {
					c.fails()
				}
				return bridge.Identity{UserID: c.identity}, c.err
			}}
			s := serve(t, o)
			for _, header := range []string{"", "ann"} {
				client := s.dial()
				client.send(logonMessage(header))
				client.expectRefused(c.want)
			}
			s.expectEnd()
		})
	}
}

// The text and the details of a refusal reach the client.
func TestRefusalTellsWhy(t *testing.T) {
	o := options{auth: func(context.Context, *engine.Conn, usermgr.Logon) (bridge.Identity, error) {
		return bridge.Identity{}, &protocol.CloseError{Code: protocol.RateLimited, Text: "later",
			Info: map[string]string{protocol.FieldRetryMS: "1500"}}
	}}
	s := serve(t, o)
	c := s.dial()
	_, err := c.tryLogOn("ann")
	var ce *protocol.CloseError
	if !errors.As(err, &ce) || ce.Text != "later" || ce.Info[protocol.FieldRetryMS] != "1500" {
		t.Errorf("the reply is %#v", err)
	}
	if notice := c.expectClose(protocol.RateLimited); notice.Text != "later" {
		t.Errorf("the notice is %#v", notice)
	}
}

// The authenticator learns all that the client and the connection say.
func TestAuthenticatorSeesTheLogon(t *testing.T) {
	seen := make(chan usermgr.Logon, 1)
	o := options{auth: func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		seen <- l
		return bridge.Identity{UserID: "ann"}, nil
	}}
	s := serve(t, o)
	c := s.dial()
	m := logonMessage("ann", "token", "secret", "app", "1.2", "session", "0190-earlier")
	m.Device = 3
	c.send(m)
	l := <-seen
	fields := map[string]string{"token": "secret", "app": "1.2", "session": "0190-earlier"}
	if l.UserID != "ann" || l.Device != 3 || l.Session != "0190-earlier" || !maps.Equal(l.Fields, fields) ||
		l.Address.Remote.String() != c.conn.LocalAddr().String() || l.Address.Conn == 0 {
		t.Errorf("the authenticator saw %+v", l)
	}
}

package bridge_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// desk is an authenticator whose tokens are "user", "user/lifetime" or "user/lifetime/name". It lets a renewal wait.
type desk struct {
	renewals chan usermgr.Logon // each Renew's
	answers  chan error         // what each is answered with; a closed channel: at once, by the token
}

func newDesk() *desk {
	return &desk{renewals: make(chan usermgr.Logon, 10), answers: make(chan error, 10)}
}

// atOnce is a desk at which renewals do not wait.
func atOnce() *desk {
	d := newDesk()
	close(d.answers)
	return d
}

func (d *desk) ask(ctx context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
	if l.Renewal {
		d.renewals <- l
		select {
		case err := <-d.answers:
			if err != nil {
				return bridge.Identity{}, err
			}
		case <-ctx.Done():
			return bridge.Identity{}, ctx.Err()
		}
	}
	user, lifetime, _ := strings.Cut(l.Token, "/")
	lifetime, _, _ = strings.Cut(lifetime, "/")
	if user == "" {
		return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "no token"}
	}
	id := bridge.Identity{UserID: user}
	if lifetime != "" {
		d, err := time.ParseDuration(lifetime)
		if err != nil {
			return id, err
		}
		id.Expires = time.Now().Add(d)
	}
	return id, nil
}

func (d *desk) options() options { return options{auth: d.ask} }

// renew sends a Renew with the ID 5.
func (c *rawClient) renew(token string) {
	c.t.Helper()
	body, err := protocol.AppendStringMap(nil, map[string]string{protocol.FieldToken: token})
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(&protocol.Message{Type: protocol.TypeRenew, ID: 5, Body: body})
}

// renewed receives the answer to a Renew.
func (c *rawClient) renewed() (map[string]string, error) {
	c.t.Helper()
	m := c.receive()
	if m.Type != protocol.TypeRenew || !m.IsReply() || m.ID != 5 {
		c.t.Fatalf("client %s received %+v, want the answer to a Renew", c.name, m)
	}
	fields, err := protocol.ParseLogonReply(m.Body)
	if (err != nil) != (m.Flags&protocol.FlagError != 0) {
		c.t.Fatalf("client %s received the flags %d with %v, %v", c.name, m.Flags, fields, err)
	}
	return fields, err
}

func (c *rawClient) expectRenewed() {
	c.t.Helper()
	if _, err := c.renewed(); err != nil {
		c.t.Fatalf("the renewal was refused: %v", err)
	}
}

func (c *rawClient) expectNotRenewed(code protocol.CloseCode) {
	c.t.Helper()
	fields, err := c.renewed()
	var ce *protocol.CloseError
	if !errors.As(err, &ce) || ce.Code != code {
		c.t.Fatalf("the renewal's answer is %v, %v; want %v", fields, err, code)
	}
}

// connOf returns the connection of a user who has one.
func (s *server) connOf(userID string) *engine.Conn {
	s.t.Helper()
	for c := range s.bridge.ConnsOf(userID) {
		return c
	}
	s.t.Fatalf("%s has no connection", userID)
	return nil
}

// milliseconds reads expires-ms.
func milliseconds(t *testing.T, fields map[string]string) time.Duration {
	t.Helper()
	ms, err := strconv.Atoi(fields[protocol.FieldExpiresMS])
	if err != nil || ms < 1 {
		t.Fatalf("the reply has %v: %v", fields, err)
	}
	return time.Duration(ms) * time.Millisecond
}

// Rule 29: the Logon's reply says how long the session may last, and then it ends, with a code that a client may come
// back after.
func TestSessionEndsWhenItsTokenExpires(t *testing.T) {
	for name, workers := range map[string]int{"on the loop": 0, "with workers": 2} {
		t.Run(name, func(t *testing.T) {
			o := atOnce().options()
			o.engine.Workers = workers
			s := serve(t, o)
			c := s.dial()
			if left := milliseconds(t, c.logOn("ann", protocol.FieldToken, "ann/50ms")); left > 50*time.Millisecond {
				t.Errorf("the session may last %v", left)
			}
			if ce := c.expectClose(protocol.TokenExpired); ce.Text == "" {
				t.Error("without a text")
			}
			if n := s.bridge.Expiring(); n != 0 {
				t.Errorf("%d sessions expire still", n)
			}
			s.expectEnd("Connected ann@1", "Disconnected ann@1 TokenExpired")
		})
	}
}

// Rule 29: a logon with an expired token is refused.
func TestExpiredTokenIsRefused(t *testing.T) {
	s := serve(t, atOnce().options())
	c := s.dial()
	c.send(logonMessage("ann", protocol.FieldToken, "ann/-1s"))
	c.expectRefused(protocol.TokenExpired)
	s.expectEnd()
}

// Rule 29: a renewal whose check runs when the token expires decides.
func TestExpiryWaitsForTheRenewal(t *testing.T) {
	for _, accepted := range []bool{true, false} {
		d := newDesk()
		s := serve(t, d.options())
		c := s.logOn("ann", protocol.FieldToken, "ann/1h")
		c.renew("ann/1h")
		receive(t, "the renewal", d.renewals)
		s.bridge.Expire(s.connOf("ann"))
		c.ask("it waits") // a loop's tasks are done behind this
		c.ask("it waits")
		if accepted {
			d.answers <- nil
			c.expectRenewed()
			c.ask("still here")
			s.expectEnd("Connected ann@1", "Disconnected ann@1 ServerStopping")
			continue
		}
		d.answers <- &protocol.CloseError{Code: protocol.Unauthorized}
		c.expectNotRenewed(protocol.Unauthorized)
		c.expectClose(protocol.TokenExpired)
		s.expectEnd("Connected ann@1", "Disconnected ann@1 TokenExpired")
	}
}

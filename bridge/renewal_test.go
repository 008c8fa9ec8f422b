package bridge_test

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 29: a renewal is one of the same session, which goes on; the authenticator knows it for one, and messages go on
// while it is asked.
func TestRenewedSessionGoesOn(t *testing.T) {
	d := newDesk()
	s := serve(t, d.options())
	c := s.dial()
	m := logonMessage("ann", protocol.FieldToken, "ann/1h")
	m.Device = 3
	c.send(m)
	reply, err := protocol.ParseLogonReply(c.receive().Body)
	if err != nil {
		t.Fatal(err)
	}
	c.renew("ann/2h")
	l := receive(t, "the renewal", d.renewals)
	want := map[string]string{protocol.FieldToken: "ann/2h"}
	if !l.Renewal || l.UserID != "ann" || l.Device != 3 || l.Session != reply[protocol.FieldSession] ||
		l.Token != "ann/2h" || !maps.Equal(l.Fields, want) || l.Address.Remote.String() != c.conn.LocalAddr().String() {
		t.Errorf("the authenticator saw %+v", l)
	}
	c.ask("meanwhile")
	d.answers <- nil
	fields, err := c.renewed()
	if err != nil {
		t.Fatal(err)
	}
	if left := milliseconds(t, fields); left > 2*time.Hour || left < time.Hour+30*time.Minute {
		t.Errorf("the session may last %v more, want 2h", left)
	}
	if i, ok := s.users.Session(reply[protocol.FieldSession]); !ok || i.Token != "ann/2h" {
		t.Errorf("the session is %+v, %v", i, ok)
	}
	c.ask("afterwards")
	s.expectEnd("Connected ann@1", "Disconnected ann@1 ServerStopping")
}

// Rule 29: a session whose new token never expires does not end any more, but may be renewed again.
func TestRenewalForGood(t *testing.T) {
	s := serve(t, atOnce().options())
	c := s.logOn("ann", protocol.FieldToken, "ann/1h")
	for _, token := range []string{"ann", "ann/1h", "ann"} {
		c.renew(token)
		fields, err := c.renewed()
		if _, expires := fields[protocol.FieldExpiresMS]; err != nil || expires != (token != "ann") {
			t.Errorf("the answer to %s is %v, %v", token, fields, err)
		}
	}
}

// Rule 29: a renewal that is refused leaves the session as it is, until it expires.
func TestRefusedRenewalLeavesTheSession(t *testing.T) {
	var none *protocol.CloseError
	d := newDesk()
	s := serve(t, d.options())
	c := s.logOn("ann", protocol.FieldToken, "ann/1h/first")
	for _, r := range []struct {
		token  string
		answer error
		want   protocol.CloseCode
	}{
		{"ann/1h", &protocol.CloseError{Code: protocol.Unauthorized}, protocol.Unauthorized},
		{"ann/1h", &protocol.CloseError{Code: 4007}, 4007},
		{"ann/1h", errors.New("the database is down"), protocol.InternalError},
		{"ann/1h", none, protocol.InternalError},
		{"", nil, protocol.Unauthorized},
		{"bob/1h", nil, protocol.Unauthorized}, // rule 1: another user's
		{"_x/1h", nil, protocol.InternalError},
		{"ann/-1s", nil, protocol.TokenExpired},
	} {
		d.answers <- r.answer
		c.renew(r.token)
		c.expectNotRenewed(r.want)
		c.ask("still here")
	}
	c.send(&protocol.Message{Type: protocol.TypeRenew, ID: 5, Body: []byte("no map")})
	c.expectNotRenewed(protocol.InvalidMessage)
	if u, _ := s.users.User("ann"); u.Sessions[0].Token != "ann/1h/first" {
		t.Errorf("the token is %q", u.Sessions[0].Token)
	}
	s.bridge.Expire(s.connOf("ann"))
	c.expectClose(protocol.TokenExpired)
	s.expectEnd("Connected ann@1", "Disconnected ann@1 TokenExpired")
}

// Rules 2 and 19: a renewal's header is a later message's: it goes by the bound user, or ends the connection.
func TestRenewalUnderAnotherID(t *testing.T) {
	for _, strict := range []bool{false, true} {
		o := atOnce().options()
		o.bridge.StrictUserID = strict
		s := serve(t, o)
		c := s.logOn("ann", protocol.FieldToken, "ann/1h")
		body, _ := protocol.AppendStringMap(nil, map[string]string{protocol.FieldToken: "ann/1h"})
		c.send(&protocol.Message{Type: protocol.TypeRenew, ID: 5, UserID: "bob", Body: body})
		if strict {
			c.expectClose(protocol.WrongUserID)
		} else {
			c.expectRenewed()
		}
	}
}

// Rule 29: one renewal at a time.
func TestSecondRenewalAtOnceIsRefused(t *testing.T) {
	d := newDesk()
	s := serve(t, d.options())
	c := s.logOn("ann", protocol.FieldToken, "ann/1h")
	c.renew("ann/1h")
	receive(t, "the renewal", d.renewals)
	c.renew("ann/2h")
	c.expectNotRenewed(protocol.Refused)
	d.answers <- nil
	c.expectRenewed()
	d.answers <- nil
	c.renew("ann/3h")
	c.expectRenewed()
}

// Rules 13 and 19: a renewal has a logon's deadline, and what comes later does not count.
func TestRenewalHasADeadline(t *testing.T) {
	d := newDesk()
	o := d.options()
	o.bridge.LogonDeadline = 100 * time.Millisecond
	release := make(chan struct{})
	o.auth = func(ctx context.Context, c *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		if l.Renewal {
			<-release // and pays no heed to ctx
		}
		l.Renewal = false
		return d.ask(ctx, c, l)
	}
	s := serve(t, o)
	c := s.logOn("ann", protocol.FieldToken, "ann/1h/first")
	c.renew("ann/2h")
	c.expectNotRenewed(protocol.InternalError)
	c.renew("ann/2h")
	c.expectNotRenewed(protocol.Refused) // the authenticator is stuck with the first
	close(release)
	eventually(t, "the authenticator has gone", func() bool { return s.bridge.Logons().Authenticating == 0 })
	c.ask("still here")
	if u, _ := s.users.User("ann"); u.Sessions[0].Token != "ann/1h/first" {
		t.Errorf("the token is %q", u.Sessions[0].Token)
	}
	s.bridge.Expire(s.connOf("ann"))
	c.expectClose(protocol.TokenExpired)
}

// Rules 16 and 19: neither a stop nor a replacement waits for the check of a renewal.
func TestRenewalEndsWithItsSession(t *testing.T) {
	d := newDesk()
	s := serve(t, d.options())
	old := s.logOn("ann", protocol.FieldToken, "ann/1h")
	old.renew("ann/1h/a")
	receive(t, "the renewal", d.renewals)
	c := s.logOn("ann", protocol.FieldToken, "ann/1h")
	old.expectClose(protocol.PushedOut)
	c.renew("ann/1h/b")
	receive(t, "the renewal", d.renewals)
	eventually(t, "the first is over", func() bool { return s.bridge.Logons().Authenticating == 1 })
	if n := s.bridge.Expiring(); n != 1 {
		t.Errorf("%d sessions expire", n)
	}
	s.expectEnd("Connected ann@1", "PushedOut ann@1 by 2", "Disconnected ann@1 PushedOut", "Connected ann@2",
		"Disconnected ann@2 ServerStopping")
}

// Rules 1 and 19: an authenticator that panics, or ends its goroutine, has no answer.
func TestRenewalWhoseAuthenticatorFails(t *testing.T) {
	for name, fail := range map[string]func(){"panics": func() { panic("no") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			d := atOnce()
			o := d.options()
			o.auth = func(ctx context.Context, c *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
				if l.Renewal && l.Token == "fail" {
					fail()
				}
				return d.ask(ctx, c, l)
			}
			o.bridge.MaxAuthenticating = 1
			s := serve(t, o)
			c := s.logOn("ann", protocol.FieldToken, "ann/1h")
			c.renew("fail")
			c.expectNotRenewed(protocol.InternalError)
			c.renew("ann/1h")
			c.expectRenewed()
		})
	}
}

// Rule 29: what can be renewed is a session that expires; without an authenticator nothing is known of tokens.
func TestRenewalOfWhatDoesNotExpire(t *testing.T) {
	c := serve(t, atOnce().options()).logOn("ann", protocol.FieldToken, "ann")
	c.renew("ann/1h")
	c.expectNotRenewed(protocol.Refused)
	c = serve(t, options{}).logOn("ann")
	c.renew("ann/1h")
	c.expectNotRenewed(protocol.NoHandler)
}

// Rule 29: a renewal is upkeep, and no larger than a first frame.
func TestRenewalIsUpkeepAndBounded(t *testing.T) {
	o := atOnce().options()
	o.engine.Limits.MaxFirstFrame = 1000
	s := serve(t, o)
	c := s.logOn("ann", protocol.FieldToken, "ann/1h")
	c.renew("ann/1h/" + strings.Repeat("x", 900))
	c.expectRenewed()
	if u, _ := s.users.User("ann"); u.In.Messages != 0 || u.Out.Messages != 0 {
		t.Errorf("ann has sent %+v and received %+v", u.In, u.Out)
	}
	c.renew("ann/1h/" + strings.Repeat("x", 1000))
	c.expectClose(protocol.MessageTooLarge)
}

// Rules 1 and 19: tokens cannot be guessed by renewals where they cannot by logons.
func TestRefusedRenewalsCountAsFailedLogons(t *testing.T) {
	o := atOnce().options()
	o.engine.Bans = engine.Bans{FailedLogons: 3}
	s := serve(t, o)
	c := s.logOn("ann", protocol.FieldToken, "ann/1h")
	for range 3 {
		c.renew("bob/1h")
		c.expectNotRenewed(protocol.Unauthorized)
	}
	if bans := s.engine.Bans(); len(bans) != 1 || bans[0].Reason != "failed logons" {
		t.Errorf("the bans are %v", bans)
	}
	c.ask("those that are open stay")
}

// Rules 17 and 19: the new token is the session's for all that goes by tokens.
func TestRulesAboutTokensGoByTheNewOne(t *testing.T) {
	o := atOnce().options()
	o.users.Devices = usermgr.Devices{OnePerClass: true}
	s := serve(t, o)
	onDevice := func(device uint16, token string) *rawClient {
		c := s.dial()
		m := logonMessage("ann", protocol.FieldToken, token)
		m.Device = device
		c.send(m)
		if _, err := protocol.ParseLogonReply(c.receive().Body); err != nil {
			t.Fatal(err)
		}
		return c
	}
	phone, tablet := onDevice(1, "ann/1h/a"), onDevice(2, "ann/1h/b")
	phone.renew("ann/1h/c")
	phone.expectRenewed()
	desktop := onDevice(3, "ann/1h/a") // the phone's old one, which no session has now
	phone.ask("still here")
	desktop.renew("ann/1h/c") // the phone's
	desktop.expectRenewed()
	phone.expectClose(protocol.PushedOut)
	tablet.ask("still here")
	if _, err := s.users.Kick("ann", &usermgr.KickOptions{RevokeFor: time.Hour}); err != nil {
		t.Fatal(err)
	}
	tablet.expectClose(protocol.KickedOut)
	desktop.expectClose(protocol.KickedOut)
	c := s.dial()
	if _, err := c.tryLogOn("ann", protocol.FieldToken, "ann/1h/c"); err == nil {
		t.Error("the new token is not revoked")
	}
	s.expectEnd("Connected ann@1", "Connected ann@2", "Connected ann@3", "PushedOut ann@1 by 3",
		"Disconnected ann@1 PushedOut", "Disconnected ann@2 KickedOut", "Disconnected ann@3 KickedOut")
}

// Rules 7 and 19: under IgnoreNew the session that has the token stays, and the renewal is refused.
func TestRenewalWithAnothersTokenUnderIgnoreNew(t *testing.T) {
	o := atOnce().options()
	o.users.Devices, o.users.RelogonMode = usermgr.Devices{MaxSessions: 2}, usermgr.IgnoreNew
	s := serve(t, o)
	one, two := s.logOn("ann", protocol.FieldToken, "ann/1h/a"), s.logOn("ann", protocol.FieldToken, "ann/1h/b")
	two.renew("ann/1h/a")
	two.expectNotRenewed(protocol.AlreadyLoggedOn)
	one.ask("still here")
	two.ask("still here")
	one.renew("ann/1h/a") // its own once more
	one.expectRenewed()
}

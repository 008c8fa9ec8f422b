package client_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// renewal reads a Renew, which must be the client's next message, and returns it with how long it took to come.
func (p *peer) renewal(want string) (*protocol.Message, time.Duration) {
	p.t.Helper()
	began := time.Now()
	m := p.read()
	fields, err := system.ParseStringMap(m.Body)
	if m.Type != protocol.TypeRenew || m.ID == 0 || m.UserID != "" || err != nil || fields["token"] != want || len(fields) != 1 {
		p.t.Fatalf("the client sent %+v with %v (%v), want a renewal with the token %s", m, fields, err, want)
	}
	return m, time.Since(began)
}

// renewed accepts a renewal.
func (p *peer) renewed(m *protocol.Message, fields map[string]string) {
	p.t.Helper()
	body, err := system.AppendLogonReply(nil, fields)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(protocol.Message{Type: protocol.TypeRenew, Flags: protocol.FlagReply, ID: m.ID, Body: body})
}

// notRenewed refuses a renewal.
func (p *peer) notRenewed(m *protocol.Message, code protocol.CloseCode) {
	p.t.Helper()
	p.write(protocol.Message{Type: protocol.TypeRenew, Flags: protocol.FlagReply | protocol.FlagError, ID: m.ID,
		Body: system.AppendClose(nil, &protocol.CloseError{Code: code})})
}

// quiet fails the test when the client says anything for so long.
func (p *peer) quiet(d time.Duration) {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(d))
	if m, err := p.next(); err == nil {
		p.t.Fatalf("the client sent %+v, want nothing", m)
	}
	_ = p.nc.SetReadDeadline(time.Now().Add(time.Hour))
}

// numbered is a Config.Token whose tokens are t1, t2 and so on.
func numbered() func(context.Context) (string, error) {
	var n atomic.Int32
	return func(context.Context) (string, error) {
		return "t" + string('0'+rune(n.Add(1))), nil
	}
}

func expiresIn(ms string) map[string]string { return map[string]string{"expires-ms": ms} }

func within(t *testing.T, took, expires time.Duration) {
	t.Helper()
	if took < expires*6/10 || took > expires*3/4 {
		t.Errorf("the client renews after %v of %v", took, expires)
	}
}

// Rule 29: a client renews its session in time, with the token that Token returns then, and again, by what the answer says.
func TestTheClientRenewsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		_, p := n.dial(client.Config{Timeouts: client.Timeouts{Heartbeat: -1}, Token: numbered()}, expiresIn("60000"))
		m, took := p.renewal("t2")
		within(t, took, time.Minute)
		p.renewed(m, expiresIn("3600000"))
		m, took = p.renewal("t3")
		within(t, took, time.Hour)
		p.renewed(m, nil)
		p.quiet(24 * time.Hour)
	})
}

// A session that does not expire is not renewed.
func TestTheClientRenewsNothingThatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fields := range []map[string]string{nil, expiresIn("0"), expiresIn("soon"), expiresIn("-5")} {
			n := pipes(t)
			_, p := n.dial(client.Config{Timeouts: client.Timeouts{Heartbeat: -1}, Token: numbered()}, fields)
			p.quiet(24 * time.Hour)
		}
	})
}

// Clients that have logged on in one moment do not renew in one.
func TestRenewalsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(map[time.Duration]bool)
		for range 5 {
			n := pipes(t)
			_, p := n.dial(client.Config{Timeouts: client.Timeouts{Heartbeat: -1}, Token: numbered()}, expiresIn("600000"))
			_, took := p.renewal("t2")
			seen[took] = true
		}
		if len(seen) < 2 {
			t.Errorf("all renew after %v", seen)
		}
	})
}

// A renewal that fails without a final word is tried again while there is time, and messages go on.
func TestTheClientRetriesAFailedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		var down atomic.Bool
		next := numbered()
		c, p := n.dial(client.Config{Timeouts: client.Timeouts{Heartbeat: -1}, Token: func(ctx context.Context) (string, error) {
			if down.Swap(false) {
				return "", errors.New("no token today")
			}
			return next(ctx)
		}}, expiresIn("3600000"))
		down.Store(true)
		began := time.Now()
		m, _ := p.renewal("t2")
		p.notRenewed(m, protocol.InternalError)
		m, _ = p.renewal("t3")
		go func() { _ = c.Send(7, nil) }()
		if m := p.read(); m.Type != 7 {
			t.Errorf("the client sent %+v", m)
		}
		p.notRenewed(m, protocol.Refused)
		m, _ = p.renewal("t4") // the last was not answered in time
		_ = m
		m, _ = p.renewal("t5")
		if took := time.Since(began); took > time.Hour {
			t.Errorf("the fifth try came after %v", took)
		}
		p.renewed(m, expiresIn("60000"))
		_, took := p.renewal("t6")
		within(t, took, time.Minute)
	})
}

// A renewal that was refused for good is not repeated: each would count as a failed logon of the address. When the session
// ends the client comes back with a fresh token.
func TestAfterTokenExpiredTheClientComesBackWithAFreshToken(t *testing.T) {
	for _, code := range []protocol.CloseCode{protocol.Unauthorized, protocol.NoHandler, 4001} {
		synctest.Test(t, func(t *testing.T) {
			n := pipes(t)
			cfg := client.Config{Timeouts: client.Timeouts{Heartbeat: -1}, Token: numbered()}
			changes := watch(&cfg)
			_, p := n.dial(cfg, expiresIn("60000"))
			expect(t, changes, client.Online)
			m, _ := p.renewal("t2")
			p.notRenewed(m, code)
			p.quiet(time.Minute)
			p.notice(protocol.CloseError{Code: protocol.TokenExpired})
			logon := n.accept().welcome(nil)
			if fields, err := system.ParseStringMap(logon.Body); err != nil || fields["token"] != "t3" {
				t.Errorf("the client comes back with %v, %v", fields, err)
			}
		})
	}
}

// A renewal ends with its connection, and with the client, and Token is never asked twice at a time.
func TestARenewalEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		var running, calls atomic.Int32
		c, p := n.dial(client.Config{Timeouts: client.Timeouts{Heartbeat: -1, Dial: -1}, Token: func(ctx context.Context) (string, error) {
			if running.Add(1) > 1 {
				t.Error("two at a time")
			}
			defer running.Add(-1)
			if calls.Add(1)%2 == 0 { // the renewals
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "", nil
		}}, expiresIn("60000"))
		for range 3 {
			time.Sleep(time.Minute)
			if running.Load() != 1 {
				t.Error("the client does not renew")
			}
			_ = p.nc.Close()
			p = n.accept()
			p.welcome(expiresIn("60000"))
		}
		time.Sleep(time.Minute)
		_ = p.nc.Close()
		closeAndWait(t, c)
		if n := running.Load(); n != 0 {
			t.Errorf("%d run still", n)
		}
	})
}

// A panic or a Goexit of Token's in a renewal is that renewal's failure: the client tries again while there is time.
func TestAFailureInARenewalIsTriedAgain(t *testing.T) {
	for how, fail := range failures {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := pipes(t)
				var calls atomic.Int32
				c, p := n.dial(client.Config{Timeouts: client.Timeouts{Heartbeat: -1}, Token: func(context.Context) (string, error) {
					if calls.Add(1) == 2 {
						fail()
					}
					return "", nil
				}}, expiresIn("60000"))
				if m := p.read(); m.Type != protocol.TypeRenew || calls.Load() != 3 {
					t.Errorf("after %d calls the client sent %v", calls.Load(), m)
				}
				_ = p.nc.Close()
				_ = c.Close()
			})
		})
	}
}

// Rule 29, over a network: a client whose tokens last for a moment renews them, and when it may not, comes back.
func TestTheClientOutlivesItsTokens(t *testing.T) {
	for name, renewable := range map[string]bool{"renewed": true, "refused": false} {
		t.Run(name, func(t *testing.T) {
			var renewals, logons atomic.Int32
			auth := func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
				if !l.Renewal {
					logons.Add(1)
				} else if renewals.Add(1); !renewable {
					return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized}
				}
				return bridge.Identity{UserID: "alice", Expires: time.Now().Add(200 * time.Millisecond)}, nil
			}
			srv := rollcalltest.NewServer(t, rollcall.Config{Authenticate: auth}, nil)
			c := srv.Client(t, "alice", client.Config{Token: numbered(), Reconnect: client.Reconnect{Min: -1}})
			rollcalltest.Eventually(t, func() bool {
				return renewals.Load() >= 3 && (renewable || logons.Load() >= 3)
			}, "renewed, or back")
			if err := c.Err(); err != nil {
				t.Errorf("the client has ended: %v", err)
			}
		})
	}
}

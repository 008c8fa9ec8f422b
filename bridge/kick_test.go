package bridge_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// S6, H2: a kick tells for each session whether it was told, closed by its peer, or closed by force; a kicked client does
// not come back by itself.
func TestKickTellsWhatBecameOfEachSession(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{
		Engine: engine.Config{Timeouts: engine.Timeouts{Write: time.Minute, Close: 700 * time.Millisecond}, Limits: engine.Limits{MaxOutbound: 64 << 20}},
		Users:  usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}},
	}, nil)
	good := srv.Client(t, "ann", client.Config{Device: 1})
	deaf, err := dialRaw(srv.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.conn.Close()
	_ = deaf.conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	logon := logonMessage("ann")
	logon.Device = 2
	if err := deaf.write(logon); err != nil {
		t.Fatal(err)
	}
	rollcalltest.Eventually(t, func() bool { return len(sessionsOf(srv.Users, "ann")) == 2 }, "two sessions")
	address := sessionsOf(srv.Users, "ann")[1].Address
	for range 60 { // more than the kernel takes
		if err := srv.Engine.Conn(address.Conn).Send(1, make([]byte, 512<<10)); err != nil {
			t.Fatal(err)
		}
	}

	wait, err := srv.Users.Kick("ann", &usermgr.KickOptions{Text: "go away"})
	if err != nil {
		t.Fatal(err)
	}
	kicked, err := wait(t.Context())
	if err != nil || len(kicked) != 2 {
		t.Fatalf("the kick ended with %+v, %v", kicked, err)
	}
	for i, want := range []protocol.CloseOutcome{protocol.OutcomeTold, protocol.OutcomeForced} {
		if kicked[i].Outcome != want || kicked[i].Session.Device != uint16(i+1) {
			t.Errorf("session %d, device %d: %v, want %v", i, kicked[i].Session.Device, kicked[i].Outcome, want)
		}
	}
	<-good.Done()
	wantError(t, good.Err(), protocol.KickedOut, "go away")
}

// H2: with RevokeFor the old credential is refused for that long, and another is not.
func TestRevokedTokenIsRefused(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{
		Authenticate: func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
			return bridge.Identity{UserID: "ann"}, nil
		},
	}, nil)
	dial := func(token string) (*client.Client, error) {
		return client.Dial(t.Context(), srv.Addr, client.Config{Fields: map[string]string{protocol.FieldToken: token}})
	}
	ann, err := dial("t-1")
	if err != nil {
		t.Fatal(err)
	}
	defer ann.Close()
	wait, err := srv.Users.KickSession(ann.SessionID(), &usermgr.KickOptions{RevokeFor: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if kicked, err := wait(t.Context()); err != nil || len(kicked) != 1 || kicked[0].Session.Token != "t-1" {
		t.Fatalf("the kick ended with %+v, %v", kicked, err)
	}
	_, err = dial("t-1")
	wantError(t, err, protocol.Unauthorized, "revoked")
	again, err := dial("t-2")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := srv.Users.Kick("nobody", nil); !errors.Is(err, usermgr.ErrUnknownID) {
		t.Errorf("kicking nobody: %v", err)
	}
}

// S2: the authenticator's token names the login in place of the Logon's, so that devices may share a password.
func TestIdentityTokenNamesTheLogin(t *testing.T) {
	srv := rollcalltest.NewServer(t, rollcall.Config{
		Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}},
		Authenticate: func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
			return bridge.Identity{UserID: l.UserID, Token: l.Fields["login"]}, nil
		},
	}, nil)
	logOn := func(device uint16, login string) *client.Client {
		return srv.Client(t, "ann", client.Config{Device: device, Fields: map[string]string{protocol.FieldToken: "password", "login": login}})
	}
	logOn(1, "a")
	second := logOn(2, "b")
	if n := len(sessionsOf(srv.Users, "ann")); n != 2 {
		t.Errorf("two logins with one password are %d sessions", n)
	}
	logOn(3, "b")
	<-second.Done()
	wantError(t, second.Err(), protocol.PushedOut, "")
}

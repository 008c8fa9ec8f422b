package bridge_test

import (
	"context"
	"maps"
	"runtime"
	"testing"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func TestStatsCountLogonsUnderWay(t *testing.T) {
	g := newGate()
	s := serve(t, options{auth: g.authenticate, bridge: bridge.Config{MaxAuthenticating: 2}})
	for range 3 {
		s.dial().send(logonMessage("slow"))
	}
	eventually(t, "two are authenticated and one waits", func() bool {
		got := s.bridge.Logons()
		return got.LoggingOn == 3 && got.Authenticating == 2
	})
	g.open()
	eventually(t, "all have come in", func() bool {
		got := s.bridge.Logons()
		return got.LoggingOn == 0 && got.Authenticating == 0
	})
}

// Each logon that fails is counted once, for every part that can refuse it, with the code that the client was told.
func TestStatsCountLogonsThatCameToNothing(t *testing.T) {
	held := make(chan struct{})
	s := serve(t, options{users: usermgr.Config{RelogonMode: usermgr.IgnoreNew},
		auth: func(ctx context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
			switch l.UserID {
			case "eve":
				return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized}
			case "mallory":
				panic("on purpose")
			case "trudy":
				runtime.Goexit()
			case "leaving":
				held <- struct{}{}
				<-ctx.Done()
				return bridge.Identity{}, context.Cause(ctx)
			}
			return bridge.Identity{UserID: l.UserID}, nil
		}})
	s.logOn("ann")
	for _, c := range []struct {
		user string
		code protocol.CloseCode
	}{{"eve", protocol.Unauthorized}, {"eve", protocol.Unauthorized}, {"mallory", protocol.InternalError}, {"trudy", protocol.InternalError},
		{"ann", protocol.AlreadyLoggedOn}} {
		client := s.dial()
		client.send(logonMessage(c.user))
		client.expectRefused(c.code)
	}
	leaving := s.dial()
	leaving.send(logonMessage("leaving"))
	<-held
	leaving.reset()
	want := map[protocol.CloseCode]uint64{protocol.Unauthorized: 2, protocol.InternalError: 2, protocol.AlreadyLoggedOn: 1,
		protocol.NetworkError: 1}
	eventually(t, "all are counted", func() bool { return maps.Equal(s.bridge.Logons().Refused, want) })
	if n := s.bridge.Logons().AuthenticatorPanics; n != 2 {
		t.Errorf("%d authenticators panicked", n)
	}
	if got := s.users.Stats(); !maps.Equal(got.Refused, map[protocol.CloseCode]uint64{protocol.AlreadyLoggedOn: 1}) || got.Logons != 1 {
		t.Errorf("the manager has %d logons, refused %v", got.Logons, got.Refused)
	}
}

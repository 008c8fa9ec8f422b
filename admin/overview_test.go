package admin

import (
	"context"
	"maps"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func TestOverviewCountsWhatIsThere(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	s.logOn(t, "ann", "bob")
	v := get[overviewView](t, s, "overview")
	if v.Users != 2 || v.Sessions != 2 || v.Logons != 2 || v.May != "act" || v.Who != "olga" || len(v.Engines) != 1 ||
		v.Engines[0].Name != "main" || v.Engines[0].Bound != 2 || v.Engines[0].Transports["tcp"] != 2 || len(v.Minute.Users) != len(v.Minute.Logons) {
		t.Errorf("%+v", v)
	}
	s.may = View
	if v := get[overviewView](t, s, "overview"); v.May != "view" {
		t.Errorf("may %s", v.May)
	}
}

// Who was not let in is counted by part and reason: connections by the engine, log-ons by the bridge.
func TestOverviewCountsWhoWasNotLetIn(t *testing.T) {
	cfg := rollcall.Config{Authenticate: func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		if l.UserID == "mallory" {
			return bridge.Identity{}, protocol.Unauthorized
		}
		return bridge.Identity{UserID: l.UserID}, nil
	}}
	cfg.Engine.Accept.MaxConnections = 1
	s := newStand(t, cfg, nil)
	dial := func(user string) error {
		c, err := client.Dial(t.Context(), s.Addr, client.Config{UserID: user, Reconnect: client.Reconnect{Max: -1}})
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
		}
		return err
	}
	if err := dial("mallory"); err == nil {
		t.Error("mallory is let in")
	}
	testkit.Eventually(t, "there is room", func() bool { return s.Engine.Stats().Conns.Open == 0 })
	if first, second := dial("ann"), dial("bob"); first != nil || second == nil {
		t.Errorf("with room for one: %v, %v", first, second)
	}
	v := get[overviewView](t, s, "overview")
	if want := map[string]uint64{"connection: full": 1, "log-on: Unauthorized": 1}; !maps.Equal(v.NotLetIn, want) {
		t.Errorf("not let in: %v, and not %v", v.NotLetIn, want)
	}
}

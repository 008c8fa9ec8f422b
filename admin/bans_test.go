package admin

import (
	"net/netip"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/usermgr"
)

// The addresses that are banned are listed, and a user's ban with its end, for a user who is offline too.
func TestBans(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	if v := get[bansView](t, s, "bans"); len(v.Bans) != 0 || !v.Whole {
		t.Errorf("before there is one: %+v", v)
	}
	s.Engine.Ban(netip.MustParseAddr("203.0.113.7"), time.Hour)
	s.Engine.Ban(netip.MustParseAddr("2001:db8::1"), time.Hour)
	v := get[bansView](t, s, "bans")
	if len(v.Bans) != 2 || !v.Whole || v.Bans[0].Network != "203.0.113.7/32" || v.Bans[1].Network != "2001:db8::/64" || v.Bans[0].Engine != "main" ||
		v.Bans[0].Reason != "by the application" || time.Until(v.Bans[0].Until) < 50*time.Minute {
		t.Errorf("%+v", v)
	}
	if v := get[bansView](t, s, "bans?limit=1"); len(v.Bans) != 1 || v.Whole {
		t.Errorf("one at most: %+v", v)
	}
	if got := s.ask("GET", apiPrefix+"bans?limit=0", ""); got.status != 400 {
		t.Errorf("a limit of 0 is answered %d", got.status)
	}
	if v := get[userView](t, s, "user?id=zoe"); !v.BannedUntil.IsZero() {
		t.Errorf("not banned: %+v", v)
	}
	if _, err := s.Users.Kick("zoe", &usermgr.KickOptions{BanFor: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if v := get[userView](t, s, "user?id=zoe"); time.Until(v.BannedUntil) < 50*time.Minute || time.Until(v.BannedUntil) > time.Hour {
		t.Errorf("banned for an hour: %+v", v)
	}
}

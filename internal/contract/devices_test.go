package contract

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

var (
	perDevice = Policy{OnePerClass: true}
	upToTwo   = Policy{Max: 2}
	pairs     = Policy{OnePerClass: true, Pairs: [][2]uint16{{1, 3}, {2, 3}}}
)

const (
	first  = "log 1 a d1; Online 1; Connected 1; count 1; in 1; "
	second = "log 2 a d2; Connected 2; in 2; "
	both   = first + second
	out1   = "quiesce 1; quiet 1; PushedOut 1 by 3; Disconnected 1 2000; close 1 2000; "
	out2   = "quiesce 2; quiet 2; PushedOut 2 by 3; Disconnected 2 2000; close 2 2000; "
	in3    = "Connected 3; in 3; "
	left   = "end 1 1001; quiesce 1; quiet 1; Disconnected 1 1001; close 1 1001; " // with a grace
)

// Stories of a manager with several devices a user, with a grace of a minute, or with an idle time of a minute.
var deviceStories = []struct {
	name  string
	rule  int
	with  Manager
	story string
}{
	{"two devices", 0, Manager{policy: perDevice}, both + "users a=1,2"},
	{"two devices where one is allowed", 4, Manager{}, both},
	{"two of a device", 17, Manager{policy: perDevice}, first + "log 2 a d1; Connected 2; in 2"},
	{"one of two sessions ends", 0, Manager{policy: perDevice}, both +
		"end 1 1000; quiesce 1; quiet 1; Disconnected 1 1000; close 1 1000; users a=2"},
	{"the end of one session ends the other", 9, Manager{policy: perDevice}, both +
		"end 1 1000; quiesce 2; quiet 2; Disconnected 2 1000; close 2 1000"},
	{"over the number", 0, Manager{policy: upToTwo}, both + "log 3 a d3; " + out1 + in3 + "users a=2,3"},
	{"over the number, the younger goes", 17, Manager{policy: upToTwo}, both + "log 3 a d3; " + out2 + in3},
	{"over the number, nobody goes", 17, Manager{policy: upToTwo}, both + "log 3 a d3; " + in3},
	{"within the number, somebody goes", 17, Manager{policy: upToTwo}, first + "log 3 a d3; " + out1 + in3},
	{"over the number, refused", 0, Manager{policy: upToTwo, mode: usermgr.IgnoreNew}, both +
		"log 3 a d3; Ignored 3 a; out 3 2001; users a=1,2"},
	{"within the number, refused", 7, Manager{policy: upToTwo, mode: usermgr.IgnoreNew}, first + "log 2 a d2; Ignored 2 a; out 2 2001"},
	{"a pair", 0, Manager{policy: pairs}, both + "log 3 a d3; " + out1 + out2 + in3 + "users a=3"},
	{"a pair, the younger goes first", 17, Manager{policy: pairs}, both + "log 3 a d3; " + out2 + out1 + in3},
	{"a pair, one stays", 17, Manager{policy: pairs}, both + "log 3 a d3; " + out1 + in3},
	{"a pair, one ends by itself", 0, Manager{policy: pairs}, both + "log 3 a d3; end 2 1000; " + out1 +
		"quiesce 2; quiet 2; Disconnected 2 1000; close 2 1000; Offline a; Online 3; " + in3},
	{"a pair, a refused logon takes one over", 7, Manager{policy: pairs, mode: usermgr.IgnoreNew}, both + "log 3 a d3 s1; " + out1 + out2 + in3},
	{"a pair, both pushed out before either is disconnected", 4, Manager{policy: pairs}, both + "log 3 a d3; " +
		"quiesce 1; quiet 1; quiesce 2; quiet 2; PushedOut 1 by 3; PushedOut 2 by 3; Disconnected 1 2000; close 1 2000; " +
		"Disconnected 2 2000; close 2 2000; " + in3},
	{"the new session is found beside the old ones", 6, Manager{policy: pairs}, both + "log 3 a d3; quiesce 1; quiet 1; PushedOut 1 by 3; " +
		"+Disconnected 1 2000; where a 3; -Disconnected 1 2000; close 1 2000; " + out2 + in3},
	{"the same token", 0, Manager{policy: perDevice}, "log 1 a d1 tx; Online 1; Connected 1; count 1; in 1; log 3 a d2 tx; " + out1 + in3},
	{"the same token twice", 17, Manager{policy: perDevice}, "log 1 a d1 tx; Online 1; Connected 1; count 1; in 1; log 3 a d2 tx; " + in3},

	{"no Online", 17, Manager{}, "log 1 a; Connected 1; count 1; in 1"},
	{"Online twice", 17, Manager{policy: perDevice}, first + "log 2 a d2; Online 2; Connected 2; in 2"},
	{"no Offline", 17, Manager{}, online + "end 1 1000; quiesce 1; quiet 1; Disconnected 1 1000; close 1 1000"},
	{"Offline with a session left", 17, Manager{policy: perDevice}, both + ended},

	{"back within the grace", 0, Manager{grace: time.Minute}, online + left + "users a=; log 2 a; Connected 2; in 2; users a=2"},
	{"not back", 0, Manager{grace: time.Minute}, online + left + "pass; Offline a; count 0; users"},
	{"thrown out in the grace", 0, Manager{grace: time.Minute}, online + left + "kick a 2002; Offline a; count 0; users"},
	{"offline before the grace is over", 17, Manager{grace: time.Minute}, online + left + "Offline a; count 0"},
	{"offline long after the grace", 17, Manager{grace: time.Minute}, online + left + "pass; pass; Offline a; count 0"},
	{"online again in the grace", 17, Manager{grace: time.Minute}, online + left + "log 2 a; Online 2; Connected 2; in 2"},
	{"never offline after the grace", 17, Manager{grace: time.Minute}, online + left + "pass; pass; users a="},
	{"thrown out in the grace, and not offline", 17, Manager{grace: time.Minute}, online + left + "kick a 2002; users a="},
	{"offline at rest in the grace", 17, Manager{grace: time.Minute}, online + left + "users"},
	{"a grace for who was thrown out", 17, Manager{grace: time.Minute}, online +
		"kick a 2002; quiesce 1; quiet 1; Disconnected 1 2002; close 1 2002; pass; Offline a; count 0"},

	{"a session expires", 0, Manager{idle: time.Minute}, online + "pass; quiesce 1; quiet 1; Expired 1; Disconnected 1 2008; close 1 2008; Offline a"},
	{"a session expires after a message", 8, Manager{idle: 2 * time.Minute}, online +
		"pass; received 1; pass; quiesce 1; quiet 1; Expired 1; Disconnected 1 2008; close 1 2008; Offline a"},
	{"a session expires after a touch", 8, Manager{idle: 2 * time.Minute}, online +
		"pass; touch a; pass; quiesce 1; quiet 1; Expired 1; Disconnected 1 2008; close 1 2008; Offline a"},
	{"a session expires late", 8, Manager{idle: time.Minute}, online + "pass; pass; quiesce 1; quiet 1; Expired 1; Disconnected 1 2008; close 1 2008; Offline a"},
	{"a session never expires", 8, Manager{idle: time.Minute}, online + "pass; pass; users a=1"},
	{"nobody is to expire", 8, Manager{}, online + "pass; quiesce 1; quiet 1; Expired 1; Disconnected 1 2008; close 1 2008; Offline a"},
	{"Expired is not followed by Disconnected", 4, Manager{idle: time.Minute}, online + "pass; quiesce 1; quiet 1; Expired 1"},

	{"a tag", 0, Manager{}, online + "tag a x; UserTagged a x; tag a y; UserTagged a y x; " + ended},
	{"a tag that nobody set", 3, Manager{}, online + "UserTagged a x"},
	{"a tag is not told", 4, Manager{}, online + "tag a x; tag a y; UserTagged a y x"},
	{"the last tag is not the one that was told", 10, Manager{}, online + "tag a x; UserTagged a x; users a=1"},
	{"a kick finds nobody", 0, Manager{}, "miss a; " + online + ended + "miss a"},
	{"a kick does not find who is online", 10, Manager{}, online + "miss a"},
	{"a kick does not find who is in the grace", 10, Manager{grace: time.Minute}, online + left + "miss a"},
}

func TestCheckNamesTheRuleThatAStoryOfDevicesBreaks(t *testing.T) {
	for i := range deviceStories {
		s := &deviceStories[i]
		t.Run(s.name, func(t *testing.T) {
			var err error
			synctest.Test(t, func(*testing.T) {
				err = told(&Manager{mode: s.with.mode, policy: s.with.policy, grace: s.with.grace, idle: s.with.idle}, s.story).Check()
			})
			judged(t, s.rule, err)
		})
	}
}

// A real manager's doings, with devices, kicks, tags, expiry and a grace, break no rule.
func TestAManagerOfSeveralDevicesIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewWith(pairs, usermgr.Config{HeartbeatTimeout: -1, OfflineGrace: time.Minute, IdleTimeout: time.Hour})
		m.FakeTime = true
		m.Subscribe(usermgr.Events{})
		log := func(conn uint64, device uint16, token string) usermgr.Session {
			s, err := m.Register(context.Background(), usermgr.Logon{UserID: "a", Device: device, Token: token}, idleLink(conn))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		log(1, 1, "x")
		s := log(2, 2, "")
		m.SetTag("a", "tag")
		m.SetSessionTag(s.ID(), "tag")
		log(3, 3, "")
		last := log(4, 4, "y")
		k, err := m.Kick("a", &usermgr.KickOptions{Devices: []uint16{4}, Text: "out", RevokeFor: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k(context.Background()); err != nil {
			t.Fatal(err)
		}
		_, err = m.Register(context.Background(), usermgr.Logon{UserID: "a", Token: "y", Session: last.ID()}, idleLink(5))
		if err == nil {
			t.Error("a revoked token was let in")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		m.AtRest()
		log(6, 1, "").End(protocol.NetworkError)
		synctest.Wait()
		m.AtRest()
		log(7, 1, "")
		if err := m.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		m.AtRest()
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	})
}

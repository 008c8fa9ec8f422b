package presence_test

import (
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule P19: a state is kept across sessions, devices and the server's restarts.
func TestAStateIsKeptAcrossSessionsAndDevices(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	bob := w.logOn("bob")
	bob.set(presence.Busy)
	bob.leave()
	w.gone("bob")
	w.tick()
	w.logOn("bob")
	w.settle()
	if s := w.presence.Visible("bob"); s != presence.Busy {
		t.Errorf("rule P19: after another logon bob is %v", s)
	}
	w.end()
	again := newWorld(t, presence.Config{Store: w.store}, usermgr.Config{})
	again.logOn("bob")
	again.settle()
	if s := again.presence.Visible("bob"); s != presence.Busy {
		t.Errorf("rule P19: after a restart bob is %v", s)
	}
}

// Rule P19: all devices have one state, which each of them is told.
func TestAllDevicesHaveOneState(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	phone, laptop := w.logOn("bob"), w.logOn("bob")
	phone.watch()
	laptop.watch()
	phone.set(presence.Busy)
	w.tick()
	phone.wantHeard("P19", "bob busy")
	laptop.wantHeard("P19", "bob busy")
	if got := list(laptop.query("bob")); got != "bob busy" {
		t.Errorf("rule P19: the other device is told %q", got)
	}
}

// Rule P19: a Logon chooses with its field "presence", on a first and on a second device; other values choose nothing.
func TestALogonChoosesAState(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	for _, c := range []struct {
		field string
		want  presence.State
	}{{"busy", presence.Busy}, {"offline", presence.Busy}, {"", presence.Busy}, {"stealth", presence.Offline}, {"online", presence.Online}} {
		w.logOn("bob", "presence", c.field)
		w.settle()
		if s := w.presence.Visible("bob"); s != c.want {
			t.Errorf("rule P19: with %q bob is %v", c.field, s)
		}
	}
	if r := w.store.of("bob"); r.Wanted != presence.Online {
		t.Errorf("rule P19: %v is stored", r.Wanted)
	}
}

// Rule P20: a user's first session and the last one's end are told, a second device is not.
func TestOnlyTheFirstAndTheLastSessionAreTold(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	if got := ann.watch(); got != "" {
		t.Errorf("rule P20: Watch has %q", got)
	}
	phone := w.logOn("bob")
	w.tick()
	ann.wantHeard("P20", "bob online")
	laptop := w.logOn("bob")
	w.tick()
	ann.wantHeard("P20", "")
	phone.leave()
	testkit.Eventually(t, "the phone has left", func() bool { return w.sessions("bob") == 1 })
	w.tick()
	ann.wantHeard("P20", "")
	laptop.leave()
	w.gone("bob")
	w.tick()
	ann.wantHeard("P20", "bob offline")
}

// sessions returns how many sessions a user has.
func (w *world) sessions(user string) int {
	u, _ := w.Users.User(user)
	return len(u.Sessions)
}

// Rule P20: a user whose last session was lost is told to have gone when OfflineGrace has passed, and not when the user is back before.
func TestALostUserIsToldWhenTheGraceIsOver(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{OfflineGrace: time.Hour})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	w.tick()
	if got := ann.watch(); got != "bob online" {
		t.Errorf("rule P20: Watch has %q", got)
	}
	bob.lose()
	testkit.Eventually(t, "the session has ended", func() bool { return w.sessions("bob") == 0 })
	w.tick()
	ann.wantHeard("P20", "")
	w.logOn("bob")
	w.tick()
	ann.wantHeard("P20", "")
}

// Rule P20: who watches is told of a change between Online and Busy.
func TestBusyIsTold(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	w.tick()
	ann.watch()
	bob.set(presence.Busy)
	w.tick()
	ann.wantHeard("P20", "bob busy")
	bob.set(presence.Online)
	w.tick()
	ann.wantHeard("P20", "bob online")
}

package presence_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
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

// Rule P19: a choice that cannot be stored is answered with an error, and taken back; so it is when the user's record cannot be loaded.
func TestAChoiceThatCannotBeStoredIsTakenBack(t *testing.T) {
	for _, method := range []string{"LoadPresence", "SavePresence"} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t, presence.Config{}, usermgr.Config{})
			w.store.setBefore(func(m string, _ []string) error {
				if m == method {
					return errDown
				}
				return nil
			})
			bob := w.logOn("bob")
			if _, err := bob.ask(protocol.PresenceSet, nil, "state", "busy"); code(err) != protocol.HandlerFailed {
				t.Errorf("rule P19: it is answered %v", err)
			}
			w.store.setBefore(nil)
			testkit.Eventually(t, "bob is online", func() bool { return w.presence.Visible("bob") == presence.Online })
			testkit.Eventually(t, "what is stored is what he was", func() bool {
				w.presence.Tick()
				r := w.store.of("bob")
				return !r.LastOnline.IsZero() && r.Wanted == presence.Online
			})
			bob.set(presence.Busy)
			if s := w.presence.Visible("bob"); s != presence.Busy {
				t.Errorf("rule P19: bob is seen as %v", s)
			}
		})
	}
}

// Rule P19: a later choice takes the place of one that is not stored yet. Both are answered when the later one is stored.
func TestALaterChoiceTakesThePlaceOfAnEarlierOne(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	bob := w.logOn("bob")
	w.tick()
	stored, goOn := make(chan struct{}), make(chan struct{})
	w.store.setBefore(func(string, []string) error {
		stored <- struct{}{}
		<-goOn
		return nil
	})
	bob.begin(protocol.PresenceSet, nil, "state", "busy")
	testkit.Receive(t, "the first call", stored)
	later := make(chan error, 1)
	go func() { later <- w.presence.Set(t.Context(), "bob", presence.Stealth) }()
	testkit.Eventually(t, "the later one acts", func() bool { return w.presence.Visible("bob") == presence.Offline })
	goOn <- struct{}{}
	testkit.Receive(t, "the second call", stored)
	if s := w.presence.Visible("bob"); s != presence.Offline {
		t.Errorf("rule P23: the earlier choice, which is stored, acts: bob is seen as %v", s)
	}
	w.store.setBefore(nil)
	goOn <- struct{}{}
	if _, err := bob.answer(); err != nil {
		t.Errorf("rule P19: the earlier one is answered %v", err)
	}
	if err := testkit.Receive(t, "the outcome", later); err != nil {
		t.Errorf("rule P19: the later one has the outcome %v", err)
	}
	if r := w.store.of("bob"); r.Wanted != presence.Stealth {
		t.Errorf("rule P19: %v is stored", r.Wanted)
	}
}

// Rule P20: ticks come by themselves, once an interval, and at once with a negative one.
func TestTicksComeByThemselves(t *testing.T) {
	for _, interval := range []time.Duration{10 * time.Millisecond, -1} {
		w := newWorld(t, presence.Config{Interval: interval}, usermgr.Config{})
		ann := w.logOn("ann")
		ann.watch()
		bob := w.logOn("bob")
		hear := func(want string) {
			t.Helper()
			testkit.Eventually(t, "ann hears "+want, func() bool {
				got := ann.heard()
				if got != "[]" && got != want {
					t.Fatalf("rule P20: ann heard %s, not %s", got, want)
				}
				return got == want
			})
		}
		hear("[bob online]")
		bob.set(presence.Busy)
		hear("[bob busy]")
		bob.leave()
		hear("[bob offline]")
	}
}

// Rule P19: of users who come at a time each is read from the store, whenever the last one before was read, and although nothing else happens.
func TestUsersWhoComeAtATimeAreAllLoaded(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	for i := range 100 {
		id := fmt.Sprintf("user%02d", i)
		w.presence.Come(id)
		testkit.Eventually(t, id+" is seen", func() bool { return w.presence.Visible(id) == presence.Online })
	}
}

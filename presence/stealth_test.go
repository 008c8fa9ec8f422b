package presence_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule P23: into Stealth tells Offline, out of it what the user is then. The user's own sessions are told of it.
func TestStealthTellsOffline(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, bob, phone := w.logOn("ann"), w.logOn("bob"), w.logOn("bob")
	w.tick()
	ann.watch()
	phone.watch()
	bob.set(presence.Stealth)
	if s := w.presence.Visible("bob"); s != presence.Offline || w.presence.VisibleTo("ann", "bob") || !w.presence.VisibleTo("bob", "bob") {
		t.Errorf("rule P23: bob is seen as %v", s)
	}
	w.tick()
	ann.wantHeard("P23", "bob offline")
	phone.wantHeard("P23", "bob stealth")
	if got := list(ann.query("bob")); got != "bob offline" {
		t.Errorf("rule P23: ann is told %q", got)
	}
	if mine, others := phone.online("bob"), ann.online("bob", "ann"); !slices.Equal(mine, []string{"bob"}) || !slices.Equal(others, []string{"ann"}) {
		t.Errorf("rule P23: bob is told that %q are online, and ann that %q are", mine, others)
	}
	bob.set(presence.Busy)
	w.tick()
	ann.wantHeard("P23", "bob busy")
	phone.wantHeard("P23", "bob busy")
	if !w.presence.VisibleTo("ann", "bob") {
		t.Error("rule P23: bob is not visible after Stealth")
	}
}

// Rule P23: in two worlds that differ only in that bob is in Stealth or offline, ann gets the same bytes, and her questions cause the same
// calls of the store.
func TestStealthCannotBeToldFromOffline(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   presence.Config
		known bool // the store has a record of bob
	}{
		{"who was seen before", presence.Config{}, true},
		{"who was never seen", presence.Config{}, false},
		{"without a cache", presence.Config{Cache: presence.Cache{TTL: -1}}, true},
		{"in public", presence.Config{Public: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			hidden, loads := stealthWorld(t, c.cfg, c.known, true)
			offline, others := stealthWorld(t, c.cfg, c.known, false)
			if !bytes.Equal(hidden, offline) {
				t.Errorf("rule P23: ann gets\n%x while bob is in Stealth, and\n%x while he is offline", hidden, offline)
			}
			if !slices.Equal(loads, others) {
				t.Errorf("rule P23: ann's questions load %q while bob is in Stealth, and %q while he is offline", loads, others)
			}
		})
	}
}

// stealthWorld runs a program with ann and carol, and with bob in Stealth or offline. It returns all that ann got, and the loads that she caused.
func stealthWorld(t *testing.T, cfg presence.Config, known, stealth bool) (got []byte, loads []string) {
	cfg.HideLastOnline = false
	w := newWorld(t, cfg, usermgr.Config{})
	if known {
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		record := presence.Record{UserID: "bob", LastOnline: at, LastSeen: at.Add(time.Hour)}
		if err := w.store.Memory.SavePresence(t.Context(), []presence.Record{record}); err != nil {
			t.Fatal(err)
		}
	}
	ann := w.logOn("ann")
	look := func() {
		w.tick()
		w.store.calls()
		ann.query("bob", "nobody")
		ann.online("bob", "nobody")
		ann.heard()
		now, _ := w.store.calls()
		loads = append(append(loads, "a look"), now...)
	}
	bob := func(do func()) {
		if stealth {
			do()
		}
		look()
	}
	ann.watch()
	var phone, laptop *peer
	bob(func() { phone = w.logOn("bob", "presence", "stealth") })
	bob(func() { laptop = w.logOn("bob") })
	ann.watch()
	bob(func() { phone.set(presence.Stealth) })
	bob(func() { laptop.watch() })
	bob(func() {
		w.store.setBefore(func(method string, _ []string) error {
			if method == "SavePresence" {
				return errDown
			}
			return nil
		})
		_, _ = phone.ask(1, nil, "state", "online")
		w.store.setBefore(nil)
	})
	bob(func() { w.presence.ContactsChanged("ann", "bob") })
	bob(func() { phone.leave() })
	bob(func() {
		laptop.leave()
		w.gone("bob")
	})
	bob(func() { phone = w.logOn("bob") }) // in Stealth still, as is stored
	return ann.bytes, loads
}

// Rule P23: who goes into Stealth cannot be told from who goes.
func TestGoingIntoStealthLooksLikeGoing(t *testing.T) {
	program := func(goAway func(w *world, bob *peer)) (got []byte, loads []string) {
		w := newWorld(t, presence.Config{HideLastOnline: true}, usermgr.Config{})
		ann, bob := w.logOn("ann"), w.logOn("bob")
		w.tick()
		ann.watch()
		ann.query("bob")
		w.store.calls()
		goAway(w, bob)
		ann.query("bob")
		w.tick()
		ann.heard()
		ann.query("bob")
		ann.watch()
		for range 2 {
			w.tick()
			ann.heard()
			ann.query("bob")
		}
		if r := w.store.of("bob"); r.LastOnline.IsZero() || r.LastSeen.IsZero() {
			t.Errorf("rule P24: %+v is stored", r)
		}
		return ann.bytes, nil
	}
	hidden, _ := program(func(_ *world, bob *peer) { bob.set(presence.Stealth) })
	offline, _ := program(func(w *world, bob *peer) {
		bob.leave()
		w.gone("bob")
	})
	if !bytes.Equal(hidden, offline) {
		t.Errorf("rule P23: ann gets\n%x when bob goes into Stealth, and\n%x when he goes", hidden, offline)
	}
}

// Rule P23: users who are not visible are read through one cache: each question for one of them loads as often.
func TestUsersWhoAreNotVisibleAreReadThroughOneCache(t *testing.T) {
	for _, c := range []struct {
		ttl  time.Duration
		want int
	}{{0, 1}, {-1, 3}} {
		for _, stealth := range []bool{true, false} {
			w := newWorld(t, presence.Config{Cache: presence.Cache{TTL: c.ttl}}, usermgr.Config{})
			ann := w.logOn("ann")
			if stealth {
				w.logOn("bob", "presence", "stealth")
			}
			w.tick()
			w.store.calls()
			for range 3 {
				ann.query("bob")
			}
			if loads, _ := w.store.calls(); len(loads) != c.want {
				t.Errorf("rule P23: with a TTL of %v, and bob in Stealth %v, three questions load %q", c.ttl, stealth, loads)
			}
		}
	}
}

// Rule P23: while another subscriber's handler of Online is slow, the state that is stored does not come out: the Logon's is known already.
func TestASlowHandlerDoesNotLetTheStoredStateOut(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	w.tick()
	ann.watch()
	begun, goOn := make(chan struct{}), make(chan struct{})
	w.Users.Subscribe(rollcall.Events{Online: func(u rollcall.UserData) {
		close(begun)
		<-goOn
	}})
	came := make(chan struct{})
	go func() {
		defer close(came)
		w.logOn("bob", "presence", "stealth")
	}()
	testkit.Receive(t, "the slow handler", begun)
	for range 3 {
		w.tick()
	}
	ann.wantHeard("P23", "")
	if s := w.presence.Visible("bob"); s != presence.Offline {
		t.Errorf("rule P23: bob is seen as %v", s)
	}
	close(goOn)
	testkit.Receive(t, "the end of the logon", came)
	w.tick()
	ann.wantHeard("P23", "")
}

// Rule P23: before a user's record is loaded the user looks offline.
func TestAUserWhoIsNotLoadedLooksOffline(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	bob.set(presence.Stealth)
	bob.leave()
	w.gone("bob")
	w.tick()
	ann.watch()
	asked, goOn := make(chan struct{}, 1), make(chan struct{})
	w.store.setBefore(func(method string, ids []string) error {
		if slices.Contains(ids, "bob") && method == "LoadPresence" {
			asked <- struct{}{}
			<-goOn
		}
		return nil
	})
	w.logOn("bob")
	testkit.Receive(t, "the call", asked)
	for range 3 {
		w.presence.Tick()
	}
	ann.wantHeard("P23", "")
	w.store.setBefore(nil)
	close(goOn)
	w.tick()
	ann.wantHeard("P23", "")
}

// Rule P23: into Stealth acts at once, also if it cannot be stored, which the answer says; it is stored later.
func TestIntoStealthActsAtOnce(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	w.tick()
	ann.watch()
	stored, goOn := make(chan struct{}, 1), make(chan error)
	w.store.setBefore(func(method string, ids []string) error {
		if method == "SavePresence" && slices.Contains(ids, "bob") {
			stored <- struct{}{}
			return <-goOn
		}
		return nil
	})
	bob.begin(1, nil, "state", "stealth")
	testkit.Receive(t, "the call", stored)
	if s := w.presence.Visible("bob"); s != presence.Offline {
		t.Errorf("rule P23: while it is being stored bob is seen as %v", s)
	}
	w.presence.Tick()
	ann.wantHeard("P23", "bob offline")
	goOn <- errDown
	if _, err := bob.answer(); err == nil {
		t.Error("rule P19: it is answered as stored")
	}
	if s := w.presence.Visible("bob"); s != presence.Offline {
		t.Errorf("rule P23: when it was not stored bob is seen as %v", s)
	}
	w.store.setBefore(nil)
	testkit.Eventually(t, "it is stored", func() bool { return w.store.of("bob").Wanted == presence.Stealth })
}

// Rule P23: out of Stealth acts when it is stored, and not if it cannot be stored. The answer comes when it is stored.
func TestOutOfStealthActsWhenItIsStored(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob", "presence", "stealth")
	w.tick()
	ann.watch()
	stored, goOn := make(chan struct{}, 1), make(chan error)
	w.store.setBefore(func(method string, _ []string) error {
		if method == "SavePresence" {
			stored <- struct{}{}
			return <-goOn
		}
		return nil
	})
	for _, outcome := range []error{errDown, nil} {
		bob.begin(1, nil, "state", "online")
		testkit.Receive(t, "the call", stored)
		w.presence.Tick()
		ann.wantHeard("P23", "")
		if outcome == nil {
			w.store.setBefore(nil)
		}
		goOn <- outcome
		_, err := bob.answer()
		if (err == nil) != (outcome == nil) {
			t.Errorf("rule P19: with %v it is answered %v", outcome, err)
		}
		if s := w.presence.Visible("bob"); (s == presence.Online) != (outcome == nil) {
			t.Errorf("rule P23: with %v bob is seen as %v", outcome, s)
		}
		if outcome != nil {
			w.presence.Tick()
			ann.wantHeard("P23", "")
			testkit.Receive(t, "another try, with the old state", stored)
			goOn <- nil
			w.settle()
			if r := w.store.of("bob"); r.Wanted != presence.Stealth {
				t.Errorf("rule P19: %v is stored", r.Wanted)
			}
		}
	}
	w.tick()
	ann.wantHeard("P23", "bob online")
}

// Rule P24: last online is when the user was seen to come, last seen when the user was seen to go. A time in Stealth moves neither.
func TestStealthMovesNoTimes(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	before := time.Now().Truncate(time.Millisecond)
	bob := w.logOn("bob")
	w.tick()
	p := ann.query("bob")[0]
	if p.LastOnline.Before(before) || p.LastOnline.After(time.Now()) || !p.LastSeen.IsZero() {
		t.Errorf("rule P24: bob, who has come after %v, is told as %+v", before, p)
	}
	bob.set(presence.Busy)
	w.tick()
	if now := ann.query("bob")[0]; !now.LastOnline.Equal(p.LastOnline) || !now.LastSeen.IsZero() {
		t.Errorf("rule P24: Busy has moved %+v to %+v", p, now)
	}
	bob.set(presence.Stealth)
	w.tick()
	hidden := ann.query("bob")[0]
	if hidden.LastSeen.Before(p.LastOnline) || !hidden.LastOnline.Equal(p.LastOnline) {
		t.Errorf("rule P24: when bob went into Stealth he was told as %+v", hidden)
	}
	bob.leave()
	w.gone("bob")
	w.tick()
	w.logOn("bob").leave()
	w.gone("bob")
	w.tick()
	if now := ann.query("bob")[0]; now != hidden {
		t.Errorf("rule P24: sessions in Stealth have moved %+v to %+v", hidden, now)
	}
	if r := w.store.of("bob"); r.Wanted != presence.Stealth || !r.LastSeen.Truncate(time.Millisecond).Equal(hidden.LastSeen) {
		t.Errorf("rule P24: %+v is stored", r)
	}
}

// Rule P24: with HideLastOnline no other user is told the times, in notices and in answers.
func TestTheTimesCanBeHidden(t *testing.T) {
	w := newWorld(t, presence.Config{HideLastOnline: true}, usermgr.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	w.tick()
	ann.watch()
	bob.set(presence.Busy)
	w.tick()
	if got := show(ann.query("bob", "ann")); got != "bob busy false false, ann online true false" {
		t.Errorf("rule P24: ann is told %q", got)
	}
	bob.leave()
	w.gone("bob")
	w.tick()
	if got := show(ann.query("bob")); got != "bob offline false false" {
		t.Errorf("rule P24: ann is told %q", got)
	}
}

package presence_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule P20: who becomes a contact is told the visible state if it is not Offline; who ceases to be one, or is blocked, is told Offline, if
// told otherwise before.
func TestContactsThatChangeAreTold(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	for _, other := range []string{"bob", "carol", "dave"} {
		w.friends.unfriend("ann", other, true)
	}
	ann := w.logOn("ann")
	w.logOn("bob")
	w.logOn("carol", "presence", "stealth")
	w.tick()
	if got := ann.watch(); got != "" {
		t.Errorf("rule P25: strangers are told: %q", got)
	}
	change := func(apart bool) {
		for _, other := range []string{"bob", "carol", "dave"} {
			w.friends.unfriend("ann", other, apart)
			w.presence.ContactsChanged(other, "ann")
		}
		w.tick()
	}
	change(false)
	ann.wantHeard("P20", "bob online")
	change(true)
	ann.wantHeard("P20", "bob offline")
	change(false)
	ann.wantHeard("P20", "bob online")
	w.friends.set(&w.friends.blocked, "bob", "ann", true)
	w.friends.set(&w.friends.blocked, "carol", "ann", true)
	w.presence.ContactsChanged("bob", "ann")
	w.presence.ContactsChanged("carol", "ann")
	w.tick()
	ann.wantHeard("P20", "bob offline")
}

// Rule P20: contacts that change while Contacts are being asked about a user who has changed are not told by the old answer.
func TestAnOldAnswerOfContactsTellsNobody(t *testing.T) {
	w := newWorld(t, presence.Config{Interval: -1}, usermgr.Config{})
	ann := w.logOn("ann")
	ann.watch()
	asked, goOn := make(chan struct{}, 1), make(chan struct{})
	w.friends.setBefore(func(method, userID string) error { // the answer is made before
		if method == "Watchers" && userID == "bob" {
			asked <- struct{}{}
			<-goOn
		}
		return nil
	})
	w.logOn("bob")
	testkit.Receive(t, "the call", asked)
	w.friends.setBefore(nil)
	w.friends.unfriend("ann", "bob", true)
	w.presence.ContactsChanged("ann", "bob")
	w.presence.Tick()
	close(goOn)
	w.logOn("carol")
	var all []string
	testkit.Eventually(t, "ann is told of carol", func() bool {
		if got := ann.heard(); got != "[]" {
			all = append(all, got)
		}
		return len(all) > 0
	})
	w.tick()
	if len(all) != 1 || all[0] != "[carol online]" {
		t.Errorf("rule P20: ann heard %q", all)
	}
	ann.wantHeard("P20", "")
}

// Rule P25: the answer to Query has the users that the asker may see. Users who have blocked the asker look offline, without times. Other users,
// and users who are not known, are left out.
func TestAQuestionTellsWhatTheAskerMaySee(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	for _, user := range []string{"bob", "carol", "dave"} {
		w.logOn(user)
	}
	eve := w.logOn("eve", "presence", "busy")
	w.friends.unfriend("ann", "carol", true)
	w.friends.set(&w.friends.blocked, "dave", "ann", true)
	w.tick()
	eve.leave()
	w.gone("eve")
	w.tick()
	const want = "bob online true false, dave offline false false, eve offline true true, ann online true false"
	ids := []string{"bob", "carol", "dave", "eve", "nobody", "ann", "bob"}
	if got := show(ann.query(ids...)); got != want {
		t.Errorf("rule P25: ann is told %q", got)
	}
	all, err := w.presence.Get(t.Context(), "ann", ids...)
	if got := show(all); err != nil || got != want {
		t.Errorf("rule P25: for ann Get returns %q, %v", got, err)
	}
	all, err = w.presence.Get(t.Context(), "", ids...)
	const server = "bob online true false, carol online true false, dave online true false, eve offline true true, ann online true false"
	if got := show(all); err != nil || got != server {
		t.Errorf("rule P25: for the server Get returns %q, %v", got, err)
	}
}

// Rule P25: with Public every user may ask for every other, except for users who have blocked the asker.
func TestInPublicEverybodyMayAsk(t *testing.T) {
	w := newWorld(t, presence.Config{Public: true}, usermgr.Config{})
	ann := w.logOn("ann")
	w.logOn("bob")
	w.logOn("carol")
	w.friends.unfriend("ann", "carol", true)
	w.friends.set(&w.friends.blocked, "bob", "ann", true)
	w.tick()
	if got := show(ann.query("bob", "carol", "nobody")); got != "bob offline false false, carol online true false" {
		t.Errorf("rule P25: ann is told %q", got)
	}
}

// Rule P25: a question that Contacts or the store fail to answer is answered HandlerFailed.
func TestAQuestionFailsWithContactsOrTheStore(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	w.settle()
	list := []byte{0, 1, 3, 'b', 'o', 'b'}
	w.friends.setBefore(func(string, string) error { return errDown })
	if _, err := ann.ask(protocol.PresenceQuery, list); code(err) != protocol.HandlerFailed {
		t.Errorf("rule P25: without Contacts: %v", err)
	}
	w.friends.setBefore(nil)
	w.store.setBefore(func(string, []string) error { return errDown })
	if _, err := ann.ask(protocol.PresenceQuery, list); code(err) != protocol.HandlerFailed {
		t.Errorf("rule P25: without the store: %v", err)
	}
	w.store.setBefore(nil)
	if got := ann.query("bob"); len(got) != 0 {
		t.Errorf("rule P25: then %+v", got)
	}
}

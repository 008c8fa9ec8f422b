package presence_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule P21: changes that cancel out between two ticks are not told.
func TestChangesThatAreUndoneAreNotTold(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, carol := w.logOn("ann"), w.logOn("carol")
	w.tick()
	ann.watch()
	bob := w.logOn("bob")
	w.settle()
	bob.leave()
	w.gone("bob")
	carol.set(presence.Busy)
	carol.set(presence.Online)
	w.tick()
	ann.wantHeard("P21", "")
	if r := w.store.of("bob"); !r.LastOnline.IsZero() || !r.LastSeen.IsZero() {
		t.Errorf("rule P21: %+v is stored", r)
	}
}

// Rule P21: a state is not told twice in a row, whatever else is told, and however often the program says that contacts have changed.
func TestNobodyIsToldTheSameTwice(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, bob := w.logOn("ann"), w.logOn("bob")
	w.tick()
	ann.watch()
	for range 2 {
		w.presence.ContactsChanged("ann", "bob")
		bob.set(presence.Busy)
		bob.set(presence.Online)
		w.logOn("bob")
		w.tick()
		ann.wantHeard("P21", "")
	}
}

// Rule P21 and rule P26: a change that cannot be told because Contacts fail is told later, and holds up no other.
func TestAChangeThatCouldNotBeToldIsToldLater(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	w.tick()
	ann.watch()
	for _, fault := range []func() error{
		func() error { return errDown },
		func() error { panic("a bug in Contacts") },
	} {
		w.friends.setBefore(func(method, userID string) error {
			if method == "Watchers" && userID == "bob" {
				return fault()
			}
			return nil
		})
		bob, carol := w.logOn("bob"), w.logOn("carol")
		w.tick()
		ann.wantHeard("P26", "carol online")
		w.friends.setBefore(nil)
		w.ticksUntil(ann, "[bob online]")
		bob.leave()
		w.gone("bob")
		carol.leave()
		w.gone("carol")
		w.tick()
		ann.wantHeard("P21", "bob offline, carol offline")
	}
	if st := w.presence.Stats(); st.Failures < 2 {
		t.Errorf("rule P26: %+v", st)
	}
}

// ticksUntil ticks until a user hears this.
func (w *world) ticksUntil(p *peer, want string) {
	w.t.Helper()
	testkit.Eventually(w.t, p.user+" hears "+want, func() bool {
		w.presence.Tick()
		got := p.heard()
		if got != "[]" && got != want {
			w.t.Fatalf("%s heard %s", p.user, got)
		}
		return got == want
	})
}

// Rule P21: what one watcher knows does not depend on another who knew the same and has gone.
func TestAWatcherWhoGoesTakesNothingFromOthers(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, bob, carol := w.logOn("ann"), w.logOn("bob"), w.logOn("carol")
	w.tick()
	ann.watch()
	carol.watch()
	carol.leave()
	w.gone("carol")
	w.tick()
	ann.wantHeard("P21", "carol offline")
	w.logOn("dave")
	w.tick()
	ann.wantHeard("P21", "dave online")
	bob.leave()
	w.gone("bob")
	w.tick()
	ann.wantHeard("P21", "bob offline")
	if got := ann.watch(); got != "dave online" {
		t.Errorf("rule P22: the answer has %q", got)
	}
}

// Rule P22: the answer to Watch has what was told, and what follows is told, each once.
func TestWatchIsASnapshotAndWhatFollows(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	w.logOn("bob", "presence", "busy")
	w.tick()
	w.logOn("carol")
	w.settle()
	if got := ann.watch(); got != "bob busy" {
		t.Errorf("rule P22: the answer has %q", got)
	}
	w.tick()
	ann.wantHeard("P22", "carol online")
	if got := ann.watch(); got != "bob busy, carol online" {
		t.Errorf("rule P22: the second answer has %q", got)
	}
	laptop := w.logOn("ann")
	if got := laptop.watch(); got != "bob busy, carol online" {
		t.Errorf("rule P22: another device's answer has %q", got)
	}
	w.tick()
	ann.wantHeard("P22", "")
	laptop.wantHeard("P22", "")
}

// Rule P22: what is told while Contacts are being asked for a Watch is in its answer, and is not told again.
func TestWhatIsToldBeforeTheAnswerIsInIt(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, dave := w.logOn("ann"), w.logOn("dave")
	w.tick()
	dave.watch()
	asked, goOn := make(chan struct{}), make(chan struct{})
	w.friends.setBefore(func(method, userID string) error {
		if method == "Watched" && userID == "ann" {
			asked <- struct{}{}
			<-goOn
		}
		return nil
	})
	ann.begin(protocol.PresenceWatch, nil)
	testkit.Receive(t, "the call", asked)
	w.logOn("bob")
	w.tick()
	dave.wantHeard("P22", "bob online")
	w.friends.setBefore(nil)
	close(goOn)
	o, err := ann.answer()
	if err != nil {
		t.Fatal(err)
	}
	if got := list(testkit.Must(protocol.ParsePresences(o.Content))); got != "bob online, dave online" {
		t.Errorf("rule P22: the answer has %q", got)
	}
	w.tick()
	ann.wantHeard("P22", "")
}

// Rule P22: a session that does not watch, or does not any more, is told nothing. A session's end ends its watching.
func TestOnlySessionsThatWatchAreTold(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, laptop, carol := w.logOn("ann"), w.logOn("ann"), w.logOn("carol")
	w.tick()
	ann.watch()
	carol.watch()
	if o, err := carol.ask(protocol.PresenceWatch, nil, "on", "0"); err != nil || len(o.Content) != 2 {
		t.Errorf("rule P22: the end of a Watch is answered %+v, %v", o, err)
	}
	w.logOn("bob")
	w.tick()
	ann.wantHeard("P22", "bob online")
	laptop.wantHeard("P22", "")
	carol.wantHeard("P22", "")
	ann.leave()
	testkit.Eventually(t, "no session watches", func() bool { return w.presence.Stats().Watching == 0 })
}

// Rule P22: a Watch is answered with an error when Contacts fail, and then nothing is told.
func TestAWatchFailsWithContacts(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	w.friends.setBefore(func(string, string) error { return errDown })
	if _, err := ann.ask(protocol.PresenceWatch, nil); code(err) != protocol.HandlerFailed {
		t.Errorf("rule P22: %v", err)
	}
	w.friends.setBefore(nil)
	w.logOn("bob")
	w.tick()
	ann.wantHeard("P22", "")
	if got := ann.watch(); got != "bob online" {
		t.Errorf("rule P22: then the answer has %q", got)
	}
}

// Rule P28: a tick tells MaxNotices pairs at most, the oldest changes first; one with more goes alone.
func TestATickIsBounded(t *testing.T) {
	for _, c := range []struct {
		most  int
		ticks []string
	}{
		{1, []string{"bob online", "dave online", "eve online", ""}},
		{3, []string{"bob online", "dave online", "eve online", ""}},
		{4, []string{"bob online, dave online", "eve online", ""}},
		{-1, []string{"bob online, dave online, eve online", ""}},
	} {
		t.Run(fmt.Sprint(c.most), func(t *testing.T) {
			w := newWorld(t, presence.Config{MaxNotices: c.most}, usermgr.Config{})
			ann, carol := w.logOn("ann"), w.logOn("carol")
			w.tick()
			for _, p := range []*peer{ann, carol} {
				p.watchInTicks()
			}
			w.tick()
			for _, user := range []string{"bob", "dave", "eve"} {
				w.logOn(user)
				w.settle()
			}
			for _, want := range c.ticks {
				w.tick()
				ann.wantHeard("P28", want)
				carol.wantHeard("P28", want)
			}
		})
	}
}

// Rule P28: a watcher gets one notice a name and tick, however much there is to tell.
func TestAWatcherGetsOneNoticeAName(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann, bob, carol := w.logOn("ann"), w.logOn("bob"), w.logOn("carol")
	w.tick()
	ann.watch()
	w.friends.unfriend("ann", "carol", true)
	w.presence.ContactsChanged("ann", "carol")
	bob.leave()
	w.gone("bob")
	w.logOn("dave", "presence", "busy")
	w.logOn("eve", "presence", "busy")
	w.tick()
	ann.wantHeard("P28", "bob offline, carol offline] [dave busy, eve busy")
	carol.wantHeard("P22", "")
}

// Rule P28: a snapshot counts as many notices as it has users, and waits for the next tick where that is too much.
func TestSnapshotsAreBoundedToo(t *testing.T) {
	w := newWorld(t, presence.Config{MaxNotices: 3}, usermgr.Config{})
	ann, carol := w.logOn("ann"), w.logOn("carol")
	w.logOn("bob")
	for range 3 {
		w.tick()
	}
	if got := ann.watch(); got != "bob online, carol online" {
		t.Errorf("rule P28: the first answer has %q", got)
	}
	carol.begin(protocol.PresenceWatch, nil)
	testkit.Eventually(t, "the second waits", func() bool { return w.presence.Waiting() == 1 })
	if n := w.presence.Stats().Watching; n != 1 {
		t.Errorf("rule P28: %d sessions watch", n)
	}
	w.tick()
	if o, err := carol.answer(); err != nil || len(testkit.Must(protocol.ParsePresences(o.Content))) != 2 {
		t.Errorf("rule P28: the second answer is %+v, %v", o, err)
	}
}

// Rule P28: it counts as many as Contacts has named, where that is more: most of them may be offline.
func TestContactsThatAreReadForASnapshotCount(t *testing.T) {
	const contacts = 4
	r := newRing(9, contacts)
	w := newWorld(t, presence.Config{Contacts: r, MaxNotices: 2*contacts - 1}, usermgr.Config{})
	users := r.users()
	ann, carol := w.logOn(users[0]), w.logOn(users[4])
	for range 3 {
		w.tick()
	}
	ann.watch()
	carol.begin(protocol.PresenceWatch, nil)
	testkit.Eventually(t, "the second waits", func() bool { return w.presence.Waiting() == 1 })
	w.tick()
	if _, err := carol.answer(); err != nil {
		t.Errorf("rule P28: the second answer is %v", err)
	}
}

// Rule P28: the answer to another Watch of a user who watches already counts too. Until it has come the user's other sessions are told what changes.
func TestTheSnapshotOfAnotherDeviceIsBoundedToo(t *testing.T) {
	w := newWorld(t, presence.Config{MaxNotices: 5}, usermgr.Config{})
	ann := w.logOn("ann")
	for _, user := range []string{"bob", "carol"} {
		w.logOn(user)
		w.tick()
	}
	w.tick()
	if got := ann.watch(); got != "bob online, carol online" {
		t.Errorf("rule P28: the first answer has %q", got)
	}
	laptop := w.logOn("ann")
	laptop.begin(protocol.PresenceWatch, nil)
	testkit.Eventually(t, "the second waits", func() bool { return w.presence.Waiting() == 1 })
	if n := w.presence.Stats().Watching; n != 1 {
		t.Errorf("rule P28: %d sessions watch", n)
	}
	w.logOn("dave")
	for range 3 {
		w.tick()
	}
	ann.wantHeard("P21", "dave online")
	o, err := laptop.answer()
	if err != nil {
		t.Fatal(err)
	}
	if got := list(testkit.Must(protocol.ParsePresences(o.Content))); got != "bob online, carol online, dave online" {
		t.Errorf("rule P22: the answer has %q", got)
	}
	laptop.wantHeard("P22", "")
}

// Rule P28: contacts that a tick reads count, also those who do not watch: a tick reads no more when there were MaxNotices. So it is with changes, and
// with watchers whose contacts have changed, which are asked about by turns.
func TestContactsThatAreReadCount(t *testing.T) {
	const users, contacts, limit = 300, 20, 400
	r := newRing(users, contacts)
	w := newWorld(t, presence.Config{Contacts: r, MaxNotices: limit}, usermgr.Config{})
	zoe := w.logOn("zoe")
	w.tick()
	zoe.watchInTicks()
	w.presence.Follow(r.users()[:users/2])
	for _, user := range r.users()[users/2:] {
		w.presence.Come(user)
	}
	w.presence.ContactsChanged("zoe", r.users()[:users/2]...)
	ticks := 0
	for left := true; left; ticks++ {
		r.read.Store(0)
		w.tick()
		if n := r.read.Load(); n > limit+underWay*(contacts+2) {
			t.Fatalf("rule P28: tick %d has read %d contacts", ticks, n)
		}
		_, left = w.presence.Spent()
	}
	if least := users * contacts / (limit + underWay*(contacts+2)); ticks < least {
		t.Errorf("rule P28: %d ticks have read what at least %d need", ticks, least)
	}
}

// No list has more than 1,000 users or 256 KiB: what does not fit into the answer follows in notices, each of one state.
func TestALargeSnapshotComesInPieces(t *testing.T) {
	w := newWorld(t, presence.Config{Contacts: everybody{}, MaxNotices: -1}, usermgr.Config{})
	ann := w.logOn("ann")
	const n = 1100
	for i := range n {
		if err := w.presence.Set(t.Context(), many(i), presence.Busy); err != nil {
			t.Fatal(err)
		}
		w.presence.Come(many(i))
	}
	w.tick()
	o, err := ann.ask(protocol.PresenceWatch, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := len(testkit.Must(protocol.ParsePresences(o.Content)))
	ann.query()
	rest := 0
	for _, notice := range ann.notices {
		rest += strings.Count(notice, "busy")
	}
	if len(o.Content) > 256<<10 || first > 1000 || first+rest != n {
		t.Errorf("the answer has %d users, %d bytes, and %d follow", first, len(o.Content), rest)
	}
}

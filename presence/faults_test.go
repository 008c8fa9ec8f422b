package presence_test

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule P26: Contacts that never return for one user hold up neither logons nor the notices of others. The user is told when they return
// again.
func TestContactsThatBlockHoldUpNobodyElse(t *testing.T) {
	w := newWorld(t, presence.Config{Interval: 50 * time.Millisecond, StoreTimeout: -1}, usermgr.Config{})
	ann := w.logOn("ann")
	w.tick()
	ann.watch()
	goOn := make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	w.friends.setBefore(func(method, userID string) error {
		if method == "Watchers" && userID == "bob" {
			<-goOn
		}
		return nil
	})
	w.logOn("bob")
	w.tick()
	carol := w.logOn("carol")
	w.ticksUntil(ann, "[carol online]")
	carol.set(presence.Busy)
	w.ticksUntil(ann, "[carol busy]")
	w.friends.setBefore(nil)
	release()
	w.ticksUntil(ann, "[bob online]")
}

// Rule P26: a store that fails, panics, ends its goroutine or never returns for one user's record holds up neither logons nor other users. The
// user looks offline until the record is there.
func TestAStoreThatFailsHoldsUpNobodyElse(t *testing.T) {
	for name, fault := range map[string]func(goOn <-chan struct{}) error{
		"fails":         func(<-chan struct{}) error { return errDown },
		"panics":        func(<-chan struct{}) error { panic("a bug in the store") },
		"ends":          func(<-chan struct{}) error { runtime.Goexit(); return nil },
		"never returns": func(goOn <-chan struct{}) error { <-goOn; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, presence.Config{StoreTimeout: 50 * time.Millisecond, Logger: zap.NewNop()}, usermgr.Config{})
			goOn := make(chan struct{})
			t.Cleanup(func() { close(goOn) })
			ann := w.logOn("ann")
			w.tick()
			testkit.Eventually(t, "ann watches", func() bool { // Contacts too may be too slow for the time-out, and are asked again
				_, err := ann.ask(protocol.PresenceWatch, nil)
				return err == nil
			})
			w.store.setBefore(func(_ string, ids []string) error {
				if slices.Contains(ids, "bob") {
					return fault(goOn)
				}
				return nil
			})
			w.logOn("bob")
			w.logOn("carol")
			testkit.Eventually(t, "carol is seen", func() bool { return w.presence.Visible("carol") == presence.Online })
			w.ticksUntil(ann, "[carol online]")
			if s := w.presence.Visible("bob"); s != presence.Offline {
				t.Errorf("rule P23: bob is seen as %v", s)
			}
			w.store.setBefore(nil)
			testkit.Eventually(t, "bob is seen", func() bool { return w.presence.Visible("bob") == presence.Online })
			w.ticksUntil(ann, "[bob online]")
			if st := w.presence.Stats(); st.Failures == 0 {
				t.Errorf("rule P26: %+v", st)
			}
		})
	}
}

// Rule P26: a Config.Changed that panics or blocks holds up nothing, and is told the later changes, in order.
func TestAHookThatFailsHoldsUpNothing(t *testing.T) {
	var mu sync.Mutex
	var told []string
	goOn := make(chan struct{})
	w := newWorld(t, presence.Config{Logger: zap.NewNop(), Changed: func(c presence.Change) {
		mu.Lock()
		told = append(told, c.UserID+" "+c.Old.String()+" "+c.New.String())
		mu.Unlock()
		switch c.UserID {
		case "bob":
			panic("a bug in the hook")
		case "carol":
			runtime.Goexit()
		case "dave":
			<-goOn
		}
	}}, usermgr.Config{})
	ann := w.logOn("ann")
	w.tick()
	ann.watch()
	var dave *peer
	for _, user := range []string{"bob", "carol", "dave"} {
		dave = w.logOn(user)
		w.tick()
		ann.wantHeard("P26", user+" online")
	}
	testkit.Eventually(t, "the hook blocks", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) == 4
	})
	for _, s := range []presence.State{presence.Busy, presence.Online, presence.Busy} {
		dave.set(s)
		w.tick()
		ann.wantHeard("P26", "dave "+s.String())
	}
	close(goOn)
	w.end()
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(told, ", "); !strings.HasPrefix(got, "ann offline online, bob offline online, carol offline online, dave offline online, dave online ") {
		t.Errorf("rule P26: the hook was told %q", got)
	}
	if st := w.presence.Stats(); st.Panics < 2 {
		t.Errorf("rule P26: %+v", st)
	}
}

// Rule P27: what a tick finds is stored in one call, sorted by user, and without a notice that could be told too.
func TestATickIsStoredInOneCall(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	w.friends.setBefore(func(method, _ string) error {
		if method == "Watchers" {
			return errDown
		}
		return nil
	})
	ann := w.logOn("ann")
	ann.watch()
	for _, user := range []string{"dave", "bob", "carol"} {
		w.logOn(user)
	}
	w.settle()
	w.store.calls()
	w.tick()
	if _, saves := w.store.calls(); !slices.Equal(saves, []string{"ann bob carol dave"}) {
		t.Errorf("rule P27: a tick stores %q", saves)
	}
	w.presence.Tick()
	if _, saves := w.store.calls(); len(saves) != 0 {
		t.Errorf("rule P27: the next tick stores %q", saves)
	}
}

// Rule P27: what this process changes is seen by its next read, and what another one stores when the cache has forgotten.
func TestReadsSeeWhatIsStored(t *testing.T) {
	w := newWorld(t, presence.Config{}, usermgr.Config{})
	ann := w.logOn("ann")
	if got := ann.query("bob"); len(got) != 0 { // nothing is remembered now
		t.Errorf("rule P25: %+v", got)
	}
	bob := w.logOn("bob")
	w.tick()
	bob.leave()
	w.gone("bob")
	w.tick()
	if got := show(ann.query("bob")); got != "bob offline true true" {
		t.Errorf("rule P27: ann is told %q", got)
	}
	fresh := newWorld(t, presence.Config{Store: w.store, Cache: presence.Cache{TTL: -1}}, usermgr.Config{})
	carol := fresh.logOn("carol")
	before := carol.query("bob")[0].LastSeen
	if err := w.store.SavePresence(t.Context(), []presence.Record{{UserID: "bob", LastOnline: before, LastSeen: before.Add(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	if got := carol.query("bob")[0].LastSeen; !got.Equal(before.Add(time.Hour)) {
		t.Errorf("rule P27: carol is told %v, not an hour after %v", got, before)
	}
}

// Rule P27: Close stores what is not stored yet, and tries again until its context ends.
func TestCloseStoresTheRest(t *testing.T) {
	w := newWorld(t, presence.Config{Logger: zap.NewNop()}, usermgr.Config{})
	w.logOn("bob")
	w.tick()
	w.Stop()
	w.store.setBefore(func(string, []string) error { return errDown })
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan error, 1)
	go func() { closed <- w.presence.Close(ctx) }()
	testkit.Eventually(t, "it was tried again", func() bool { return w.presence.Stats().Failures > 1 })
	w.store.setBefore(nil)
	if err := testkit.Receive(t, "the end", closed); err != nil {
		t.Errorf("rule P27: %v", err)
	}
	cancel()
	if r := w.store.of("bob"); r.LastSeen.IsZero() {
		t.Errorf("rule P27: %+v is stored", r)
	}
	if err := w.presence.Set(t.Context(), "bob", presence.Busy); code(err) != protocol.ServerStopping {
		t.Errorf("after the end Set returns %v", err)
	}
}

// Rule P27: Close ends with its context when the store does not come back.
func TestCloseEndsWithItsContext(t *testing.T) {
	w := newWorld(t, presence.Config{Logger: zap.NewNop()}, usermgr.Config{})
	w.logOn("bob")
	w.tick()
	w.store.setBefore(func(string, []string) error { return errDown })
	w.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.presence.Close(ctx); err == nil {
		t.Error("rule P27: it has stored all without a store")
	}
}

package presence_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/usermgr"
)

// ring are Contacts in which each of n users has the same number of contacts: half of them before the user in a circle, half behind. Zoe, who is not
// in the circle, watches as many.
type ring struct {
	names    []string // the circle, three times
	at       map[string]int
	n, reach int // contacts on each side
	read     atomic.Int64
}

func newRing(n, contacts int) *ring {
	r := &ring{names: make([]string, 3*n), at: make(map[string]int, n), n: n, reach: contacts / 2}
	for i := range n {
		name := fmt.Sprintf("user%06d", i)
		r.names[i], r.names[n+i], r.names[2*n+i] = name, name, name
		r.at[name] = n + i
	}
	return r
}

func (r *ring) users() []string { return r.names[:r.n] }

// around returns a user's contacts, and the user.
func (r *ring) around(userID string) []string {
	i := r.at[userID]
	return r.names[i-r.reach : i+r.reach+1]
}

func (r *ring) ofZoe() []string { return r.names[:2*r.reach] }

func (r *ring) Watchers(_ context.Context, userID string) (all []string, err error) {
	if i, ok := r.at[userID]; ok {
		all = r.around(userID)
		if i-r.n < 2*r.reach {
			all = append(slices.Clone(all), "zoe")
		}
	}
	r.read.Add(int64(len(all)))
	return all, nil
}

func (r *ring) Watched(_ context.Context, userID string) ([]string, error) {
	all := r.ofZoe()
	if userID != "zoe" {
		all = r.around(userID)
	}
	r.read.Add(int64(len(all)))
	return all, nil
}

func (r *ring) MaySee(_ context.Context, _ string, about []string) (see, blocked []string, err error) {
	return about, nil, nil
}

// storm is a server whose users come and go all at once.
type storm struct {
	*world
	ring            *ring
	zoe             *reader
	contacts, limit int // limit is MaxNotices
	mostTicks       int
}

// Rules P21 and P28: many users with many contacts each, in make soak 10,000 with 1,000, come all at once, and go all at once. No tick reads or tells
// more than MaxNotices allows. Within a minute, counted in ticks, each watcher knows what is right. Afterwards the memory is free again.
func TestStorm(t *testing.T) {
	users, contacts := 600, 60
	if n, err := strconv.Atoi(os.Getenv("SOAK_STORM")); err == nil {
		users, contacts = n, n/10
	}
	const most = 60 // ticks: a minute, with the default Interval
	r := newRing(users, contacts)
	limit := users * contacts / 50 // 200,000 for 10,000 users
	s := &storm{ring: r, contacts: 2 * r.reach, mostTicks: most, limit: limit}
	s.world = newWorld(t, presence.Config{Contacts: r, MaxNotices: limit, Store: presence.NewMemory(), Cache: presence.Cache{Size: -1}}, usermgr.Config{})
	s.zoe = newReader([]*peer{s.logOn("zoe")}, nil)[0] // a client, whose notices are read from its connection
	_ = s.zoe.SetDeadline(time.Time{})
	s.all(r.users(), s.presence.Come) // the store and the maps are as large as they will be
	s.ticks("the first users have come", presence.Online, nil)
	s.all(r.users(), s.presence.Go)
	s.ticks("the first users have gone", presence.Offline, nil)
	before := testkit.Heap().HeapAlloc

	s.presence.Follow(r.users())
	s.all(r.users(), s.presence.Come)
	s.ticks("all have come", presence.Online, r.users())
	peak := testkit.Heap().HeapAlloc
	s.all(r.users(), s.presence.Go)
	s.ticks("all have gone", presence.Offline, r.users())
	s.presence.Unfollow(r.users())

	after := testkit.Heap().HeapAlloc
	t.Logf("memory: %d KB before, %d KB with all online, %d KB after all have gone", before>>10, peak>>10, after>>10)
	if after > before+4<<20 {
		t.Errorf("rule P28: %d bytes more are in use after the storm than before", after-before)
	}
	if st := s.presence.Stats(); st.Users != 1 {
		t.Errorf("rule P28: after all have gone %d users are in memory", st.Users)
	}
}

// Rule P28: what is kept for a user who watches is free when the user has gone, although nothing happens any more: the snapshot, and what is found
// when Contacts have changed.
func TestWatchersWhoHaveGoneAreForgotten(t *testing.T) {
	for what, happens := range map[string]func(*world){
		"a snapshot":       func(*world) {},
		"changed contacts": func(w *world) { w.presence.ContactsChanged("ann"); w.tick() },
	} {
		w := newWorld(t, presence.Config{}, usermgr.Config{})
		ann := w.logOn("ann")
		w.logOn("bob")
		w.tick()
		ann.watch()
		free := w.presence.Watcher("ann")
		happens(w)
		if n := w.presence.Known(); n != 1 {
			t.Errorf("%d users are known, and not bob alone", n)
		}
		ann.leave()
		w.gone("ann")
		w.tick()
		testkit.Eventually(t, "rule P28: after "+what+" the watcher is forgotten", free)
		testkit.Eventually(t, "rule P28: after "+what+" what the watcher knew is forgotten", func() bool { return w.presence.Known() == 0 })
	}
}

// underWay is how many calls of Contacts a tick has under way at a time.
const underWay = 16

// all has all users do something, from several goroutines at once.
func (s *storm) all(users []string, do func(string)) {
	const goroutines = 4
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := g; i < len(users); i += goroutines {
				do(users[i])
			}
		})
	}
	wg.Wait()
	s.settle()
}

// ticks has ticks come until there is nothing more to tell, and checks what each has done, and what the watchers know in the end.
func (s *storm) ticks(what string, want presence.State, watching []string) {
	s.t.Helper()
	before := s.presence.Stats()
	began, longest, n := time.Now(), time.Duration(0), 0
	for left := true; left; n++ {
		s.ring.read.Store(0)
		tick := time.Now()
		s.presence.Tick()
		longest = max(longest, time.Since(tick))
		s.settle()
		var pairs int
		pairs, left = s.presence.Spent()
		if most := s.limit + s.contacts + 1; pairs > most {
			s.t.Fatalf("rule P28: %s: tick %d has told %d pairs, and %d are allowed", what, n, pairs, most)
		}
		if read, most := int(s.ring.read.Load()), s.limit+underWay*(s.contacts+2); read > most {
			s.t.Fatalf("rule P28: %s: tick %d has read %d contacts, and %d are allowed", what, n, read, most)
		}
		if n == 10*s.mostTicks {
			s.t.Fatalf("rule P28: %s: after %d ticks there is still something to tell", what, n)
		}
	}
	st := s.presence.Stats()
	told := int(st.Told - before.Told)
	s.t.Logf("%s: %d pairs in %d ticks, the longest took %v, all %v", what, told, n, longest.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	if n > s.mostTicks {
		s.t.Errorf("rule P28: %s: %d ticks were needed", what, n)
	}
	if all := (len(watching) + 1) * s.contacts; told != all {
		s.t.Errorf("rule P21: %s: %d pairs were told instead of %d", what, told, all)
	}
	s.zoe.read(s.t)
	if !s.isRight("zoe", s.zoe.knows, want) {
		s.t.Errorf("rule P21: %s: a client knows %d users who are %v", what, len(s.zoe.knows), want)
	}
	wrong := 0
	s.presence.Knows(func(userID string, of map[string]presence.State) {
		if !s.isRight(userID, of, want) {
			wrong++
		}
	})
	if wrong > 0 {
		s.t.Errorf("rule P21: %s: %d watchers know something wrong", what, wrong)
	}
}

// isRight reports whether a watcher knows each contact in a state, and no other user.
func (s *storm) isRight(userID string, of map[string]presence.State, want presence.State) bool {
	if want == presence.Offline {
		return len(of) == 0
	}
	if len(of) != s.contacts {
		return false
	}
	all, _ := s.ring.Watched(s.t.Context(), userID)
	for _, id := range all {
		if id != userID && of[id] != want {
			return false
		}
	}
	return true
}

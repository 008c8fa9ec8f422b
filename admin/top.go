package admin

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	topLength = 50
	topFor    = 5 * time.Second
)

// topKinds are the orders of a top 50, each with the number that is the greatest in the first session.
var topKinds = map[string]func(a *Admin, s *usermgr.SessionInfo) int64{
	"in":      func(_ *Admin, s *usermgr.SessionInfo) int64 { return int64(s.In.Bytes) },
	"out":     func(_ *Admin, s *usermgr.SessionInfo) int64 { return int64(s.Out.Bytes) },
	"dropped": func(_ *Admin, s *usermgr.SessionInfo) int64 { return int64(s.Dropped.Messages) },
	"age":     func(_ *Admin, s *usermgr.SessionInfo) int64 { return int64(time.Since(s.LogonTime)) },
	"waiting": func(a *Admin, s *usermgr.SessionInfo) int64 {
		in, out := a.waits(s.Conn)
		return int64(in + out)
	},
}

// topCache has the last answers, for 5 s each.
type topCache struct {
	mu  sync.Mutex
	has map[string]cachedTop
}

type cachedTop struct {
	view sessionsView
	at   time.Time
}

func (t *topCache) get(kind string) (sessionsView, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.has[kind]
	return c.view, ok && time.Since(c.at) < topFor
}

func (t *topCache) set(kind string, v sessionsView) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.has == nil {
		t.has = make(map[string]cachedTop)
	}
	t.has[kind] = cachedTop{v, time.Now()}
}

// ranked is a session with the number that it is ordered by.
type ranked struct {
	by int64
	s  usermgr.SessionInfo
}

// top answers with the 50 sessions that have the most of something. Sessions that have none of it are left out.
func (a *Admin) top(c *call, kind string) {
	by := topKinds[kind]
	if by == nil {
		c.fail(http.StatusBadRequest, "top must be in, out, dropped, waiting or age")
		return
	}
	if v, ok := a.tops.get(kind); ok {
		c.answer(v)
		return
	}
	done := a.scan(c)
	if done == nil {
		return
	}
	t := startClock(c)
	v := sessionsView{Whole: true}
	best := a.best(by, &v.Whole, &t, done)
	v.Sessions = make([]session, len(best))
	for i := range best {
		v.Sessions[i] = a.view(&best[i].s)
	}
	v.Visited, v.Took = t.n, t.took()
	if c.Context().Err() == nil {
		a.tops.set(kind, v)
	}
	c.answer(v)
}

// best looks at all sessions, and returns the first ones by an order. whole becomes false if there was not the time.
func (a *Admin) best(by func(*Admin, *usermgr.SessionInfo) int64, whole *bool, t *clock, done func()) []ranked {
	defer done()
	best := make([]ranked, 0, topLength+1) // the greatest first
	for s := range a.cfg.Users.Sessions(usermgr.Filter{}) {
		if n := by(a, &s); n > 0 && (len(best) < topLength || n > best[topLength-1].by) {
			at, _ := slices.BinarySearchFunc(best, n, func(r ranked, n int64) int { return cmp.Compare(n, r.by) })
			best = slices.Insert(best, at, ranked{n, s})
			best = best[:min(len(best), topLength)]
		}
		if t.over(1) {
			*whole = false
			break
		}
	}
	return best
}

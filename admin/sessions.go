package admin

import (
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	// A scan looks at this many sessions, then lets others have the processor, and sees whether its time is over.
	scanSlice = 4096
	scanTime  = 2 * time.Second
	// pageSlice is the largest page that a user manager gives, and a slice of a listing that is filtered.
	pageSlice = 1000
)

// sessionsView is a list of sessions.
type sessionsView struct {
	Sessions []session `json:"sessions"`
	Next     string    `json:"next"`    // the cursor of the next page; "" after the last, and for searches and tops
	Whole    bool      `json:"whole"`   // false: the scan was cut, or more match than are listed
	Visited  int       `json:"visited"` // sessions that were looked at; 0 where no scan was needed
	Took     float64   `json:"took"`    // milliseconds
}

// sessions answers with a page of sessions, with those that a search finds, or with the top 50.
func (a *Admin) sessions(c *call) {
	limit, ok := c.number("limit", 100, 1, 1000)
	if !ok {
		return
	}
	switch {
	case c.param("top") != "":
		a.top(c, c.param("top"))
	case c.param("q") != "":
		a.search(c, c.param("q"), limit)
	default:
		a.list(c, limit)
	}
}

// scan takes the place of the one scan; if another runs, it answers so and returns nil.
func (a *Admin) scan(c *call) (done func()) {
	select {
	case a.scans <- struct{}{}:
		return func() { <-a.scans }
	default:
		c.ResponseWriter.Header().Set("Retry-After", "1")
		c.fail(http.StatusTooManyRequests, "another scan of all sessions is running; ask again in a second")
		return nil
	}
}

// clock ends a scan.
type clock struct {
	c     *call
	began time.Time
	n     int
}

func startClock(c *call) clock { return clock{c: c, began: time.Now()} }

// over counts n sessions that were looked at, and reports whether the scan must end: its time is over, or no one waits for the answer.
func (t *clock) over(n int) bool {
	before := t.n / scanSlice
	if t.n += n; t.n/scanSlice == before {
		return false
	}
	runtime.Gosched()
	return time.Since(t.began) >= scanTime || t.c.Context().Err() != nil
}

func (t *clock) took() float64 { return float64(time.Since(t.began).Microseconds()) / 1000 }

// filter selects sessions of a listing. It is not usermgr.Filter, with which a page visits all users before it returns.
type filter struct {
	device         int // -1 for any
	tag, via       string
	idle           time.Duration
	trouble, isAny bool
}

// filterOf reads the filter's parameters; if it cannot, it answers so.
func filterOf(c *call) (f filter, ok bool) {
	f = filter{tag: c.param("tag"), via: c.param("via")}
	if f.device, ok = c.number("device", -1, 0, 65535); !ok {
		return f, false
	}
	idle, ok := c.number("idle", 0, 0, 1<<30)
	if !ok {
		return f, false
	}
	f.idle = time.Duration(idle) * time.Second
	switch text := c.param("trouble"); text {
	case "", "0", "false":
	case "1", "true":
		f.trouble = true
	default:
		c.fail(http.StatusBadRequest, "trouble must be 1 or 0")
		return f, false
	}
	f.isAny = f == filter{device: -1}
	return f, true
}

func (a *Admin) matches(f *filter, s *usermgr.SessionInfo) bool {
	if f.device >= 0 && f.device != int(s.Device) || f.tag != "" && f.tag != s.Tag && f.tag != s.UserTag || f.via != "" && f.via != s.Via ||
		f.idle > 0 && time.Since(s.LastMessage) < f.idle {
		return false
	}
	if !f.trouble {
		return true
	}
	_, out := a.waits(s.Conn)
	return len(a.troubleOf(s, out)) > 0
}

// list answers with a page by cursor.
func (a *Admin) list(c *call, limit int) {
	f, ok := filterOf(c)
	if !ok {
		return
	}
	t := startClock(c)
	if f.isAny {
		p, err := a.cfg.Users.SessionPage(usermgr.PageQuery{Limit: limit, Cursor: c.param("cursor")})
		if err != nil {
			c.fail(http.StatusBadRequest, err.Error())
			return
		}
		c.answer(sessionsView{Sessions: a.views(p.Items), Next: p.Next, Whole: p.Next == "", Took: t.took()})
		return
	}
	done := a.scan(c)
	if done == nil {
		return
	}
	found, next, err := func() ([]usermgr.SessionInfo, string, error) {
		defer done()
		return a.filtered(&f, c.param("cursor"), limit, &t)
	}()
	if err != nil {
		c.fail(http.StatusBadRequest, err.Error())
		return
	}
	c.answer(sessionsView{Sessions: a.views(found), Next: next, Whole: next == "", Visited: t.n, Took: t.took()})
}

// filtered returns the next sessions that match, and the cursor to go on with. When its time is over it returns what it has found so far:
// the cursor is behind all that it has visited.
func (a *Admin) filtered(f *filter, cursor string, limit int, t *clock) (found []usermgr.SessionInfo, next string, err error) {
	for {
		p, err := a.cfg.Users.SessionPage(usermgr.PageQuery{Limit: pageSlice, Cursor: cursor})
		if err != nil {
			return nil, "", err
		}
		last := len(found)
		for i := range p.Items {
			if !a.matches(f, &p.Items[i]) {
				continue
			}
			if found = append(found, p.Items[i]); len(found) < limit || i == len(p.Items)-1 {
				continue
			}
			// The page of sessions ends inside of what was visited: a shorter slice has the cursor for that.
			if p, err = a.cfg.Users.SessionPage(usermgr.PageQuery{Limit: i + 1, Cursor: cursor}); err != nil {
				return nil, "", err
			}
			found = found[:last]
			for j := range p.Items {
				if a.matches(f, &p.Items[j]) {
					found = append(found, p.Items[j])
				}
			}
			t.over(len(p.Items))
			return found, p.Next, nil
		}
		if t.over(len(p.Items)) || p.Next == "" || len(found) >= limit {
			return found, p.Next, nil
		}
		cursor = p.Next
	}
}

// searchView is what a search has found.
type searchView struct {
	Exact *userView `json:"exact,omitempty"` // the user with this very ID, if online
	sessionsView
}

// search answers with the user who has this ID, which takes no scan, and with sessions whose user IDs have the text in them, or that come
// from the address or network that the text is. Where the text has no capital letters, capitals in IDs match too.
func (a *Admin) search(c *call, q string, limit int) {
	if len(q) > 256 {
		c.fail(http.StatusBadRequest, "q must have at most 256 bytes")
		return
	}
	t := startClock(c)
	v := searchView{sessionsView: sessionsView{Sessions: []session{}}}
	if d, ok := a.cfg.Users.User(q); ok {
		v.Exact = &userView{User: q}
		a.fill(v.Exact, &d, true)
	}
	if v.Exact != nil && len(a.scans) > 0 { // the one who was looked for is found
		v.Took = t.took()
		c.answer(v)
		return
	}
	if number, ok := strings.CutPrefix(q, "#"); ok { // a connection's number
		if n, err := strconv.ParseUint(number, 10, 64); err == nil {
			if s, ok := a.cfg.Users.SessionAt(n); ok {
				v.Sessions = append(v.Sessions, a.view(&s))
			}
			v.Whole, v.Took = true, t.took()
			c.answer(v)
			return
		}
	}
	done := a.scan(c)
	if done == nil {
		return
	}
	a.searchAll(&v, q, limit, &t, done)
	v.Visited, v.Took = t.n, t.took()
	c.answer(v)
}

// searchAll looks at all users, or for an address at all sessions. It ends the scan before the answer is written, which may take its time.
func (a *Admin) searchAll(v *searchView, q string, limit int, t *clock, done func()) {
	defer done()
	v.Whole = true
	match, network := matcherOf(q)
	// found adds a session, and reports whether there was room for it.
	found := func(s *usermgr.SessionInfo) bool {
		if v.Whole = len(v.Sessions) < limit; v.Whole {
			v.Sessions = append(v.Sessions, a.view(s))
		}
		return v.Whole
	}
	if network.IsValid() {
		for s := range a.cfg.Users.Sessions(usermgr.Filter{}) {
			if (match(s.UserID) || network.Contains(s.Remote.Addr())) && !found(&s) {
				return
			}
			if t.over(1) {
				v.Whole = false
				return
			}
		}
		return
	}
	for id := range a.cfg.Users.Users() { // which takes a tenth of the time
		if match(id) {
			d, _ := a.cfg.Users.User(id)
			for i := range d.Sessions {
				if !found(&d.Sessions[i]) {
					return
				}
			}
		}
		if t.over(1) {
			v.Whole = false
			return
		}
	}
}

// matcherOf returns the function that says whether a search for q finds a user, and the network that q is; the zero Prefix if it is none.
func matcherOf(q string) (match func(userID string) bool, network netip.Prefix) {
	network, _ = netip.ParsePrefix(q)
	if a, err := netip.ParseAddr(q); err == nil {
		network = netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen())
	}
	if q != strings.ToLower(q) {
		return func(id string) bool { return strings.Contains(id, q) }, network
	}
	return func(id string) bool { return strings.Contains(strings.ToLower(id), q) }, network
}

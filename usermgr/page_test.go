package usermgr_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// pager asks for pages of users or of sessions; what is compared is the items' IDs.
type pager func(*usermgr.Manager, usermgr.PageQuery) (usermgr.Page[string], error)

func userIDs(m *usermgr.Manager, q usermgr.PageQuery) (usermgr.Page[string], error) {
	p, err := m.UserPage(q)
	return idsOf(p, func(d usermgr.UserData) string { return d.UserID }), err
}

func sessionIDs(m *usermgr.Manager, q usermgr.PageQuery) (usermgr.Page[string], error) {
	p, err := m.SessionPage(q)
	return idsOf(p, func(s usermgr.SessionInfo) string { return s.ID }), err
}

func idsOf[T any](p usermgr.Page[T], id func(T) string) usermgr.Page[string] {
	ids := usermgr.Page[string]{Next: p.Next, Total: p.Total}
	for _, item := range p.Items {
		ids.Items = append(ids.Items, id(item))
	}
	return ids
}

// ask returns a page, and fails the test on an error.
func ask(t testing.TB, m *usermgr.Manager, of pager, q usermgr.PageQuery) usermgr.Page[string] {
	t.Helper()
	p, err := of(m, q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return p
}

// byCursor goes through a listing by cursor. Every page but the last must be full, and none may be empty but the first.
func byCursor(t testing.TB, m *usermgr.Manager, of pager, q usermgr.PageQuery) (all []string) {
	t.Helper()
	for {
		p := ask(t, m, of, q)
		if n := len(p.Items); p.Total != -1 || n > q.Limit || p.Next != "" && n < q.Limit || n == 0 && q.Cursor != "" || len(all) > 10_000 {
			t.Fatalf("a page of %d at %d, total %d, next %q", n, len(all), p.Total, p.Next)
		}
		all = append(all, p.Items...)
		if q.Cursor = p.Next; p.Next == "" {
			return all
		}
	}
}

// byNumber goes through a listing by page number, the last page first, and checks how many rows each page has.
func byNumber(t testing.TB, m *usermgr.Manager, of pager, q usermgr.PageQuery, total int) []string {
	t.Helper()
	pages := (total + q.Limit - 1) / q.Limit
	all := make([][]string, pages)
	for q.Page = pages + 1; q.Page > 0; q.Page-- {
		p := ask(t, m, of, q)
		want := max(0, min(q.Limit, total-(q.Page-1)*q.Limit))
		if len(p.Items) != want || p.Total != total || (p.Next != "") != (q.Page < pages) {
			t.Fatalf("page %d of %d has %d rows, total %d, next %q; want %d, %d", q.Page, pages, len(p.Items), p.Total, p.Next, want, total)
		}
		if q.Page <= pages {
			all[q.Page-1] = p.Items
		}
	}
	return slices.Concat(all...)
}

// expectPages goes through a listing by cursor and by number, and fails the test unless each has what is wanted, once, in
// one order.
func expectPages(t *testing.T, m *usermgr.Manager, of pager, q usermgr.PageQuery, want []string) {
	t.Helper()
	cursor, number := byCursor(t, m, of, q), byNumber(t, m, of, q, len(want))
	if !slices.Equal(cursor, number) {
		t.Errorf("%+v: by cursor there are %d, by number %d, or they have another order", q, len(cursor), len(number))
	}
	slices.Sort(cursor)
	slices.Sort(want)
	if !slices.Equal(cursor, want) {
		t.Errorf("%+v: %d are listed, want %d, each once", q, len(cursor), len(want))
	}
}

// crew is a manager with users of several devices and tags, some silent for a while, and what is to be found of them.
type crew struct {
	*usermgr.Manager
	sessions []usermgr.SessionInfo
	online   []string // all users who are online
}

const phone, tablet, desk = 1, 2, 3

// newCrew has users without a session too, within their grace. It is called in a synctest bubble.
func newCrew(t *testing.T, users int) *crew {
	m := newManager(t, usermgr.Config{HeartbeatTimeout: -1, Devices: usermgr.Devices{OnePerClass: true}, OfflineGrace: time.Hour})
	c, conn := &crew{Manager: m}, uint64(0)
	on := func(userID string, device uint16) usermgr.Session {
		conn++
		link := newLink(conn)
		link.via = []string{"tcp", "tls", "unix"}[conn%3]
		s, err := m.Register(t.Context(), usermgr.Logon{UserID: userID, Device: device, Address: link.Address()}, link)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	random := rand.New(rand.NewPCG(1, 2))
	var talking []usermgr.Session
	for i := range users {
		userID := fmt.Sprintf("user%04d", i)
		c.online = append(c.online, userID)
		for _, device := range random.Perm(4)[:1+i%3] {
			s := on(userID, uint16(device))
			if random.IntN(4) == 0 {
				m.SetSessionTag(s.ID(), "red")
			}
			if random.IntN(2) == 0 {
				talking = append(talking, s)
			}
		}
		switch i % 10 {
		case 3:
			m.SetTag(userID, "red")
		case 4:
			m.SetTag(userID, "blue")
		case 5: // has no session, but counts as online
			for _, s := range sessionsOf(m, userID) {
				m.SetTag(userID, "red")
				wait(t, endSession(m, s.ID, protocol.NetworkError, ""))
			}
		case 6: // is gone
			wait(t, endUser(m, userID, protocol.KickedOut, ""))
			c.online = c.online[:len(c.online)-1]
		}
	}
	time.Sleep(10 * time.Minute)
	for _, s := range talking {
		s.Received(1, 1, 64)
	}
	synctest.Wait()
	for _, userID := range c.online {
		c.sessions = append(c.sessions, sessionsOf(m, userID)...)
	}
	return c
}

// match returns the sessions that match a filter, and their users, by what Filter's documentation says.
func (c *crew) match(f usermgr.Filter) (users, sessions []string) {
	for _, s := range c.sessions {
		if len(f.Devices) > 0 && !slices.Contains(f.Devices, s.Device) ||
			f.Via != "" && s.Via != f.Via ||
			f.Tag != "" && s.Tag != f.Tag && s.UserTag != f.Tag ||
			f.IdleFor > 0 && time.Since(s.LastMessage) < f.IdleFor {
			continue
		}
		sessions = append(sessions, s.ID)
		if !slices.Contains(users, s.UserID) {
			users = append(users, s.UserID)
		}
	}
	if len(f.Devices) == 0 && f.Tag == "" && f.Via == "" && f.IdleFor == 0 {
		users = slices.Clone(c.online)
	}
	return users, sessions
}

var filters = map[string]usermgr.Filter{
	"everybody":     {},
	"one device":    {Devices: []uint16{phone}},
	"two devices":   {Devices: []uint16{phone, desk}},
	"unspecified":   {Devices: []uint16{0}},
	"tag":           {Tag: "red"},
	"user's tag":    {Tag: "blue"},
	"idle":          {IdleFor: 5 * time.Minute},
	"idle for long": {IdleFor: time.Hour},
	"all":           {Devices: []uint16{tablet, desk}, Tag: "red", IdleFor: 9 * time.Minute},
	"transport":     {Via: "tls"},
	"both":          {Via: "unix", Devices: []uint16{phone, desk}},
	"nobody":        {Tag: "green"},
}

// H1, S3: while nothing changes the pages of every size have every item once, by cursor and by number, with a total.
func TestPagesHaveEverythingOnce(t *testing.T) {
	for name, f := range filters {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrew(t, 120)
				users, sessions := c.match(f)
				if few := name == "nobody" || name == "idle for long"; few != (len(sessions) == 0) || len(sessions) >= len(c.sessions) && name != "everybody" {
					t.Fatalf("of %d sessions %d match: the filter is not tested", len(c.sessions), len(sessions))
				}
				for _, limit := range []int{1, 2, 3, 7, 50, len(users), len(users) + 1, len(sessions), 1000} {
					q := usermgr.PageQuery{Filter: f, Limit: max(limit, 1)}
					expectPages(t, c.Manager, userIDs, q, users)
					expectPages(t, c.Manager, sessionIDs, q, sessions)
				}
			})
		})
	}
}

// H1: without a filter, a grace or several devices a page by number skips users without a look at them; the rows are the
// same.
func TestPagesOfPlainUsersHaveEverythingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		var users, sessions []string
		for i := range uint64(1500) {
			s := logOn(t, m, fmt.Sprint("user", i), newLink(i))
			users, sessions = append(users, s.UserID()), append(sessions, s.ID())
		}
		for _, limit := range []int{1, 10, 499, 500, 1000} {
			expectPages(t, m, userIDs, usermgr.PageQuery{Limit: limit}, users)
			expectPages(t, m, sessionIDs, usermgr.PageQuery{Limit: limit}, sessions)
		}
	})
}

// H1: a user whose Offline handler does not return is offline, and has no place on a page.
func TestPagesLeaveOutWhoIsAboutToBeForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		for i := range uint64(300) {
			logOn(t, m, fmt.Sprint("user", i), newLink(i))
		}
		q := usermgr.PageQuery{Limit: 10}
		users, sessions := byCursor(t, m, userIDs, q), byCursor(t, m, sessionIDs, q) // in the same order
		m.Subscribe(usermgr.Events{Offline: func(usermgr.UserData) { time.Sleep(time.Hour) }})
		for _, userID := range slices.Concat(users[:50], users[250:]) {
			endUser(m, userID, protocol.KickedOut, "")
		}
		time.Sleep(time.Second) // handlers hold so many goroutines that the last ones start a millisecond apart
		synctest.Wait()
		expectPages(t, m, userIDs, q, users[50:250])
		expectPages(t, m, sessionIDs, q, sessions[50:250])
		time.Sleep(2 * time.Hour)
	})
}

// S3: the sessions that match can be ranged over; the ranging may stop, and may change them.
func TestMatchingYieldsTheSessionsThatMatch(t *testing.T) {
	for name, f := range filters {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrew(t, 120)
				_, want := c.match(f)
				var got []string
				for s := range c.Sessions(f) {
					got = append(got, s.ID)
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%d match, want %d", len(got), len(want))
				}
				kicked := 0
				for s := range c.Sessions(f) {
					wait(t, endSession(c, s.ID, protocol.KickedOut, ""))
					if kicked++; kicked == 3 {
						break
					}
				}
				left := 0
				for range c.Sessions(f) {
					left++
				}
				if left != len(want)-kicked {
					t.Errorf("%d of %d were kicked, and %d are left", kicked, len(want), left)
				}
			})
		})
	}
}

// S3: items are described in full: a user with every session, whichever of them matches, the oldest first.
func TestPagesDescribeTheirItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, 120)
		users, err := c.UserPage(usermgr.PageQuery{Filter: usermgr.Filter{Devices: []uint16{phone}}})
		if err != nil || len(users.Items) == 0 {
			t.Fatalf("%d users: %v", len(users.Items), err)
		}
		for _, d := range users.Items {
			want, _ := c.User(d.UserID)
			if fmt.Sprint(d) != fmt.Sprint(want) {
				t.Errorf("the page has\n\t%+v, want\n\t%+v", d, want)
			}
		}
		sessions, err := c.SessionPage(usermgr.PageQuery{Limit: 1000})
		if err != nil || len(sessions.Items) != len(c.sessions) {
			t.Fatalf("%d sessions: %v, want %d", len(sessions.Items), err, len(c.sessions))
		}
		seen := make(map[string][]usermgr.SessionInfo)
		for i, s := range sessions.Items {
			if n := len(seen[s.UserID]); n > 0 && sessions.Items[i-1].UserID != s.UserID {
				t.Errorf("the sessions of %s do not stand together", s.UserID)
			}
			seen[s.UserID] = append(seen[s.UserID], s)
		}
		for userID, got := range seen {
			if want := sessionsOf(c, userID); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("the page has\n\t%+v, want\n\t%+v", got, want)
			}
		}
	})
}

// A cursor of another manager or of the other kind of page, or an invalid one, is refused; so are bad limits and pages.
func TestBadPageQueriesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		managers := []*usermgr.Manager{newManager(t, usermgr.Config{}), newManager(t, usermgr.Config{})}
		for _, m := range managers {
			for i := range uint64(3) {
				logOn(t, m, fmt.Sprint("ann", i), newLink(i))
			}
		}
		m := managers[0]
		for name, of := range map[string]pager{"users": userIDs, "sessions": sessionIDs} {
			good := ask(t, m, of, usermgr.PageQuery{Limit: 1}).Next
			otherKind := sessionIDs
			if name == "sessions" {
				otherKind = userIDs
			}
			type query = usermgr.PageQuery
			bad := map[string]query{
				"another manager's": {Cursor: ask(t, managers[1], of, query{Limit: 1}).Next},
				"the other kind's":  {Cursor: ask(t, m, otherKind, query{Limit: 1}).Next},
				"no base64":         {Cursor: "users, please"},
				"too short":         {Cursor: "AAAA"},
				"garbage":           {Cursor: strings.Repeat("A", 40)},
				"cut off":           {Cursor: good[:len(good)-4]},
				"too long":          {Cursor: good + "AAAA"},
				"both":              {Cursor: good, Page: 1},
				"page -1":           {Page: -1},
				"limit -1":          {Limit: -1},
				"limit 1001":        {Limit: 1001},
			}
			for what, q := range bad {
				if p, err := of(m, q); !errors.Is(err, usermgr.ErrBadQuery) || p.Items != nil {
					t.Errorf("%s, %s: %d items, %v; want %v", name, what, len(p.Items), err, usermgr.ErrBadQuery)
				}
			}
			for i := range good { // no character may be changed, nor the bits that the last one does not need
				for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=" {
					changed := good[:i] + string(c) + good[i+1:]
					if _, err := of(m, query{Cursor: changed}); changed != good && !errors.Is(err, usermgr.ErrBadQuery) {
						t.Fatalf("%s: the cursor %s, changed to %s, gives %v", name, good, changed, err)
					}
				}
			}
		}
	})
}

// The limits of a page: 100 by default, 1,000 at most, and no page number is too large.
func TestPageLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		for _, of := range []pager{userIDs, sessionIDs} {
			if p := ask(t, m, of, usermgr.PageQuery{}); p.Items != nil || p.Next != "" || p.Total != -1 {
				t.Errorf("of nobody the first page is %+v", p)
			}
			if p := ask(t, m, of, usermgr.PageQuery{Page: 1}); p.Items != nil || p.Next != "" || p.Total != 0 {
				t.Errorf("of nobody page 1 is %+v", p)
			}
		}
		for i := range uint64(1001) {
			logOn(t, m, fmt.Sprint("user", i), newLink(i))
		}
		for _, of := range []pager{userIDs, sessionIDs} {
			for limit, want := range map[int]int{0: 100, 1: 1, 1000: 1000} {
				for page := range 2 {
					if p := ask(t, m, of, usermgr.PageQuery{Limit: limit, Page: page}); len(p.Items) != want {
						t.Errorf("a page of limit %d has %d items, want %d", limit, len(p.Items), want)
					}
				}
			}
			for _, limit := range []int{1, 2, 1000} {
				for _, page := range []int{1002, math.MaxInt/1000 + 2, math.MaxInt/2 + 2, math.MaxInt} {
					if p := ask(t, m, of, usermgr.PageQuery{Limit: limit, Page: page}); p.Items != nil || p.Next != "" || p.Total != 1001 {
						t.Errorf("page %d of limit %d is %d items, next %q, total %d", page, limit, len(p.Items), p.Next, p.Total)
					}
				}
			}
		}
	})
}

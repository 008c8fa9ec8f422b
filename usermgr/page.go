package usermgr

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	defaultPageLimit = 100
	maxPageLimit     = 1000
)

// ErrBadQuery is returned for a PageQuery that makes no sense; the error's text says what is wrong.
var ErrBadQuery = errors.New("rollcall: a page cannot be found")

var (
	errBadCursor     = fmt.Errorf("%w: the cursor is not one that this manager gave for this kind of page; begin again with an empty one", ErrBadQuery)
	errCursorAndPage = fmt.Errorf("%w: it is asked for by cursor or by number; set Cursor or Page, not both", ErrBadQuery)
)

// Filter selects sessions. A session matches when all fields that are set match; a user matches when one of the user's sessions does.
// The zero value matches every user who is online, including users who have no session within Config.OfflineGrace.
type Filter struct {
	Devices []uint16      // the session's device class is one of these; empty for any
	Tag     string        // the session's tag, or its user's, is this one; "" for any
	IdleFor time.Duration // no message but heartbeats has come for at least this long, by SessionInfo.LastMessage; 0 for any
	Via     string        // the session's Address.Via is this one, such as "tls"; "" for any
	Dropped bool          // messages for the session's client have been thrown away
}

// PageQuery selects a page.
//
// By cursor: begin with an empty Cursor, and go on with each page's Next. Users who are online and match for the whole listing appear
// exactly once, whichever other users come and go. A page visits little more than its own users, however many are online; with a
// filter that few users match it visits more. Filter and Limit may change from page to page, because a cursor is a position in the
// order of all users.
//
// By number: Page counts from 1, and the page has a Total. While nothing changes, the pages have every item exactly once; when users
// come and go, items move between pages. With a filter each page visits every user. Without one it does so while logons are
// running, and for sessions also where a user may have several or Config.OfflineGrace is set.
//
// The order has no meaning, but does not change while users come and go; the sessions of one user stand together, the oldest first.
type PageQuery struct {
	Filter
	Limit  int    // items of a page: 1 to 1,000; 0 for 100
	Cursor string // a Page's Next; "" for the first page
	Page   int    // the number of the page, from 1; 0 to go by Cursor
}

// Page is a part of a listing. Each item is a copy from the moment when it was visited.
type Page[T any] struct {
	Items []T
	Next  string // the cursor of the next page; "" after the last
	Total int    // items of all pages; -1 for a page by cursor
}

// UserPage returns a page of the users who are online and match, each with all sessions. UserPage, SessionPage and Sessions delay no
// logon: they hold no lock for longer than it takes to copy one user's data. The error is ErrBadQuery: the Cursor is not one that
// this manager gave for users, Cursor and Page are both set, or Page or Limit is out of range.
func (m *Manager) UserPage(q PageQuery) (Page[UserData], error) { return userListing.page(m, &q) }

// SessionPage returns a page of the sessions that match. Its error is ErrBadQuery, as UserPage's.
func (m *Manager) SessionPage(q PageQuery) (Page[SessionInfo], error) {
	return sessionListing.page(m, &q)
}

// Sessions yields the sessions that match, in no order. A session that lives and matches for the whole iteration is yielded once.
func (m *Manager) Sessions(f Filter) iter.Seq[SessionInfo] {
	return func(yield func(SessionInfo) bool) {
		c := f.criteria(&m.clock)
		var matching []SessionInfo
		for u := range m.users.all() {
			matching = appendSessions(matching[:0], u, &c)
			for _, s := range matching {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// criteria is a Filter with its durations turned into times.
type criteria struct {
	devices []uint16
	tag     string
	via     string
	heardBy time.Time // the latest time of the last message; zero for any
	dropped bool
	any     bool // every session matches
}

func (f *Filter) criteria(clock *coarseClock) criteria {
	c := criteria{devices: f.Devices, tag: f.Tag, via: f.Via, dropped: f.Dropped}
	if f.IdleFor > 0 {
		c.heardBy = clock.exactly().Add(-f.IdleFor)
	}
	c.any = len(c.devices) == 0 && c.tag == "" && c.via == "" && !c.dropped && f.IdleFor <= 0
	return c
}

func (c *criteria) match(device uint16, heard time.Time, tag, userTag string, dropped bool) bool {
	return (len(c.devices) == 0 || slices.Contains(c.devices, device)) &&
		(c.tag == "" || c.tag == tag || c.tag == userTag) &&
		(c.heardBy.IsZero() || !heard.After(c.heardBy)) &&
		(!c.dropped || dropped)
}

// matchSession is match for a session of the user. u.mu is held on entry.
func (u *user) matchSession(s *session, c *criteria) bool {
	if c.any {
		return true
	}
	var tag, userTag string
	if p := u.lazy.Load(); p != nil {
		tag, userTag = p.tags[s], p.tag
	}
	r := s.lazy.Load()
	return (c.via == "" || c.via == s.address().Via) && c.match(s.device, s.lastMessage(), tag, userTag, r != nil && r.dropped.load().Messages > 0)
}

// matching yields the sessions that match, the oldest first. u.mu is held on entry, and while it runs.
func (u *user) matching(c *criteria) iter.Seq[*session] {
	return func(yield func(*session) bool) {
		for s := range u.all {
			if u.matchSession(s, c) && !yield(s) {
				return
			}
		}
	}
}

// listing describes what a page lists: users or sessions.
type listing[T any] struct {
	kind   string                             // of the cursors; another kind is refused
	count  func(*user, *criteria) int         // how many items the user has
	append func([]T, *user, *criteria) []T    // appends the user's items, the oldest first
	place  func(T) (string, uint64)           // the item's user ID, and its place among the user's items
	single func(m *Manager, entries int) bool // whether each of the directory's entries has exactly one item
}

var userListing = listing[UserData]{
	kind:   "user",
	count:  countUser,
	append: appendUser,
	place:  func(d UserData) (string, uint64) { return d.UserID, wholeUser },
	single: func(m *Manager, entries int) bool { return entries == m.Count() },
}

var sessionListing = listing[SessionInfo]{
	kind:   "session",
	count:  countSessions,
	append: appendSessions,
	place:  func(s SessionInfo) (string, uint64) { return s.UserID, age(uuid.MustParse(s.ID)) },
	single: func(m *Manager, entries int) bool {
		if m.grace > 0 || entries != m.Count() {
			return false
		}
		_, sessions := m.deviceCounts.of(nil)
		return entries == sessions // then each user who is online has one session
	},
}

// wholeUser is a place after all items of a user.
const wholeUser = math.MaxUint64

// age returns the time in a version 7 UUID, which grows from session to session. The rest of a session ID is a secret,
// and must not be in a cursor.
func age(id uuid.UUID) uint64 { return binary.BigEndian.Uint64(id[:8]) }

func countUser(u *user, c *criteria) int {
	if c.any && u.isOnline() || !c.any && countSessions(u, c) > 0 {
		return 1
	}
	return 0
}

func appendUser(all []UserData, u *user, c *criteria) []UserData {
	if countUser(u, c) == 0 { // before the user is described, which costs more
		return all
	}
	d := u.data()
	if !d.online { // the user has left since
		return all
	}
	if !c.any && !slices.ContainsFunc(d.Sessions, func(s SessionInfo) bool {
		return c.match(s.Device, s.LastMessage, s.Tag, s.UserTag, s.Dropped.Messages > 0)
	}) {
		return all
	}
	return append(all, d)
}

func countSessions(u *user, c *criteria) (n int) {
	if c.any {
		v, oldest := u.several(), u.oldest.Load() // in this order, as in links
		switch {
		case oldest == nil:
			return 0
		case v == nil:
			return 1
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for range u.matching(c) {
		n++
	}
	return n
}

func appendSessions(all []SessionInfo, u *user, c *criteria) []SessionInfo {
	u.mu.Lock()
	defer u.mu.Unlock()
	for s := range u.matching(c) {
		all = append(all, s.info())
	}
	return all
}

// place is a position in the order of all items. They are ordered by shard, the lowest 32 bits of the hash, the whole
// hash, user ID, and age. The zero value is the beginning.
type place struct {
	hash    uint64 // of userID; it determines the shard
	userID  string
	session uint64
}

// page returns the page that q selects.
func (l *listing[T]) page(m *Manager, q *PageQuery) (Page[T], error) {
	limit := q.Limit
	if limit == 0 {
		limit = defaultPageLimit
	}
	switch {
	case limit < 0 || limit > maxPageLimit:
		return Page[T]{}, fmt.Errorf("%w: a page has 1 to 1,000 items, or Limit is 0 for 100; it was %d", ErrBadQuery, q.Limit)
	case q.Page < 0:
		return Page[T]{}, fmt.Errorf("%w: pages are numbered from 1, or Page is 0 to ask by cursor; it was %d", ErrBadQuery, q.Page)
	case q.Page > 0 && q.Cursor != "":
		return Page[T]{}, errCursorAndPage
	}
	c := q.criteria(&m.clock)
	p, w := Page[T]{Total: -1}, walk[T]{listing: l, manager: m, criteria: &c, limit: limit}
	if q.Page > 0 {
		p.Total = w.skipPages(q.Page - 1)
	} else if err := w.goTo(q.Cursor); err != nil {
		return Page[T]{}, err
	}
	more := w.run()
	if len(w.items) > 0 {
		p.Items = w.items
	}
	if more {
		p.Next = l.cursor(m, w.items[limit-1])
	}
	return p, nil
}

// cursor returns the cursor that goes on after an item: a checksum and the item's place. Only this manager can make the
// checksum; each kind of listing has its own.
func (l *listing[T]) cursor(m *Manager, item T) string {
	userID, session := l.place(item)
	where := string(binary.BigEndian.AppendUint64(nil, session)) + userID
	sum := binary.BigEndian.AppendUint64(nil, m.users.hashOf(l.kind+where))
	return base64.RawURLEncoding.EncodeToString(append(sum, where...))
}

func (l *listing[T]) placeOf(m *Manager, cursor string) (place, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < 16 {
		return place{}, errBadCursor
	}
	sum, where := binary.BigEndian.Uint64(raw), string(raw[8:])
	if sum != m.users.hashOf(l.kind+where) {
		return place{}, errBadCursor
	}
	userID := where[8:]
	return place{hash: m.users.hashOf(userID), userID: userID, session: binary.BigEndian.Uint64(raw[8:])}, nil
}

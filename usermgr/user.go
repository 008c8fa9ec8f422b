package usermgr

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// user is a user's entry. It stands in the directory while the user is online or has changes that wait.
//
// A user's changes run one at a time, in order, on the goroutine of the user's turn, which lives while there are any. A
// logon that finds nobody before it takes its turn on the goroutine that called Register, which waits for it anyway.
// Handlers run on it with no lock held: one that blocks holds up its own user and nobody else, and a change that it asks
// for queues behind it. That order is what rules 3 to 7 of the contract rest on; lifecycle.go has the changes.
type user struct {
	manager *Manager
	id      string
	// oldest is the session that has lasted longest, nil while there is none; nearly every user has no other. The rest are
	// in past. Both are written by the turn alone, under mu.
	oldest atomic.Pointer[session]

	mu      sync.Mutex
	waiting queue
	running bool                 // somebody has the turn
	online  bool                 // from Online to Offline: while there is a session, and for the grace after the last
	past    atomic.Pointer[past] // nil for a user without one; written under mu
}

// past is what is known of a user who is online besides the oldest session. All but others is under the user's lock.
type past struct {
	others           atomic.Pointer[several] // nil while there is one session
	tag              string
	tags             map[*session]string // of the sessions that have one
	in, out, dropped Traffic             // of the sessions that have ended since the user came online
	since            int64               // when that was, Unix nanoseconds; 0 while no session has ended
	active           time.Time           // when the last of them was active
	lastToken        string              // of the session that ended last, with Config.OfflineGrace
	lastID           string              // and its ID
	grace            *time.Timer         // runs while a user without a session still counts as online
}

// several are the sessions of a user who has more than one. It never changes.
type several struct {
	sessions []*session // by age, without the oldest
	links    []Link     // of all, for Manager.Links
}

// sessions returns the user's sessions, the oldest first. The slice must not be changed.
func (u *user) sessions() []*session {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.list()
}

// list is sessions. u.mu is held on entry.
func (u *user) list() []*session {
	oldest := u.oldest.Load()
	if oldest == nil {
		return nil
	}
	if others := u.others(); others != nil {
		return append([]*session{oldest}, others.sessions...)
	}
	return []*session{oldest}
}

// others returns nil for a user who has one session, or none.
func (u *user) others() *several {
	if p := u.past.Load(); p != nil {
		return p.others.Load()
	}
	return nil
}

// swap puts next, as the newest, in place of old; either may be nil. It is the only writer of the sessions. u.mu is held on
// entry. Whoever reads without the lock reads others first: when there are none, oldest is all that there is.
func (u *user) swap(old, next *session) {
	if only := u.oldest.Load(); only == old && u.others() == nil { // which is nearly always so: nothing to gather
		u.oldest.Store(next)
		return
	}
	all := slices.DeleteFunc(u.list(), func(s *session) bool { return s == old })
	if next != nil {
		all = append(all, next)
	}
	u.oldest.Store(all[0])
	if len(all) == 1 {
		u.past.Load().others.Store(nil)
		return
	}
	others := &several{sessions: all[1:]}
	for _, s := range all {
		others.links = append(others.links, s.links[0])
	}
	u.rememberPast().others.Store(others)
}

// isOnline reports whether the user has a session, or had one within the grace.
func (u *user) isOnline() bool {
	if u.oldest.Load() != nil {
		return true
	}
	if u.manager.grace <= 0 {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.online
}

// rememberPast returns the user's past, to be written to. u.mu is held on entry.
func (u *user) rememberPast() *past {
	p := u.past.Load()
	if p == nil {
		p = new(past)
		u.past.Store(p)
	}
	return p
}

// post queues a change for a user whose session is known.
func (u *user) post(c *change) {
	u.mu.Lock()
	start := u.enqueue(c)
	u.mu.Unlock()
	if start {
		go u.takeTurns()
	}
}

// enqueue adds a change and reports whether the turn's goroutine must be started. u.mu is held on entry.
func (u *user) enqueue(c *change) (start bool) {
	u.waiting.add(c)
	start = !u.running
	u.running = true
	return start
}

// withdraw takes back a change whose turn has not come, and reports whether it was in time.
func (u *user) withdraw(c *change) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.waiting.remove(c)
}

// takeTurns is the goroutine of the turn.
func (u *user) takeTurns() {
	for {
		c := u.next()
		if c == nil {
			if u.endTurn() {
				return
			}
			continue
		}
		c.run(u)
	}
}

// next returns the change whose turn it is, nil when there is none.
func (u *user) next() *change {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.waiting.take()
}

// endTurn gives the turn back, unless changes wait.
func (u *user) endTurn() bool {
	u.mu.Lock()
	if !u.waiting.empty() {
		u.mu.Unlock()
		return false
	}
	u.running = false
	idle := !u.online
	u.mu.Unlock()
	if idle {
		u.manager.users.removeIdle(u)
	}
	return true
}

// passOn ends the turn of a caller who has taken one: what has come meanwhile gets a goroutine.
func (u *user) passOn() {
	if !u.endTurn() {
		go u.takeTurns()
	}
}

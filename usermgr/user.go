package usermgr

import (
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

	// The sessions, written by the turn alone, under mu. Nearly every user has one.
	oldest atomic.Pointer[session]    // nil while there is none
	others atomic.Pointer[[]*session] // the rest by age, never changed once stored; nil while there are none

	mu      sync.Mutex
	running bool    // somebody has the turn
	online  bool    // from Online to Offline: while there is a session, and for the grace after the last
	last    *change // of those that wait, a ring: the last's next is the first
	past    *past   // nil for a user without one
}

// past is what is known of a user who is online besides the sessions.
type past struct {
	tag              string
	tags             map[*session]string // of the sessions that have one
	in, out, dropped Traffic             // of the sessions that have ended since the user came online
	since            int64               // when that was, Unix nanoseconds; 0 while no session has ended
	active           int64               // when the last of them was active
	grace            *time.Timer         // runs while a user without a session still counts as online
}

// change is something that is to happen to a user.
type change struct {
	run  func(*user)
	next *change // the one that waits behind it
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
	others := u.others.Load()
	if others == nil {
		return []*session{oldest}
	}
	return append([]*session{oldest}, *others...)
}

// setList is the only writer of the sessions. u.mu is held on entry. Whoever reads without the lock reads others first:
// when there are none, oldest is all that there is.
func (u *user) setList(all []*session) {
	switch len(all) {
	case 0:
		u.oldest.Store(nil)
		u.others.Store(nil)
	case 1:
		u.oldest.Store(all[0])
		u.others.Store(nil)
	default:
		others := append([]*session(nil), all[1:]...)
		u.oldest.Store(all[0])
		u.others.Store(&others)
	}
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
	if u.past == nil {
		u.past = new(past)
	}
	return u.past
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
	if u.last == nil {
		c.next = c
	} else {
		c.next, u.last.next = u.last.next, c
	}
	u.last = c
	start = !u.running
	u.running = true
	return start
}

// withdraw takes back a change whose turn has not come, and reports whether it was in time.
func (u *user) withdraw(c *change) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		return false
	}
	for before := u.last; ; before = before.next {
		if before.next == c {
			u.takeNextOf(before)
			return true
		}
		if before.next == u.last {
			return false
		}
	}
}

// takeNextOf takes the change behind another out of the ring. u.mu is held on entry.
func (u *user) takeNextOf(before *change) *change {
	c := before.next
	switch {
	case c == before:
		u.last = nil
	case c == u.last:
		u.last = before
	}
	before.next = c.next
	c.next = nil
	return c
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
	if u.last == nil {
		return nil
	}
	return u.takeNextOf(u.last)
}

// endTurn gives the turn back, unless changes wait.
func (u *user) endTurn() bool {
	u.mu.Lock()
	if u.last != nil {
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

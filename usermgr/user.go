package usermgr

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/protocol"
)

// user is a user's entry. It stands in the directory while the user is online or has tasks that wait.
//
// A user's tasks run one at a time, in order: whichever runs has the turn. A logon's turn runs on the goroutine that called
// Register, which waits for it anyway; all other turns run on the manager's runners. A logon's turn is prepare, claim, complete
// (logOn); while it waits for its claim the turn is lent (lend) to tasks that end sessions. How a session leaves is in departure. Handlers run in the turn with no lock
// held: one that blocks holds up its own user and no other, and what it asks for queues behind it. That order is what rules 3
// to 7 of the contract rest on; lifecycle.go has what happens.
type user struct {
	manager *Manager
	id      string
	// oldest is the session that has lasted longest, nil while there is none; nearly every user has no other. Where there are
	// others, all are in lazy. Both are written by the turn alone, under mu.
	oldest atomic.Pointer[session]

	mu      sync.Mutex
	waiting queue
	running bool                     // a task has the turn, or is about to get it
	lent    lending                  // to tasks that end sessions; running holds
	online  bool                     // from Online to Offline: while there is a session, and for the grace after the last
	logons  uint32                   // that wait, or have the turn
	lazy    atomic.Pointer[userLazy] // nil for a user without one; written under mu
}

// userLazy holds the fields that most users never use: what is known besides the oldest session. It is allocated on demand. All
// but several is under the user's lock.
type userLazy struct {
	several          atomic.Pointer[several] // nil while there is one session, or none
	tag              string
	tags             map[*session]string // of the sessions that have one
	in, out, dropped protocol.Traffic    // of the sessions that have ended since the user came online
	since            int64               // when that was, Unix nanoseconds; 0 while no session has ended
	active           time.Time           // when the last of them was active
	logins           pastLogins          // with Config.OfflineGrace
	grace            *clock.Timer        // runs while a user without a session still counts as online
}

// all yields the user's sessions, the oldest first. u.mu is held on entry, and while it runs, or the caller has the turn.
func (u *user) all(yield func(*session) bool) {
	if v := u.several(); v != nil {
		v.all(yield)
		return
	}
	if oldest := u.oldest.Load(); oldest != nil {
		yield(oldest)
	}
}

// sessions returns the user's sessions, the oldest first.
func (u *user) sessions() []*session {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(u.all)
}

// has reports whether the session is the user's. u.mu is held on entry.
func (u *user) has(s *session) bool {
	if v := u.several(); v != nil {
		return v.find(s) >= 0
	}
	return u.oldest.Load() == s
}

// links returns the links of the user's sessions, the oldest session's first. The slice never changes. It takes the lock, and
// allocates, when it is the first that asks since one of several sessions came or left.
func (u *user) links() []Link {
	v, oldest := u.several(), u.oldest.Load() // in this order: without several, oldest is all that there is
	switch {
	case oldest == nil:
		return nil
	case v == nil:
		return oldest.links[:]
	}
	if links := v.links.Load(); links != nil {
		return *links
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if v = u.several(); v != nil {
		return v.makeLinks()
	}
	if oldest = u.oldest.Load(); oldest != nil {
		return oldest.links[:]
	}
	return nil
}

// several returns nil for a user who has one session, or none.
func (u *user) several() *several {
	if p := u.lazy.Load(); p != nil {
		return p.several.Load()
	}
	return nil
}

// swap puts next, as the newest, in place of old; either may be nil. It is the only writer of the sessions. u.mu is held on
// entry.
func (u *user) swap(old, next *session) {
	v := u.several()
	if v == nil {
		if only := u.oldest.Load(); only != old {
			u.needLazy().several.Store(newSeveral(only, next))
			return
		}
		u.oldest.Store(next)
		return
	}
	if next != nil {
		v.add(next)
	}
	if old != nil {
		v.remove(old)
	}
	u.oldest.Store(v.oldest())
	if v.n == 1 {
		u.lazy.Load().several.Store(nil)
	}
}

// isOnline reports whether the user has a session, or had one within the grace.
func (u *user) isOnline() bool { return u.oldest.Load() != nil || u.isInGrace() }

// isInGrace is apart so that the compiler inlines isOnline.
func (u *user) isInGrace() bool {
	if u.manager.grace <= 0 {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.countsAsOnline()
}

// countsAsOnline is isOnline: without a grace there is a moment, from the end of the last session to Offline, at which
// online still holds. u.mu is held on entry.
func (u *user) countsAsOnline() bool {
	return u.online && (u.oldest.Load() != nil || u.manager.grace > 0)
}

// needLazy returns the user's userLazy, to be written to, and allocates it if need be. u.mu is held on entry.
func (u *user) needLazy() *userLazy {
	p := u.lazy.Load()
	if p == nil {
		p = new(userLazy)
		u.lazy.Store(p)
	}
	return p
}

// post queues a task for a user whose session is known.
func (u *user) post(t *task) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.enqueue(t)
}

// enqueue adds a task, and has it run when no other has the turn. u.mu is held on entry.
func (u *user) enqueue(t *task) {
	u.waiting.add(t)
	if !u.running {
		u.running = true
		u.manager.runners.add(step{user: u})
		return
	}
	if u.lent == lentIdle && t.ends {
		u.lent = lentInUse
		u.manager.runners.add(step{user: u})
	}
}

// awaitTurn waits for the turn of t, which handOver has made. It reports false when ctx ended first, and t will not run. When it
// reports true the caller has the turn, and passes it on.
func (u *user) awaitTurn(ctx context.Context, t *task, turn <-chan struct{}) bool {
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	u.mu.Lock()
	withdrawn := u.waiting.remove(t)
	u.mu.Unlock()
	if !withdrawn {
		<-turn
	}
	return !withdrawn
}

// logonOver is called when a logon does not wait, and has no turn, any more.
func (u *user) logonOver() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.logons--
}

// takeTurn starts the task whose turn it is.
func (u *user) takeTurn() {
	if t := u.next(); t != nil {
		t.run(u)
		return
	}
	u.passOn()
}

// next returns the task whose turn it is, nil when there is none.
func (u *user) next() *task {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lent == notLent {
		return u.waiting.take()
	}
	t := u.waiting.firstEnd()
	u.waiting.remove(t)
	return t
}

// endTurn gives the turn back, unless tasks wait that may have it.
func (u *user) endTurn() bool {
	u.mu.Lock()
	if u.lent != notLent {
		defer u.mu.Unlock()
		if u.waiting.firstEnd() != nil {
			return false
		}
		u.lent = lentIdle
		return true
	}
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

// passOn ends a task: the next one gets the turn, if there is one.
func (u *user) passOn() {
	if !u.endTurn() {
		u.manager.runners.add(step{user: u})
	}
}

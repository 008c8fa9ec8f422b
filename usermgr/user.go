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

// user is a user's entry. It is in the directory while the user is online or has waiting tasks.
//
// A user's tasks run one at a time, in order: the running task has the turn. A logon's turn runs on the goroutine that
// called Register, which waits for it anyway; all other turns run on the manager's runners. A logon's turn is prepare,
// claim, complete (logOn); while it waits for its claim the turn is lent (lend) to tasks that end sessions. departure
// describes how a session leaves. Handlers run in the turn, without a lock: a handler that blocks delays only its own
// user, and changes that it asks for queue behind it. Rules 3 to 7 of the contract depend on this order; lifecycle.go
// has the steps.
type user struct {
	manager *Manager
	id      string
	// oldest is the oldest session; nil while there is none. Nearly every user has no other. Where there are others,
	// all sessions are in lazy. Only the turn writes both, under mu.
	oldest atomic.Pointer[session]

	mu      sync.Mutex
	waiting queue
	running bool                     // a task has the turn, or is about to get it
	lent    lending                  // to tasks that end sessions; running is true then
	online  bool                     // from Online to Offline: while there is a session, and for the grace after the last
	logons  uint32                   // the number of logons that wait or have the turn
	lazy    atomic.Pointer[userLazy] // nil for a user without one; written under mu
}

// userLazy holds the fields that most users never use. It is allocated on demand. The user's lock protects all fields
// but several.
type userLazy struct {
	several          atomic.Pointer[several] // nil while there is at most one session
	tag              string
	tags             map[*session]string // of the sessions that have one
	in, out, dropped protocol.Traffic    // of the sessions that have ended since the user came online
	since            int64               // when the user came online, Unix nanoseconds; 0 while no session has ended
	active           time.Time           // when the last of the ended sessions was active
	logins           pastLogins          // with Config.OfflineGrace
	grace            *clock.Timer        // runs while a user without a session still counts as online
}

// all yields the user's sessions, the oldest first. The caller holds u.mu until all returns, or has the turn.
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

// links returns the links of the user's sessions, the oldest session's first. The slice never changes. The first call
// after one of several sessions came or left takes the lock and allocates.
func (u *user) links() []Link {
	v, oldest := u.several(), u.oldest.Load() // in this order: without several, oldest is the only session
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

// several returns nil for a user who has at most one session.
func (u *user) several() *several {
	if p := u.lazy.Load(); p != nil {
		return p.several.Load()
	}
	return nil
}

// swap removes old and adds next as the newest; either may be nil. Only swap changes the user's sessions. u.mu is held
// on entry.
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

// isInGrace is a function of its own so that the compiler inlines isOnline.
func (u *user) isInGrace() bool {
	if u.manager.grace <= 0 {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.countsAsOnline()
}

// countsAsOnline is isOnline with u.mu held on entry. u.online alone would not do: it stays true until Offline, for a
// moment after the last session has ended.
func (u *user) countsAsOnline() bool {
	return u.online && (u.oldest.Load() != nil || u.manager.grace > 0)
}

// needLazy returns the user's userLazy for writing. It allocates it if there is none. u.mu is held on entry.
func (u *user) needLazy() *userLazy {
	p := u.lazy.Load()
	if p == nil {
		p = new(userLazy)
		u.lazy.Store(p)
	}
	return p
}

// post queues a task. The caller knows a session of the user, so the user's entry exists.
func (u *user) post(t *task) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.enqueue(t)
}

// enqueue queues a task. It runs when no other has the turn. u.mu is held on entry.
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

// awaitTurn waits for the turn of t, a task of handOver. It reports true when the caller has the turn; then the caller
// must pass it on. It reports false when ctx ended first; then t will not run.
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

// logonOver is called when a logon no longer waits and no longer has the turn.
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

// next returns the task whose turn it is; nil when there is none.
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

// endTurn gives the turn back, unless a waiting task may have it.
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

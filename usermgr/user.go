package usermgr

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// user is a user's entry. It stands in the directory while the user is online or has tasks that wait.
//
// A user's tasks run one at a time, in order: whichever runs has the turn. A logon's turn runs on the goroutine that called
// Register, which waits for it anyway; all other turns run on the manager's runners. Handlers run in the turn with no lock
// held: one that blocks holds up its own user and no other, and what it asks for queues behind it. That order is what rules 3
// to 7 of the contract rest on; lifecycle.go has what happens.
type user struct {
	manager *Manager
	id      string
	// oldest is the session that has lasted longest, nil while there is none; nearly every user has no other. The rest are
	// in past. Both are written by the turn alone, under mu.
	oldest atomic.Pointer[session]

	mu      sync.Mutex
	waiting queue
	running bool                 // a task has the turn, or is about to get it
	online  bool                 // from Online to Offline: while there is a session, and for the grace after the last
	logons  uint32               // that wait, or have the turn
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
	logins           pastLogins          // with Config.OfflineGrace
	grace            *clock.Timer        // runs while a user without a session still counts as online
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

// rememberPast returns the user's past, to be written to. u.mu is held on entry.
func (u *user) rememberPast() *past {
	p := u.past.Load()
	if p == nil {
		p = new(past)
		u.past.Store(p)
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
	return u.waiting.take()
}

// endTurn gives the turn back, unless tasks wait.
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

// passOn ends a task: the next one gets the turn, if there is one.
func (u *user) passOn() {
	if !u.endTurn() {
		u.manager.runners.add(step{user: u})
	}
}

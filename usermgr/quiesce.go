package usermgr

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// quiesce calls then when no message handler of the session runs and what was sent to it is counted: at once, or as a later
// step of the turn. It gives up on a message handler that is stuck, once.
func (u *user) quiesce(s *session, then func()) {
	if s.stuck {
		then()
		return
	}
	m := u.manager
	w := new(quiescing)
	s.quiesceLink(func() {
		if w.end() {
			m.runners.add(step{run: then})
		}
	})
	if w.isOver() || !u.park(w, s, then) {
		then()
	}
}

// park leaves the turn without a goroutine until the session is quiet, or was given up on. It reports false when it is quiet.
func (u *user) park(w *quiescing, s *session, then func()) bool {
	m := u.manager
	return w.park(&m.clock.ran, m.quiesceTimeout, func() {
		if w.end() {
			m.runners.add(step{run: func() { u.giveUp(s, then) }})
		}
	})
}

// giveUp ends the wait for a message handler that is stuck.
func (u *user) giveUp(s *session, then func()) {
	m := u.manager
	s.stuck = true
	m.givenUp.Add(1)
	m.log.Warn("a message handler did not return in time; its session ends without it",
		zap.String("user", u.id), zap.String("remote", s.address().Remote), zap.Duration("after", m.quiesceTimeout))
	then()
}

// quiescing is a turn's wait for a session's message handlers.
type quiescing struct {
	mu     sync.Mutex // a leaf, but for the timer's
	over   bool
	parked bool         // the turn has no goroutine
	timer  *clock.Timer // set when parked
}

func (w *quiescing) isOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over
}

// end ends the wait. It reports whether the turn is parked and the caller must have it go on.
func (w *quiescing) end() (goOn bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	w.over = true
	if w.parked {
		w.timer.Stop()
	}
	return w.parked
}

// park has giveUp called after d, unless the wait is over: then it reports false, and the turn goes on at once.
func (w *quiescing) park(c *clock.Clock, d time.Duration, giveUp func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	w.parked = true
	w.timer = c.AfterFunc(d, giveUp)
	return true
}

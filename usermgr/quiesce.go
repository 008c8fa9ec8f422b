package usermgr

import (
	"sync"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// quiesce reports whether no message handler of the session runs and what was sent to it is counted. If it reports false resume is
// called when that is so, or when the time for it is over: a message handler that is stuck is given up on, once.
func (d *departure) quiesce(w *quiescing) (quiet bool) {
	if d.session.stuck {
		return true
	}
	w.of = d
	d.session.quiesceLink(w.end)
	return !w.park()
}

// noteStuck notes that a message handler was given up on, if one was.
func (u *user) noteStuck(d *departure) {
	m, s := u.manager, d.session
	if s.stuck || !d.quiet[0].gaveUp && !d.quiet[1].gaveUp {
		return
	}
	s.stuck = true
	m.givenUp.Add(1)
	m.log.Warn("a message handler did not return in time; its session ends without it",
		zap.String("user", u.id), zap.String("remote", s.address().Remote), zap.Duration("after", m.quiesceTimeout))
}

// quiescing is a departure's wait for its session's message handlers.
type quiescing struct {
	of     *departure
	mu     sync.Mutex // a leaf, but for the timer's
	over   bool
	gaveUp bool         // it is over because it took too long
	parked bool         // the departure waits
	timer  *clock.Timer // set when parked
}

// end ends the wait: the session is quiet.
func (w *quiescing) end() {
	if w.isLast(false) {
		w.of.resume()
	}
}

// giveUp ends the wait: it has taken too long.
func (w *quiescing) giveUp() {
	if w.isLast(true) {
		w.of.resume()
	}
}

// isLast ends the wait, unless it is over. It reports whether the departure is parked and the caller must have it go on.
func (w *quiescing) isLast(gaveUp bool) (goOn bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	w.over, w.gaveUp = true, gaveUp
	if w.parked {
		w.timer.Stop()
	}
	return w.parked
}

// park has the departure wait, unless the wait is over: then it reports false.
func (w *quiescing) park() bool {
	m := w.of.user.manager
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	if w.of.awaited && w.of.resumed == nil {
		w.of.resumed = make(chan struct{}, 1)
	}
	w.parked = true
	w.timer = m.clock.ran.AfterFunc(m.quiesceTimeout, w.giveUp)
	return true
}

package usermgr

import (
	"sync"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// quiesce reports whether the session is quiet: no message handler of it runs, and what was sent to it is counted. If
// quiesce reports false, resume is called when the session is quiet or Config.QuiesceTimeout has passed. A stuck
// message handler is given up on, once.
func (d *departure) quiesce(w *quiescing) (quiet bool) {
	if d.session.stuck {
		return true
	}
	w.of = d
	d.session.quiesceLink(w.end)
	return !w.park()
}

// noteStuck logs and counts a message handler that was given up on, if there is one.
func (u *user) noteStuck(d *departure) {
	m, s := u.manager, d.session
	if s.stuck || !d.quiet[0].gaveUp && !d.quiet[1].gaveUp {
		return
	}
	s.stuck = true
	m.givenUp.Add(1)
	m.log.Warn("a message handler did not return in time; its session ends without it",
		zap.String("user", u.id), zap.String("remote", s.address().String()), zap.Duration("after", m.quiesceTimeout))
}

// quiescing is a departure's wait for its session's message handlers.
type quiescing struct {
	of     *departure
	mu     sync.Mutex // a leaf, but for the timer's
	over   bool
	gaveUp bool         // the wait is over because it took too long
	parked bool         // the departure waits
	timer  *clock.Timer // set when parked
}

// end ends the wait because the session is quiet.
func (w *quiescing) end() {
	if w.isLast(false) {
		w.of.resume()
	}
}

// giveUp ends the wait because it has taken too long.
func (w *quiescing) giveUp() {
	if w.isLast(true) {
		w.of.resume()
	}
}

// isLast ends the wait, unless it is over. It reports whether the departure is parked, so that the caller must resume
// it.
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

// park makes the departure wait. It reports false when the wait is over already.
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

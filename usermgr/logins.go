package usermgr

import (
	"math"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// pastLogin has the digests of the token and the ID of a session that has ended.
type pastLogin struct {
	token, session digest
	ended          int64 // by Manager.clock.ran, as the grace: a gap counts towards neither
}

// pastLogins has the logins of a user's sessions that have ended within Config.OfflineGrace, the latest last. The
// user's lock is held in all methods.
type pastLogins struct {
	logins []pastLogin
	timer  *clock.Timer // runs while there are any
}

// maxPastLogins limits the logins of a user, so that a client that comes and goes all the time does not fill the
// memory.
const maxPastLogins = 64

// loginSlack is how much longer than the grace a login is known: the grace itself may last a little longer, because its end is not called in
// the two ticks after a gap.
const loginSlack = 4 * clockResolution

// loginsKnown returns how long a login is known.
func (m *Manager) loginsKnown() time.Duration {
	return min(m.grace, math.MaxInt64-loginSlack) + loginSlack
}

// pastLoginOf is called without any lock, because digests take long.
func pastLoginOf(m *Manager, s *SessionInfo) pastLogin {
	l := pastLogin{session: digestOf(s.UserID, s.ID), ended: m.clock.ran.Now()}
	if l.token = l.session; s.Token != s.ID {
		l.token = digestOf(s.UserID, s.Token)
	}
	return l
}

// add notes the login of a session of u that ends.
func (p *pastLogins) add(u *user, l pastLogin) {
	if len(p.logins) == maxPastLogins {
		p.logins = slices.Delete(p.logins, 0, 1)
	}
	p.logins = append(p.logins, l)
	if p.timer == nil {
		p.forgetAfter(u, u.manager.loginsKnown())
	}
}

func (p *pastLogins) forgetAfter(u *user, d time.Duration) {
	p.timer = u.manager.clock.ran.AfterFunc(d, func() { u.forgetLogins(p) })
}

// recent returns the logins of the sessions that have ended within the grace, and forgets the others.
func (p *pastLogins) recent(m *Manager) []pastLogin {
	now := m.clock.ran.Now()
	p.logins = slices.DeleteFunc(p.logins, func(l pastLogin) bool { return time.Duration(now-l.ended) >= m.loginsKnown() })
	return p.logins
}

// stop forgets everything.
func (p *pastLogins) stop() {
	p.logins = nil
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// forgetLogins is called by the timer.
func (u *user) forgetLogins(p *pastLogins) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p.timer == nil {
		return
	}
	left := p.recent(u.manager)
	if len(left) == 0 {
		p.logins, p.timer = nil, nil
		return
	}
	age := time.Duration(u.manager.clock.ran.Now() - left[0].ended)
	p.forgetAfter(u, u.manager.loginsKnown()-age)
}

package usermgr

import (
	"slices"
	"time"
)

// pastLogin has the digests of the token and the ID of a session that has ended.
type pastLogin struct {
	token, session digest
	ended          uint32 // a tick of the manager's clock
}

// pastLogins has the logins of a user's sessions that have ended within Config.OfflineGrace, the latest last. The
// user's lock is held in all methods.
type pastLogins struct {
	logins []pastLogin
	timer  *time.Timer // runs while there are any
}

// maxPastLogins limits the logins of a user, so that a client that comes and goes all the time does not fill the
// memory.
const maxPastLogins = 64

// pastLoginOf is called without any lock, because digests take long.
func pastLoginOf(m *Manager, s *SessionInfo) pastLogin {
	l := pastLogin{session: digestOf(s.UserID, s.ID), ended: m.clock.now()}
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
		p.timer = time.AfterFunc(u.manager.grace+2*clockResolution, func() { u.forgetLogins(p) })
	}
}

// recent returns the logins of the sessions that have ended within the grace, and forgets the others.
func (p *pastLogins) recent(m *Manager) []pastLogin {
	now := m.clock.now()
	p.logins = slices.DeleteFunc(p.logins, func(l pastLogin) bool {
		return time.Duration(now-l.ended)*clockResolution > m.grace+clockResolution // a tick begins at any time
	})
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
	age := time.Duration(u.manager.clock.now()-left[0].ended) * clockResolution
	p.timer.Reset(max(u.manager.grace+2*clockResolution-age, clockResolution))
}

package usermgr

import "slices"

// Touch counts as a sign of life, and as a message, of all the user's sessions, as if one had come on each. It reports
// whether the user has a session.
func (m *Manager) Touch(userID string) bool {
	u := m.users.get(userID)
	if u == nil {
		return false
	}
	all := u.sessions()
	for _, s := range all {
		s.touch()
	}
	return len(all) > 0
}

// TouchSession is Touch for one session. It reports whether the session lives.
func (m *Manager) TouchSession(sessionID string) bool {
	s := m.sessions.withID(sessionID)
	if s == nil {
		return false
	}
	s.touch()
	return true
}

// SetTag attaches a text of the application's to a user who is online; it is gone when the user goes offline, and "" takes
// it away. Lookups have it at once; UserTagged follows in the user's order. It reports whether the user is online.
func (m *Manager) SetTag(userID, tag string) bool {
	u := m.users.get(userID)
	if u == nil {
		return false
	}
	u.mu.Lock()
	if !u.online {
		u.mu.Unlock()
		return false
	}
	p := u.rememberPast()
	if p.tag == tag {
		u.mu.Unlock()
		return true
	}
	old := p.tag
	p.tag = tag
	start := u.enqueue(&change{run: func(u *user) {
		u.mu.Lock()
		over := u.past.Load() != p // the user has gone offline since, and the tag with it
		u.mu.Unlock()
		if over {
			return
		}
		d := u.data()
		d.Tag = tag // as it was set: a later one has its own event
		m.each("UserTagged", func(h *Handlers) {
			if h.UserTagged != nil {
				h.UserTagged(d, old)
			}
		})
	}})
	u.mu.Unlock()
	if start {
		go u.takeTurns()
	}
	return true
}

// SetSessionTag attaches a text of the application's to a session; "" takes it away. Lookups have it at once; Tagged
// follows in the user's order, unless the session has ended by then. It reports whether the session lives.
func (m *Manager) SetSessionTag(sessionID, tag string) bool {
	s := m.sessions.withID(sessionID)
	if s == nil {
		return false
	}
	u := s.user
	u.mu.Lock()
	if !slices.Contains(u.list(), s) {
		u.mu.Unlock()
		return false
	}
	p := u.rememberPast()
	old := p.tags[s]
	if old == tag {
		u.mu.Unlock()
		return true
	}
	if p.tags == nil {
		p.tags = make(map[*session]string)
	}
	if p.tags[s] = tag; tag == "" {
		delete(p.tags, s)
	}
	start := u.enqueue(&change{run: func(u *user) {
		if !s.bound {
			return
		}
		i := u.info(s)
		i.Tag = tag // as it was set: a later one has its own event
		m.each("Tagged", func(h *Handlers) {
			if h.Tagged != nil {
				h.Tagged(i, old)
			}
		})
	}})
	u.mu.Unlock()
	if start {
		go u.takeTurns()
	}
	return true
}

package usermgr

// SetTag attaches a text of the application to a user who is online, until the user goes offline; "" removes it. Lookups return the
// tag at once; the event UserTagged follows, in order with the user's other events. SetTag reports whether the user is online.
func (m *Manager) SetTag(userID, tag string) bool {
	u := m.users.get(userID)
	if u == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.countsAsOnline() {
		return false
	}
	p := u.needLazy()
	if p.tag == tag {
		return true
	}
	old := p.tag
	p.tag = tag
	u.enqueue(soon(func(u *user) {
		u.mu.Lock()
		over := u.lazy.Load() != p // the user has gone offline since, so the tag is gone
		u.mu.Unlock()
		if over {
			return
		}
		d := u.data()
		d.Tag = tag // as it was set: a later one has its own event
		m.each("UserTagged", func(h *Events) {
			h.UserTagged(d, old)
		})
	}))
	return true
}

// SetSessionTag attaches a text of the application to a session; "" removes it. Lookups return the tag at once; the event Tagged
// follows, in order with the user's other events, unless the session has ended by then. SetSessionTag reports whether the session
// lives.
func (m *Manager) SetSessionTag(id, tag string) bool {
	s := m.sessions.withID(id)
	if s == nil {
		return false
	}
	u := s.user
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.has(s) {
		return false
	}
	p := u.needLazy()
	old := p.tags[s]
	if old == tag {
		return true
	}
	if p.tags == nil {
		p.tags = make(map[*session]string)
	}
	if p.tags[s] = tag; tag == "" {
		delete(p.tags, s)
	}
	u.enqueue(soon(func(u *user) {
		if !s.bound {
			return
		}
		i := u.info(s)
		i.Tag = tag // as it was set: a later one has its own event
		m.each("Tagged", func(h *Events) {
			h.Tagged(i, old)
		})
	}))
	return true
}

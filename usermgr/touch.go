package usermgr

// Touch counts as a sign of life and as a message on each of the user's sessions. It reports whether the user has a session.
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
func (m *Manager) TouchSession(id string) bool {
	s := m.sessions.withID(id)
	if s == nil {
		return false
	}
	s.touch()
	return true
}

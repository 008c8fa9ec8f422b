package usermgr

import (
	"iter"
	"time"
)

// UserData describes a user at one moment. It is a copy, and stays.
type UserData struct {
	UserID     string
	Since      time.Time // when the user came online; a replaced session does not start it anew
	LastActive time.Time // when bytes last came from one of the user's clients, to 100 ms
	In, Out    Traffic   // of all sessions since then
	Dropped    Traffic
	Tag        string // see Manager.SetTag
	Sessions   []SessionInfo
}

// User returns what is known of a user, and whether the user is online.
func (m *Manager) User(userID string) (UserData, bool) {
	u := m.users.get(userID)
	if u == nil {
		return UserData{}, false
	}
	s, past := u.now()
	if s == nil {
		return UserData{}, false
	}
	i := s.info(past.tag)
	d := UserData{UserID: u.id, Since: time.Unix(0, past.since), LastActive: i.LastActive, Tag: past.tag,
		In: past.in, Out: past.out, Dropped: past.dropped, Sessions: []SessionInfo{i}}
	d.In.add(i.In)
	d.Out.add(i.Out)
	d.Dropped.add(i.Dropped)
	return d, true
}

// IsOnline reports whether the user has a session.
func (m *Manager) IsOnline(userID string) bool {
	u := m.users.get(userID)
	return u != nil && u.current.Load() != nil
}

// Links implements UserManager. It allocates nothing.
func (m *Manager) Links(userID string) []Link {
	u := m.users.get(userID)
	if u == nil {
		return nil
	}
	s := u.current.Load()
	if s == nil {
		return nil
	}
	return s.links[:]
}

// Addresses returns where the user's sessions are, or nothing for a user who is not online.
func (m *Manager) Addresses(userID string) []Address {
	links := m.Links(userID)
	if links == nil {
		return nil
	}
	addresses := make([]Address, len(links))
	for i, l := range links {
		addresses[i] = l.Address()
	}
	return addresses
}

// UserAt returns the ID of the user whose session is on the connection a.Conn, and whether there is one.
func (m *Manager) UserAt(a Address) (userID string, ok bool) {
	s := m.sessions.onConn(a.Conn)
	if s == nil {
		return "", false
	}
	return s.user.id, true
}

// Session returns what is known of a live session.
func (m *Manager) Session(sessionID string) (SessionInfo, bool) {
	s := m.sessions.withID(sessionID)
	if s == nil {
		return SessionInfo{}, false
	}
	return s.user.info(s), true
}

// Users yields the IDs of the users who are online, in no order. Whoever is online throughout is listed once; it holds
// up nobody while it runs.
func (m *Manager) Users() iter.Seq[string] {
	return func(yield func(string) bool) {
		for u := range m.users.all() {
			if u.current.Load() != nil && !yield(u.id) {
				return
			}
		}
	}
}

// Count returns how many users are online.
func (m *Manager) Count() int { return int(m.online.Load()) }

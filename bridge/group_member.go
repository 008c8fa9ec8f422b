package bridge

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// key says who a member is: a user, or the session on a connection.
type key struct {
	user string
	conn *engine.Conn
}

// member is a user or a session that is in groups. It is kept as long as it is in one.
//
// Its lock is taken before that of a group, and that before a shard's.
type member struct {
	key
	mu     sync.Mutex
	groups []*Group
	gone   bool   // in no group, and not found any more
	joined uint32 // how often it was asked to join one

	// A user's connections: one, or several. They are changed under mu, and read under a group's lock too.
	only    atomic.Pointer[engine.Conn]
	several atomic.Pointer[[]*engine.Conn]

	// The looks at the user manager that have begun, and the one that counts. A look that begins after a change has seen it.
	looks   atomic.Uint32
	counted uint32
}

// public returns the member as it is told.
func (m *member) public() Member { return Member{UserID: m.user, Conn: m.conn} }

// all yields the member's connections.
func (m *member) all(yield func(*engine.Conn) bool) {
	if m.conn != nil {
		yield(m.conn)
		return
	}
	if v := m.several.Load(); v != nil {
		for _, c := range *v {
			if !yield(c) {
				return
			}
		}
		return
	}
	if c := m.only.Load(); c != nil {
		yield(c)
	}
}

// has reports whether a connection is the member's.
func (m *member) has(c *engine.Conn) bool {
	for own := range m.all {
		if own == c {
			return true
		}
	}
	return false
}

// setConns changes a user's connections. m.mu is held on entry.
func (m *member) setConns(conns []*engine.Conn) {
	switch len(conns) {
	case 0:
		m.only.Store(nil)
		m.several.Store(nil)
	case 1:
		m.only.Store(conns[0])
		m.several.Store(nil)
	default:
		m.several.Store(&conns)
	}
}

// join makes the one with the key a member of the group that has g's name. n is for leaveAllSince.
func (s *groups) join(k key, g *Group) (m *member, n uint32) {
	for {
		m = s.takeMember(k)
		if n, ok := m.joins(s, g); ok {
			return m, n
		}
	}
}

// joins reports false where the record is not the one that counts any more.
func (m *member) joins(s *groups, g *Group) (n uint32, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return 0, false
	}
	m.joined++
	for {
		listed := s.takeGroup(g)
		added, ok := listed.add(m)
		if added {
			m.groups = append(grown(m.groups), listed)
		}
		if ok {
			return m.joined, true
		}
	}
}

// leave takes a member out of the group that has g's name, and reports whether it was in it.
func (s *groups) leave(m *member, g *Group) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return false
	}
	listed := g.now() // which it stays while m is in it
	if listed == nil || !listed.remove(m, false) {
		return false
	}
	i := slices.Index(m.groups, listed)
	m.groups[i] = m.groups[len(m.groups)-1]
	m.groups = shrunk(slices.Delete(m.groups, len(m.groups)-1, len(m.groups)))
	if len(m.groups) == 0 {
		s.forget(m)
	}
	return true
}

// leaveAll takes a member out of all groups: it is offline.
func (s *groups) leaveAll(m *member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.takeOut(m)
}

// leaveAllSince is leaveAll for one who was found offline after the nth time that it was asked to join. Where it was asked again, it
// may be online again: that call looks, too.
func (s *groups) leaveAllSince(m *member, n uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.joined == n {
		s.takeOut(m)
	}
}

// takeOut takes a member out of all groups. m.mu is held on entry.
func (s *groups) takeOut(m *member) {
	if m.gone {
		return
	}
	for _, g := range m.groups {
		g.remove(m, true)
	}
	m.groups = nil
	s.forget(m)
}

// forget removes a member that is in no group. m.mu is held on entry.
func (s *groups) forget(m *member) {
	m.gone = true
	s.removeMember(m)
}

// update finds out which connections a user has, and tells the user's groups. Where it is asked several times at once the last
// to begin decides.
func (s *groups) update(m *member) {
	look := m.looks.Add(1)
	now := slices.Collect(s.bridge.ConnsOf(m.user)) // the user manager's: no lock is held
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone || int32(look-m.counted) < 0 {
		return
	}
	m.counted = look
	before := slices.Collect(m.all)
	if slices.Equal(before, now) {
		return
	}
	m.setConns(now)
	for _, g := range m.groups {
		g.exchange(m, before, now)
	}
}

// subscriber is what a user manager may have besides, see usermgr.UserManager.
type subscriber interface {
	Subscribe(usermgr.Events) (unsubscribe func())
}

// subscribe has the user manager tell of sessions, from the first member on: a bridge without groups does not pay for it.
func (s *groups) subscribe() error {
	m, ok := s.bridge.users.(subscriber)
	if !ok {
		return fmt.Errorf("rollcall: the user manager has no Subscribe, which groups need: %w", errors.ErrUnsupported)
	}
	s.subscribed.Do(func() {
		m.Subscribe(usermgr.Events{
			Connected:    func(i usermgr.SessionInfo) { s.changed(i.UserID) },
			Disconnected: func(i usermgr.SessionInfo, _ protocol.CloseCode) { s.ended(i) },
			Offline:      func(u usermgr.UserData) { s.changed(u.UserID) },
		})
	})
	return nil
}

// ended takes a session that has ended out of its groups. Its user has another one already, where that has taken its place.
func (s *groups) ended(i usermgr.SessionInfo) {
	if m := s.session(i.Address.Conn); m != nil {
		s.leaveAll(m)
	}
	s.changed(i.UserID)
}

// changed is called when a session of a user has come or gone, or the user has, one such thing at a time.
func (s *groups) changed(userID string) {
	m := s.member(key{user: userID})
	if m == nil {
		return
	}
	s.update(m)
	if !s.bridge.isOnline(userID) {
		s.leaveAll(m)
	}
}

// isOnline asks the user manager itself where it can be asked: a user may be online and have no session for a moment.
func (b *Bridge) isOnline(userID string) bool {
	if m, ok := b.users.(usermgr.OnlineAsker); ok {
		return m.IsOnline(userID)
	}
	return len(b.users.Links(userID)) > 0
}

// userOn returns the user whose session is on a connection of this bridge's.
func (b *Bridge) userOn(c *engine.Conn) (userID string, live bool) {
	if c == nil || b.engine.Conn(c.ID()) != c {
		return "", false
	}
	if m, ok := b.users.(interface {
		SessionAt(conn uint64) (usermgr.SessionInfo, bool)
	}); ok {
		s, live := m.SessionAt(c.ID())
		return s.UserID, live
	}
	userID = c.UserID()
	for other := range b.ConnsOf(userID) {
		if other == c {
			return userID, true
		}
	}
	return "", false
}

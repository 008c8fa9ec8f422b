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

// member is a user or a session that is in groups. It exists while it is in at least one.
//
// Its lock is taken before a group's lock, and a group's lock before a shard's.
type member struct {
	key
	mu     sync.Mutex
	groups []*Group
	gone   bool   // in no group, and removed from the table
	joined uint32 // the number of calls of join

	// A user's connections: one, or several. They are changed under mu, and read under a group's lock too.
	only    atomic.Pointer[engine.Conn]
	several atomic.Pointer[[]*engine.Conn]

	// looks counts the look-ups at the user manager that have begun; the last one to begin counts. A look-up that
	// begins after a change sees the change.
	looks   atomic.Uint32
	counted uint32
}

// public returns the member for users of the package.
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

// has reports whether the member has the connection.
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

// join makes the user or session k a member of the group that has g's name. n is for leaveAllSince.
func (s *groups) join(k key, g *Group) (m *member, n uint32) {
	for {
		m = s.takeMember(k)
		if n, ok := m.joins(s, g); ok {
			return m, n
		}
	}
}

// joins adds m to the group. It reports false when m is gone from the table.
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

// leave removes a member from the group that has g's name, and reports whether it was in it.
func (s *groups) leave(m *member, g *Group) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone {
		return false
	}
	listed := g.now() // it stays listed while m is in it
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

// leaveAll removes an offline member from all groups.
func (s *groups) leaveAll(m *member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.takeOut(m)
}

// leaveAllSince is leaveAll for a member that was found offline after the nth call of join. It does nothing after a
// later call of join, because the member may be online again and that call checks it too.
func (s *groups) leaveAllSince(m *member, n uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.joined == n {
		s.takeOut(m)
	}
}

// takeOut removes a member from all groups. m.mu is held on entry.
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

// update looks up a user's connections, and tells the user's groups. Of several calls at once the last to begin
// decides.
func (s *groups) update(m *member) {
	look := m.looks.Add(1)
	now := slices.Collect(s.bridge.ConnsOf(m.user)) // it calls the user manager: no lock is held
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

// subscriber is an optional method of a user manager, see usermgr.UserManager.
type subscriber interface {
	Subscribe(usermgr.Events) (unsubscribe func())
}

// subscribe subscribes to the user manager's events at the first member, so that a bridge without groups does not pay
// for it.
func (s *groups) subscribe() error {
	m, ok := s.bridge.users.(subscriber)
	if !ok {
		return fmt.Errorf("rollcall: the user manager has no Subscribe, which groups need: %w", errors.ErrUnsupported)
	}
	s.subscribed.Do(func() {
		m.Subscribe(usermgr.Events{
			Connected:    func(i usermgr.SessionInfo) { s.changed(i.UserID) },
			Disconnected: func(i usermgr.SessionInfo, _ protocol.CloseCode) { s.ended(i) },
			Left:         func(u usermgr.UserData) { s.changed(u.UserID) },
			Offline:      func(u usermgr.UserData) { s.changed(u.UserID) }, // of a user manager of the program, which may not tell Left
		})
	})
	return nil
}

// ended removes a session that has ended from its groups. When another session has taken its place, the user has that
// one already.
func (s *groups) ended(i usermgr.SessionInfo) {
	if m := s.session(i.Address.Conn); m != nil {
		s.leaveAll(m)
	}
	s.changed(i.UserID)
}

// changed is called when a user, or a session of the user, has come or gone. The calls for one user come one at a time.
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

// isOnline asks the manager's IsOnline where it has that method, because a user may be online without a session for a
// moment.
func (b *Bridge) isOnline(userID string) bool {
	if m, ok := b.users.(usermgr.OnlineAsker); ok {
		return m.IsOnline(userID)
	}
	return len(b.users.Links(userID)) > 0
}

// keyOf returns who a member is, and whether it is online: for a session, whether it lives.
func (b *Bridge) keyOf(m Member) (k key, online bool) {
	if m.Conn == nil {
		return key{user: m.UserID}, b.isOnline(m.UserID)
	}
	userID, live := b.userOn(m.Conn)
	return key{user: userID, conn: m.Conn}, live
}

// userOn returns the user of the session on a connection of this bridge.
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

package usermgr

import (
	"iter"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/seam"
)

// UserData describes a user at one moment. It is a copy and does not change.
type UserData struct {
	UserID     string
	Since      time.Time     // when the user came online; the replacement of a session does not change it
	LastActive time.Time     // when bytes last came from one of the user's clients, to 100 ms
	Counters                 // of all sessions since Since
	Tag        string        // see Manager.SetTag
	Sessions   []SessionInfo // the oldest first; none within Config.OfflineGrace
	// Version orders the events Online and Offline of one user over the nodes of a cluster: that of an Offline is not smaller than that of
	// the Online before, and that of an Online is greater than that of the Offline before. 0 without a cluster, and in lookups.
	Version uint64
	online  bool
}

// User returns the data of a user, and whether the user is online.
func (m *Manager) User(userID string) (UserData, bool) {
	u := m.users.get(userID)
	if u == nil || !u.isOnline() {
		return UserData{}, false
	}
	d := u.data()
	return d, d.online
}

// data returns the user's data.
func (u *user) data() UserData {
	u.mu.Lock()
	defer u.mu.Unlock()
	d := UserData{UserID: u.id, online: u.countsAsOnline()}
	since := int64(0)
	if p := u.lazy.Load(); p != nil {
		d.In, d.Out, d.Dropped, d.Tag, d.LastActive = p.in, p.out, p.dropped, p.tag, p.active
		since = p.since
	}
	if oldest := u.oldest.Load(); since == 0 && oldest != nil {
		since = oldest.logonTime()
	}
	for s := range u.all {
		i := s.info()
		addTraffic(&d.In, i.In)
		addTraffic(&d.Out, i.Out)
		addTraffic(&d.Dropped, i.Dropped)
		if i.LastActive.After(d.LastActive) {
			d.LastActive = i.LastActive
		}
		d.Sessions = append(d.Sessions, i)
	}
	d.Since = time.Unix(0, since)
	return d
}

// IsOnline reports whether the user has a session, or had one within Config.OfflineGrace.
func (m *Manager) IsOnline(userID string) bool {
	u := m.users.get(userID)
	return u != nil && u.isOnline()
}

// Links implements UserManager. It allocates only in the first call after one of a user's several sessions has begun or ended.
func (m *Manager) Links(userID string) []Link {
	u := m.users.get(userID)
	if u == nil {
		return nil
	}
	return u.links()
}

// SessionAt returns the data of the session on the connection with this number, and whether there is one. Use it to find the user
// behind a connection.
func (m *Manager) SessionAt(conn uint64) (SessionInfo, bool) {
	s := m.sessions.onConn(conn)
	if s == nil {
		return SessionInfo{}, false
	}
	return s.user.info(s), true
}

// Session returns the data of the session with this ID, and whether the session lives.
func (m *Manager) Session(id string) (SessionInfo, bool) {
	s := m.sessions.withID(id)
	if s == nil {
		return SessionInfo{}, false
	}
	return s.user.info(s), true
}

// Users yields the IDs of the users who are online, in no order. Users who are online for the whole iteration appear exactly once. The
// iteration delays no logon.
func (m *Manager) Users() iter.Seq[string] {
	return func(yield func(string) bool) {
		// 64 users are looked at before the first of them is yielded: then the processor fetches the memory of several at a time.
		ids := make([]string, 0, 64)
		told := func() bool {
			for _, id := range ids {
				if !yield(id) {
					return false
				}
			}
			ids = ids[:0]
			return true
		}
		for u := range m.users.all() {
			if u.isOnline() {
				ids = append(ids, u.id)
			}
			if len(ids) == cap(ids) && !told() {
				return
			}
		}
		told()
	}
}

// Count returns the number of users who are online.
func (m *Manager) Count() int { return int(m.online.Load()) }

// deviceCounts counts sessions by device class.
type deviceCounts struct {
	mu  sync.Mutex
	n   map[uint16]int
	all int
}

// of returns the counts of some classes, and of all together.
func (c *deviceCounts) of(classes []uint16) (n map[uint16]int, all int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = make(map[uint16]int, len(classes))
	for _, class := range classes {
		n[class] = c.n[class]
	}
	return n, c.all
}

func (c *deviceCounts) add(device uint16, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[uint16]int)
	}
	c.all += n
	if c.n[device] += n; c.n[device] == 0 {
		delete(c.n, device)
	}
}

func init() {
	seam.DeviceAtOf = func(users any) func(conn uint64) (uint16, bool) {
		if m, own := users.(*Manager); own {
			return m.deviceAt
		}
		return nil
	}
}

func (m *Manager) deviceAt(conn uint64) (device uint16, ok bool) {
	s := m.sessions.onConn(conn)
	if s == nil {
		return 0, false
	}
	return s.device, true
}

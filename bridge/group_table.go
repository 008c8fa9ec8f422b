package bridge

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/table"
)

// groups has the groups of a bridge by name, and their members by user and by connection. A look-up takes no lock.
type groups struct {
	bridge     *Bridge
	seed       maphash.Seed
	subscribed sync.Once
	active     activeGroups
	shards     [64]groupShard
}

type groupShard struct {
	mu      sync.Mutex // held to change the tables; a leaf
	groups  table.Table[Group]
	members table.Table[member]
	_       [24]byte // keeps neighbours' locks on other cache lines
}

func newGroups(b *Bridge) *groups {
	return &groups{bridge: b, seed: maphash.MakeSeed()}
}

func (s *groups) shard(hash uint64) *groupShard { return &s.shards[table.Shard(hash, len(s.shards))] }

func (s *groups) hashOfGroup(g *Group) uint64 { return maphash.String(s.seed, g.name) }

func (s *groups) hashOfMember(m *member) uint64 { return s.hashOfKey(m.key) }

func (s *groups) hashOfKey(k key) uint64 {
	if k.conn != nil {
		return table.Scatter(k.conn.ID())
	}
	return maphash.String(s.seed, k.user)
}

// find returns the listed group of the name, or nil.
func (s *groups) find(name string) *Group {
	hash := maphash.String(s.seed, name)
	return s.shard(hash).groups.Find(hash, func(g *Group) bool { return g.name == name })
}

// takeGroup returns the listed group that has g's name. When there is none it lists g.
func (s *groups) takeGroup(g *Group) *Group {
	if g.listed.Load() {
		return g
	}
	hash := s.hashOfGroup(g)
	sh := s.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if listed := sh.groups.Find(hash, func(o *Group) bool { return o.name == g.name }); listed != nil {
		return listed
	}
	sh.groups.Add(g, s.hashOfGroup)
	g.listed.Store(true)
	return g
}

// unlist removes a group from the table. g.mu is held on entry.
func (s *groups) unlist(g *Group) {
	sh := s.shard(s.hashOfGroup(g))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.groups.Remove(g, s.hashOfGroup)
	g.listed.Store(false)
}

// member returns the member with the key; nil when it is in no group.
func (s *groups) member(k key) *member {
	if k.conn != nil {
		return s.session(k.conn.ID())
	}
	hash := s.hashOfKey(k)
	return s.shard(hash).members.Find(hash, func(m *member) bool { return m.conn == nil && m.user == k.user })
}

// session returns the member for the session on a connection; nil when it is in no group.
func (s *groups) session(conn uint64) *member {
	hash := table.Scatter(conn)
	return s.shard(hash).members.Find(hash, func(m *member) bool { return m.conn != nil && m.conn.ID() == conn })
}

// takeMember returns the member with the key, and makes one if there is none. It may be gone when takeMember returns.
func (s *groups) takeMember(k key) *member {
	if m := s.member(k); m != nil {
		return m
	}
	sh := s.shard(s.hashOfKey(k))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if m := s.member(k); m != nil {
		return m
	}
	m := &member{key: k}
	sh.members.Add(m, s.hashOfMember)
	return m
}

// removeMember removes a member from the table. Its lock is held on entry.
func (s *groups) removeMember(m *member) {
	sh := s.shard(s.hashOfMember(m))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.members.Remove(m, s.hashOfMember)
}

// idleAfter is the least time for which an unused group keeps the list of its connections.
const idleAfter = 30 * time.Second

// activeGroups has the groups that keep a list of their connections.
type activeGroups struct {
	mu      sync.Mutex // a leaf
	groups  map[*Group]struct{}
	sweeper *time.Timer // runs while there are such groups
}

// add is called when a group keeps its list. g.mu is held on entry.
func (a *activeGroups) add(g *Group) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.groups == nil {
		a.groups = make(map[*Group]struct{})
	}
	a.groups[g] = struct{}{}
	if a.sweeper == nil {
		a.sweeper = time.AfterFunc(idleAfter, a.sweep)
	}
}

// sweep drops the lists of the groups that were not used since the last sweep.
func (a *activeGroups) sweep() {
	a.mu.Lock()
	all := make([]*Group, 0, len(a.groups))
	for g := range a.groups {
		all = append(all, g)
	}
	a.mu.Unlock()
	for _, g := range all {
		g.mu.Lock()
		if !g.used {
			g.conns, g.built = nil, false
			a.remove(g)
		}
		g.used = false
		g.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.groups) == 0 {
		a.groups, a.sweeper = nil, nil
		return
	}
	a.sweeper.Reset(idleAfter)
}

// remove is called with g.mu held.
func (a *activeGroups) remove(g *Group) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.groups, g)
}

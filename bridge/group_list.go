package bridge

import (
	"slices"

	"github.com/rollcall-go/rollcall/internal/seam"
)

// seamRooms is a Bridge with the methods by which an operator sees its groups.
type seamRooms Bridge

var _ seam.Rooms = (*seamRooms)(nil)

func init() { seam.RoomsOf = func(b any) seam.Rooms { return (*seamRooms)(b.(*Bridge)) } }

// Rooms implements seam.Rooms.
func (r *seamRooms) Rooms(yield func(name string, members int) bool) {
	s := r.groups.Load()
	if s == nil {
		return
	}
	for i := range s.shards {
		for _, g := range s.shards[i].listed() {
			g.mu.Lock()
			n := len(g.members)
			g.mu.Unlock()
			if n > 0 && !yield(g.name, n) {
				return
			}
		}
	}
}

// listed returns the groups of a shard. The lock keeps the table from changing meanwhile.
func (sh *groupShard) listed() (all []*Group) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.groups.Len() > 0 {
		sh.groups.All(func(g *Group) bool {
			all = append(all, g)
			return true
		})
	}
	return all
}

// RoomsOf implements seam.Rooms.
func (r *seamRooms) RoomsOf(userID string, conns []uint64) (names []string) {
	s := r.groups.Load()
	if s == nil {
		return nil
	}
	add := func(m *member) {
		if m == nil {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, g := range m.groups {
			if !slices.Contains(names, g.name) {
				names = append(names, g.name)
			}
		}
	}
	add(s.member(key{user: userID}))
	for _, conn := range conns {
		add(s.session(conn))
	}
	return names
}

package chat

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// roster says who was in a group at one version. It does not change.
type roster struct {
	version uint64
	ids     []string // sorted
	members map[string]rosterMember
	last    uint64 // the greatest joined
}

type rosterMember struct {
	joined uint64 // messages above this number are for the member
	role   Role
}

func newRoster(version uint64, members map[string]rosterMember) *roster {
	r := &roster{version: version, ids: slices.Sorted(maps.Keys(members)), members: members}
	for _, m := range members {
		r.last = max(r.last, m.joined)
	}
	return r
}

// with is the roster after some users have come, gone or got other roles.
func (r *roster) with(version uint64, changed []Member) *roster {
	members := maps.Clone(r.members)
	for _, m := range changed {
		if m.In {
			members[m.UserID] = rosterMember{m.Joined, m.Role}
		} else {
			delete(members, m.UserID)
		}
	}
	return newRoster(version, members)
}

// readers are the members that a message is for.
func (r *roster) readers(seq uint64) []string {
	if seq > r.last {
		return r.ids
	}
	return slices.DeleteFunc(slices.Clone(r.ids), func(id string) bool { return r.members[id].joined >= seq })
}

func (r *roster) administrators() (ids []string) {
	for _, id := range r.ids {
		if r.members[id].role != Ordinary {
			ids = append(ids, id)
		}
	}
	return ids
}

// rosters are the rosters that were used last. Its lock is held for nothing else.
type rosters struct {
	service *Service
	mu      sync.Mutex
	known   lru[GroupID, *roster]
}

func (r *rosters) init(s *Service) { r.service, r.known.most = s, s.cfg.Limits.Rosters }

// get returns the roster of a group, at a version or a later one.
func (r *rosters) get(ctx context.Context, id GroupID, version uint64) (*roster, error) {
	r.mu.Lock()
	known, found := r.known.get(id)
	r.mu.Unlock()
	if found && known.version >= version {
		return known, nil
	}
	g, all, err := r.service.cfg.Store.Members(ctx, id, "", 0)
	if err != nil {
		return nil, err
	}
	members := make(map[string]rosterMember, len(all))
	for _, m := range all {
		members[m.UserID] = rosterMember{m.Joined, m.Role}
	}
	loaded := newRoster(g.Version, members)
	r.put(id, loaded)
	return loaded, nil
}

// put keeps a roster, unless a later one is kept.
func (r *rosters) put(id GroupID, new *roster) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, found := r.known.get(id); !found || known.version <= new.version {
		r.known.put(id, new, 1+len(new.ids))
	}
}

func (r *rosters) drop(id GroupID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known.drop(id)
}

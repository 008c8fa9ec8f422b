package usermgr

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// several has the sessions of a user who has more than one, by age. Only the user's turn changes it, under the user's
// lock. Others read it under the lock, and the turn without. The time to add or remove a session does not depend on
// their number.
type several struct {
	slots []slot // by serial; the slot of a session that has left is empty, until half of them are
	first int    // the first slot that is not empty
	n     int    // the number of slots that are not empty
	links atomic.Pointer[[]Link]
}

// slot is the place of one session.
type slot struct {
	serial  uint64 // of the session; grows from slot to slot
	session *session
}

func newSeveral(first, second *session) *several {
	v := new(several)
	v.add(first)
	v.add(second)
	return v
}

// add adds the newest session.
func (v *several) add(s *session) {
	v.slots = append(v.slots, slot{serialOf(s.id), s})
	v.n++
	v.links.Store(nil)
}

// remove removes a session, which must be in v.
func (v *several) remove(s *session) {
	v.slots[v.find(s)].session = nil
	v.n--
	v.links.Store(nil)
	if v.n < len(v.slots)/2 {
		left := make([]slot, 0, 2*v.n)
		for _, o := range v.slots {
			if o.session != nil {
				left = append(left, o)
			}
		}
		v.slots, v.first = left, 0
	}
	for v.first < len(v.slots) && v.slots[v.first].session == nil {
		v.first++
	}
}

// find returns the index of the session's slot; -1 for a session that is not in v.
func (v *several) find(s *session) int {
	i, found := slices.BinarySearchFunc(v.slots, serialOf(s.id), func(o slot, serial uint64) int {
		return cmp.Compare(o.serial, serial)
	})
	if !found || v.slots[i].session != s {
		return -1
	}
	return i
}

func (v *several) oldest() *session { return v.slots[v.first].session }

// all yields the sessions, the oldest first.
func (v *several) all(yield func(*session) bool) {
	for _, o := range v.slots[v.first:] {
		if o.session != nil && !yield(o.session) {
			return
		}
	}
}

// makeLinks makes the links of all sessions, which are kept until a session comes or leaves. The user's lock is held on
// entry.
func (v *several) makeLinks() []Link {
	links := make([]Link, 0, v.n)
	for s := range v.all {
		links = append(links, s.links[0])
	}
	v.links.Store(&links)
	return links
}

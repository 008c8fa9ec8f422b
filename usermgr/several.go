package usermgr

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// several are the sessions of a user who has more than one, by age. The user's turn alone changes them, under the user's lock:
// others look at them under the lock, and the turn without it. Whatever the number, one more or one less takes the same time.
type several struct {
	slots []slot // by serial; the slot of a session that has left is empty, until half of them are
	first int    // that is not empty
	n     int    // that are not empty
	links atomic.Pointer[[]Link]
}

// slot has a session's place among its user's.
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

// remove takes out a session that is among them.
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

// find returns the number of the session's slot, -1 for a session that is not among them.
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

// makeLinks makes the links of all, which last until a session comes or leaves. The user's lock is held on entry.
func (v *several) makeLinks() []Link {
	links := make([]Link, 0, v.n)
	for s := range v.all {
		links = append(links, s.links[0])
	}
	v.links.Store(&links)
	return links
}

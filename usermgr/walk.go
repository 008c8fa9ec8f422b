package usermgr

import (
	"cmp"
	"iter"
	"slices"
	"sync"
)

// walk goes through the users in order and gathers a page.
type walk[T any] struct {
	*listing[T]
	manager  *Manager
	criteria *criteria
	limit    int

	shard int   // where to begin
	after place // in that shard
	skip  int   // so many items after that
	items []T
}

// goTo sets where to begin.
func (w *walk[T]) goTo(cursor string) error {
	if cursor == "" {
		return nil
	}
	p, err := w.placeOf(w.manager, cursor)
	if err != nil {
		return err
	}
	w.shard, w.after = shardOf(p.hash), p
	return nil
}

// skipPages makes the walk begin after so many pages, and returns how many items there are in all.
func (w *walk[T]) skipPages(pages int) (total int) {
	counts := w.shardCounts()
	for _, n := range counts {
		total += n
	}
	if pages > total/w.limit { // the product might overflow
		w.shard = shardCount
		return total
	}
	w.skip = pages * w.limit
	for w.shard < shardCount && w.skip >= counts[w.shard] {
		w.skip -= counts[w.shard]
		w.shard++
	}
	return total
}

// shardCounts returns how many items each shard has. It looks at every user, unless each has one item.
func (w *walk[T]) shardCounts() (counts [shardCount]int) {
	entries := 0
	for i := range counts {
		counts[i] = w.manager.users.shardLen(i)
		entries += counts[i]
	}
	if w.criteria.any && w.single(w.manager, entries) {
		return counts
	}
	s := scratches.Get().(*scratch)
	defer s.release()
	for i := range counts {
		counts[i] = 0
		s.users = w.manager.users.shardUsers(i, s.users[:0])
		for _, u := range s.users {
			counts[i] += w.count(u, w.criteria)
		}
	}
	return counts
}

// run gathers the page's items, and reports whether more follow.
func (w *walk[T]) run() (more bool) {
	s := scratches.Get().(*scratch)
	defer s.release()
	if w.criteria.any && w.shard < shardCount {
		w.items = make([]T, 0, min(w.limit, w.manager.Count())+1)
	}
	for ; w.shard < shardCount; w.shard++ {
		for u := range w.inOrder(s) {
			if w.take(u) {
				return true
			}
		}
		w.after = place{}
	}
	return false
}

// take takes a user's items, and reports whether there were more than the page had room for.
func (w *walk[T]) take(u *user) (more bool) {
	if len(w.items) == w.limit {
		return w.count(u, w.criteria) > 0
	}
	if w.skip > 0 {
		if n := w.count(u, w.criteria); n <= w.skip {
			w.skip -= n
			return false
		}
	}
	before := len(w.items)
	w.items = w.append(w.items, u, w.criteria)
	after := before + min(w.skip, len(w.items)-before)
	w.skip = 0
	if u.id == w.after.userID {
		for after < len(w.items) {
			if _, session := w.place(w.items[after]); session > w.after.session {
				break
			}
			after++
		}
	}
	w.items = slices.Delete(w.items, before, after)
	if n := len(w.items); n > before {
		w.after.userID, w.after.session = w.place(w.items[n-1])
	}
	if more = len(w.items) > w.limit; more {
		w.items = w.items[:w.limit]
	}
	return more
}

// inOrder yields the users of the walk's shard who match and have not been passed. Rather than sort them it takes one after
// the other from a heap: a page seldom needs them all. A user who went and came back while the shard was copied may be among
// them twice, with the old entry and the new.
func (w *walk[T]) inOrder(s *scratch) iter.Seq[*user] {
	return func(yield func(*user) bool) {
		users := &w.manager.users
		s.users = users.shardUsers(w.shard, s.users[:0])
		s.heap = s.heap[:0]
		for _, u := range s.users {
			if !w.criteria.any && w.count(u, w.criteria) == 0 {
				continue
			}
			h := hashedUser{users.hashOf(u.id), u}
			d := h.compare(w.after.hash, w.after.userID)
			if d > 0 || d == 0 && w.after.session < wholeUser {
				s.heap = append(s.heap, h)
			}
		}
		s.heap.init()
		for len(s.heap) > 0 && yield(s.heap.pop()) {
		}
	}
}

// hashedUser is a user with the ID's hash.
type hashedUser struct {
	hash uint64
	user *user
}

func (h hashedUser) compare(hash uint64, userID string) int {
	if h.hash != hash {
		return cmp.Compare(h.hash, hash)
	}
	return cmp.Compare(h.user.id, userID)
}

// userHeap has the first user at its root.
type userHeap []hashedUser

func (h userHeap) init() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.siftDown(i)
	}
}

func (h *userHeap) pop() *user {
	all := *h
	first, last := all[0].user, len(all)-1
	all[0] = all[last]
	*h = all[:last]
	h.siftDown(0)
	return first
}

func (h userHeap) siftDown(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if right := child + 1; right < len(h) && h[right].compare(h[child].hash, h[child].user.id) < 0 {
			child = right
		}
		if h[i].compare(h[child].hash, h[child].user.id) <= 0 {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// scratch is room for the users of a shard.
type scratch struct {
	users []*user
	heap  userHeap
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// release puts the scratch back, and forgets the users in it.
func (s *scratch) release() {
	clear(s.users[:cap(s.users)])
	clear(s.heap[:cap(s.heap)])
	scratches.Put(s)
}

package usermgr

import (
	"cmp"
	"iter"
	"slices"

	"github.com/rollcall-go/rollcall/internal/table"
)

// walk goes through the users in order and gathers a page.
type walk[T any] struct {
	*listing[T]
	manager  *Manager
	criteria *criteria
	limit    int

	shard int   // where to begin
	after place // in that shard
	skip  int   // the number of items to skip from there
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

// skipPages makes the walk begin after this number of pages, and returns the number of all items.
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
	for i := range counts {
		counts[i] = 0
		for u := range w.manager.users.shardUsers(i) {
			counts[i] += w.count(u, w.criteria)
		}
	}
	return counts
}

// run gathers the page's items, and reports whether more follow.
func (w *walk[T]) run() (more bool) {
	if w.criteria.any && w.shard < shardCount {
		w.items = make([]T, 0, min(w.limit, w.manager.Count())+1)
	}
	for ; w.shard < shardCount; w.shard++ {
		for u := range w.inOrder() {
			if w.take(u) {
				return true
			}
		}
		w.after = place{}
	}
	return false
}

// take adds a user's items to the page, and reports whether they were more than the page has room for.
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

// inOrder yields the users of the walk's shard who match and come after w.after. It looks at few other users. A user
// who leaves and comes back meanwhile may be yielded twice, with the old entry and with the new one.
func (w *walk[T]) inOrder() iter.Seq[*user] {
	return func(yield func(*user) bool) {
		w.manager.users.batches(w.shard, w.after.hash, func(batch []hashedUser) bool {
			batch = slices.DeleteFunc(batch, func(h hashedUser) bool {
				d := compare(h, w.after.hash, w.after.userID)
				return d < 0 || d == 0 && w.after.session == wholeUser || !w.criteria.any && w.count(h.Thing, w.criteria) == 0
			})
			slices.SortFunc(batch, func(a, b hashedUser) int { return compare(a, b.Hash, b.Thing.id) })
			for _, h := range batch {
				if !yield(h.Thing) {
					return false
				}
			}
			return true
		})
	}
}

// hashedUser is a user with the ID's hash.
type hashedUser = table.Hashed[user]

// compare is the order of a shard's users. It begins with the table's order, so that a page is found without a look at
// every user.
func compare(h hashedUser, hash uint64, userID string) int {
	return cmp.Or(cmp.Compare(uint32(h.Hash), uint32(hash)), cmp.Compare(h.Hash, hash), cmp.Compare(h.Thing.id, userID))
}

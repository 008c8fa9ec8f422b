// Package table is a hash table whose entries contain their own key. A lookup takes no lock.
package table

import (
	"math"
	"math/bits"
	"sync/atomic"
)

const (
	groupSlots = 8
	// A table is rebuilt, into one that is 2/3 full, when more than 7/8 of its slots are used, and when less than 1/3 are, so
	// that it shrinks when things are taken out. Sizes that double would be 3/5 full on an average, these are 3/4.
	fullNum, fullDen     = 7, 8
	freshNum, freshDen   = 2, 3
	sparseNum, sparseDen = 1, 3
)

// Table is a set of pointers in open addressing. A slot takes nine bytes, where a map holds the keys besides. Any number of
// goroutines may look while one changes it; those who change it take turns, by a lock of theirs.
//
// The caller tells things with equal hashes apart; with good hashes the table hardly ever asks about a wrong thing. The
// lowest 32 bits of the hash say where a thing stands, the highest seven what its tag is.
//
// The zero Table is empty and ready to use.
type Table[T any] struct {
	groups atomic.Pointer[groups[T]]
	live   int // things in the table
	used   int // slots that are not empty: live, and those where something was taken out
	// all is the present groups' all. Only the garbage collector uses this copy: it finds the slots here before it follows the pointers of
	// the things. If it found them later, by way of groups, it would scan the things a few at a time, and take twice as long.
	all []group[T]
}

// Scatter makes a hash of a number that is no good hash itself: the golden ratio. The highest bits of the product depend on
// all bits of the number, and the lowest are different for numbers that follow one another.
func Scatter(n uint64) uint64 { return n * 0x9E3779B97F4A7C15 }

// Shard says which of n tables a hash belongs to, by bits of it that a table does not look at. n is a power of two, at most
// 512.
func Shard(hash uint64, n int) int { return int(hash >> 48 % uint64(n)) }

// group is eight slots, with a tag for each: a byte of the hash, so that looking touches hardly any thing but the right one.
// A thing stands in a slot that was free, in the first group that had one, counted from the group that its hash names. Its
// tag is written after it, and taken away before it.
type group[T any] struct {
	tags atomic.Uint64
	at   [groupSlots]atomic.Pointer[T]
}

// groups are the slots of a table at one moment.
type groups[T any] struct {
	all []group[T]
	// Memory of 64 bytes has no neighbours that come and go: with 24 or 32 bytes, which is the size of much that a logon leaves
	// behind, the headers of 833 tables kept a quarter to half a megabyte from being given back.
	_ [40]byte
}

const (
	empty = 0 // the tag of a slot that was never used: what is looked for stands in no later group
	gone  = 1 // of one where something was taken out
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

func tagOf(hash uint64) uint64 { return hash>>57 | 0x80 }

// with returns the bytes of tags that are tag, as their highest bits. Bytes above one of them may be there by mistake.
func with(tags, tag uint64) uint64 {
	x := tags ^ tag*lows
	return (x - lows) &^ x & highs
}

// slot returns the number of the first of these bytes.
func slot(matches uint64) int { return bits.TrailingZeros64(matches) / 8 }

func (g *group[T]) setTag(slot int, tag uint64) {
	shift := slot * 8
	g.tags.Store(g.tags.Load()&^(0xFF<<shift) | tag<<shift)
}

// first returns the number of the group that a hash names: the share of all groups that its lowest 32 bits are of 2^32.
func (s *groups[T]) first(hash uint64) int {
	return int(hash & math.MaxUint32 * uint64(len(s.all)) >> 32)
}

// after returns the number of the next group, round and round.
func (s *groups[T]) after(i int) int {
	if i++; i < len(s.all) {
		return i
	}
	return 0
}

// slots returns how many there are.
func (s *groups[T]) slots() int {
	if s == nil {
		return 0
	}
	return len(s.all) * groupSlots
}

// Find returns the thing in the table with this hash for which is returns true; nil if there is none. A thing that is
// in the table during the whole call is found.
func (t *Table[T]) Find(hash uint64, is func(*T) bool) *T {
	groups := t.groups.Load()
	if groups == nil {
		return nil
	}
	for i := groups.first(hash); ; i = groups.after(i) {
		g := &groups.all[i]
		tags := g.tags.Load()
		for m := with(tags, tagOf(hash)); m != 0; m &= m - 1 {
			if p := g.at[slot(m)].Load(); p != nil && is(p) {
				return p
			}
		}
		if with(tags, empty) != 0 {
			return nil
		}
	}
}

// Len returns how many things are in the table. Only those who change it may ask.
func (t *Table[T]) Len() int { return t.live }

// Add puts in p, which must not be there. hash returns the hash of a thing in the table.
func (t *Table[T]) Add(p *T, hash func(*T) uint64) {
	groups := t.groups.Load()
	if (t.used+1)*fullDen > groups.slots()*fullNum {
		groups = t.rebuild(t.live+1, hash)
	}
	if put(groups, p, hash(p)) {
		t.used++
	}
	t.live++
}

// put puts p into a free slot, and reports whether that slot was empty.
func put[T any](groups *groups[T], p *T, hash uint64) (wasEmpty bool) {
	for i := groups.first(hash); ; i = groups.after(i) {
		g := &groups.all[i]
		free := ^g.tags.Load() & highs
		if free == 0 {
			continue
		}
		n := slot(free)
		wasEmpty = g.tags.Load()>>(n*8)&0xFF == empty
		g.at[n].Store(p)
		g.setTag(n, tagOf(hash))
		return wasEmpty
	}
}

// place returns where p stands, or nil.
func (t *Table[T]) place(p *T, hash uint64) (g *group[T], slot int) {
	groups := t.groups.Load()
	if groups == nil {
		return nil, 0
	}
	for i := groups.first(hash); ; i = groups.after(i) {
		g := &groups.all[i]
		for n := range g.at {
			if g.at[n].Load() == p {
				return g, n
			}
		}
		if with(g.tags.Load(), empty) != 0 {
			return nil, 0
		}
	}
}

// Replace puts p in the place of old, which is in the table and has the same hash: at no moment is neither found.
func (t *Table[T]) Replace(old, p *T, hash func(*T) uint64) {
	g, n := t.place(old, hash(p))
	g.at[n].Store(p)
}

// Remove removes p, and reports whether it was in the table.
func (t *Table[T]) Remove(p *T, hash func(*T) uint64) bool {
	g, n := t.place(p, hash(p))
	if g == nil {
		return false
	}
	if with(g.tags.Load(), empty) != 0 { // no search goes past this group anyway
		g.setTag(n, empty)
		t.used--
	} else {
		g.setTag(n, gone)
	}
	g.at[n].Store(nil)
	t.live--
	if size := t.groups.Load().slots(); size > groupSlots && t.live*sparseDen < size*sparseNum {
		t.rebuild(t.live, hash)
	}
	return true
}

// rebuild moves everything to new slots, enough for n things. Those who look at the old ones find what was there.
func (t *Table[T]) rebuild(n int, hash func(*T) uint64) *groups[T] {
	groups := &groups[T]{all: make([]group[T], n*freshDen/(groupSlots*freshNum)+1)}
	t.All(func(p *T) bool {
		put(groups, p, hash(p))
		return true
	})
	t.used = t.live
	t.groups.Store(groups)
	t.all = groups.all
	return groups
}

// All calls yield for everything that is in the table, until it returns false, and reports whether it never did. What is
// there throughout comes once; what is added or taken out meanwhile may come or not.
func (t *Table[T]) All(yield func(*T) bool) bool {
	groups := t.groups.Load()
	for i := range groups.slots() {
		if p := groups.all[i/groupSlots].at[i%groupSlots].Load(); p != nil && !yield(p) {
			return false
		}
	}
	return true
}

// Hashed is a thing in a table, with its hash.
type Hashed[T any] struct {
	Hash  uint64
	Thing *T
}

// Batches calls yield for what is in the table by the lowest 32 bits of the hashes: each batch comes before the next,
// and in itself has no order. The first batch is the one in which the hash from belongs, with things before and after
// that. What is in the table during the whole call comes once, even while others change the table. A batch is seldom
// more than some tens of things, and what stands before from is not looked at. It is valid, and the caller's to change,
// until yield returns.
func (t *Table[T]) Batches(from uint64, hash func(*T) uint64, yield func([]Hashed[T]) bool) {
	groups := t.groups.Load()
	if groups == nil {
		return
	}
	// A thing stands in the group that its hash names or behind it, and the groups in between have no empty slot. So from one
	// group with an empty slot to the next stand just the things whose hashes name those groups.
	var batch []Hashed[T]
	n := len(groups.all)
	begin := groups.first(from)
	for at := begin; begin < n && at < 2*n; at++ { // the last batch may go on in the first groups
		g := &groups.all[at%n]
		for i := range g.at {
			p := g.at[i].Load()
			if p == nil {
				continue
			}
			h := hash(p)
			if first := groups.first(h); begin <= first && first <= at { // not of the last batch, and not put here since
				batch = append(batch, Hashed[T]{h, p})
			}
		}
		if with(g.tags.Load(), empty) == 0 {
			continue
		}
		if len(batch) > 0 && !yield(batch) {
			return
		}
		batch, begin = batch[:0], at+1
	}
}

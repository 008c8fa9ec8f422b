package engine

import (
	"cmp"
	"slices"
	"sync"
)

// roster holds a loop's connections in the order in which they came. Any goroutine may go through it; the lock is held
// for a few hundred connections at a time.
type roster struct {
	mu     sync.Mutex
	blocks [][]*Conn // sorted by ID within and across blocks; no block is empty
}

// rosterBlock is the most connections in a block. At most so many are moved when a connection goes, or comes out of
// order.
const rosterBlock = 128

// find returns the block that the ID belongs to. r.mu is held on entry, and there is a block.
func (r *roster) find(id uint64) int {
	i, found := slices.BinarySearchFunc(r.blocks, id, func(b []*Conn, id uint64) int { return cmp.Compare(b[0].id, id) })
	if !found && i > 0 {
		i--
	}
	return i
}

func compareConn(c *Conn, id uint64) int { return cmp.Compare(c.id, id) }

func (r *roster) add(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.blocks) == 0 {
		r.blocks = append(r.blocks, []*Conn{c})
		return
	}
	i := r.find(c.id)
	b := r.blocks[i]
	j, _ := slices.BinarySearchFunc(b, c.id, compareConn)
	switch {
	case len(b) < rosterBlock:
		r.blocks[i] = slices.Insert(b, j, c)
	case j == len(b):
		r.blocks = slices.Insert(r.blocks, i+1, []*Conn{c})
	default:
		half := slices.Clone(b[len(b)/2:])
		clear(b[len(b)/2:])
		b = b[:len(b)/2]
		if j <= len(b) {
			b = slices.Insert(b, j, c)
		} else {
			half = slices.Insert(half, j-len(b), c)
		}
		r.blocks[i] = b
		r.blocks = slices.Insert(r.blocks, i+1, half)
	}
}

func (r *roster) remove(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.blocks) == 0 {
		return
	}
	i := r.find(c.id)
	j, found := slices.BinarySearchFunc(r.blocks[i], c.id, compareConn)
	if !found {
		return
	}
	b := slices.Delete(r.blocks[i], j, j+1)
	r.blocks[i] = b
	switch {
	case len(b) == 0:
		r.blocks = slices.Delete(r.blocks, i, i+1)
	case i+1 < len(r.blocks) && len(b)+len(r.blocks[i+1]) <= rosterBlock/2: // so that a few lasting connections do not keep many blocks
		r.blocks[i] = append(b, r.blocks[i+1]...)
		r.blocks = slices.Delete(r.blocks, i+1, i+2)
	case i > 0 && len(b)+len(r.blocks[i-1]) <= rosterBlock/2:
		r.blocks[i-1] = append(r.blocks[i-1], b...)
		r.blocks = slices.Delete(r.blocks, i, i+1)
	}
}

// after appends the next connections after id to some, a block at most. When it appends none there are no more.
func (r *roster) after(id uint64, some []*Conn) []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.blocks) == 0 {
		return some
	}
	for i := r.find(id); i < len(r.blocks); i++ {
		b := r.blocks[i]
		j, found := slices.BinarySearchFunc(b, id, compareConn)
		if found {
			j++
		}
		if j < len(b) {
			return append(some, b[j:]...)
		}
	}
	return some
}

package engine

import (
	"sync"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/protocol"
)

// connTable finds the open connections by ID.
type connTable struct {
	open   atomic.Int64 // places taken; one is taken before a connection is opened
	shards [64]connShard
}

type connShard struct {
	mu    sync.RWMutex
	conns map[uint64]*Conn
	_     [32]byte
}

func (t *connTable) init() {
	for i := range t.shards {
		t.shards[i].conns = make(map[uint64]*Conn)
	}
}

func (t *connTable) shard(id uint64) *connShard { return &t.shards[id%uint64(len(t.shards))] }

func (t *connTable) get(id uint64) *Conn {
	sh := t.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.conns[id]
}

// takePlace reports whether one more connection fits.
func (t *connTable) takePlace(limit int) bool {
	if t.open.Add(1) > int64(limit) {
		t.open.Add(-1)
		return false
	}
	return true
}

func (t *connTable) add(c *Conn) {
	sh := t.shard(c.id)
	sh.mu.Lock()
	sh.conns[c.id] = c
	sh.mu.Unlock()
}

// remove takes out a connection that has ended, and gives its places back.
func (t *connTable) remove(c *Conn) {
	c.engine.gate.leave(c.origin, c.code != protocol.ServerStopping)
	sh := t.shard(c.id)
	sh.mu.Lock()
	delete(sh.conns, c.id)
	sh.mu.Unlock()
	t.open.Add(-1)
}

// all returns the connections of the moment.
func (t *connTable) all() []*Conn {
	all := make([]*Conn, 0, t.open.Load())
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.RLock()
		for _, c := range sh.conns {
			all = append(all, c)
		}
		sh.mu.RUnlock()
	}
	return all
}

package engine

import (
	"sync"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/internal/table"
	"github.com/rollcall-go/rollcall/protocol"
)

// connTable finds the open connections by ID. A lookup takes no lock.
type connTable struct {
	_      cacheLine
	open   atomic.Int64 // places taken; one is taken before a connection is opened
	_      cacheLine
	shards [64]connShard
}

// cacheLine separates the fields that are written for each connection from those that are read for each message.
type cacheLine [64]byte

type connShard struct {
	mu    sync.Mutex // held to change conns
	conns table.Table[Conn]
	_     [8]byte // keeps neighbours' locks on other cache lines
}

func (c *Conn) hash() uint64 { return table.Scatter(c.id) }

func (t *connTable) shard(hash uint64) *connShard { return &t.shards[table.Shard(hash, len(t.shards))] }

func (t *connTable) get(id uint64) *Conn {
	hash := table.Scatter(id)
	return t.shard(hash).conns.Find(hash, func(c *Conn) bool { return c.id == id })
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
	sh := t.shard(c.hash())
	sh.mu.Lock()
	sh.conns.Add(c, (*Conn).hash)
	sh.mu.Unlock()
	c.loop.roster.add(c)
}

// remove removes a connection that has ended, and gives its places back.
func (t *connTable) remove(c *Conn) {
	c.engine.gate.leave(c.origin(), c.flapped())
	sh := t.shard(c.hash())
	sh.mu.Lock()
	sh.conns.Remove(c, (*Conn).hash)
	sh.mu.Unlock()
	c.loop.roster.remove(c)
	t.open.Add(-1)
}

// flapped reports whether the connection's end counts against its address. It does not count when the server, or
// another client of the same user, has ended the connection.
func (c *Conn) flapped() bool {
	switch c.code {
	case protocol.ServerStopping, protocol.PushedOut, protocol.AlreadyLoggedOn, protocol.KickedOut, protocol.SessionExpired,
		protocol.TokenExpired:
		return false
	}
	return !byPause(&c.loop.clock, c.code)
}

// all returns the connections that are open now.
func (t *connTable) all() []*Conn {
	all := make([]*Conn, 0, t.open.Load())
	for i := range t.shards {
		t.shards[i].conns.All(func(c *Conn) bool {
			all = append(all, c)
			return true
		})
	}
	return all
}

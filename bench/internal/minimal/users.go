//go:build linux

package minimal

import (
	"crypto/rand"
	"hash/maphash"
	"sync"
	"unicode/utf8"
)

// user is a user who is online. The lock of the user's shard protects all fields but the ID, which never changes.
type user struct {
	id      string
	current *Conn
	past    *past // nil for most
}

// past is what is known of a user besides the present session.
type past struct {
	since          int64 // when the user came online
	received, sent struct{ messages, bytes uint64 }
}

type sessionID [16]byte

// logOn binds a connection to the user of its first frame, and reports whether it has.
func (s *Server) logOn(c *Conn, in []byte) bool {
	id, need, ok := logonID(in)
	switch {
	case !ok || need == 0 && !utf8.Valid(id):
		c.Kick(codeUnauthorized)
		return false
	case need > 0:
		c.need = uint32(need)
		return false
	}
	_, _ = rand.Read(c.session[:]) // never fails
	c.since = s.clock.Load()
	c.active.Store(c.since)
	old := s.bind(c, string(id))
	s.sessions.put(c.session, c)
	s.conns.put(c.number, c)
	if old != nil {
		old.Kick(codePushedOut)
	}
	if s.onUser != nil {
		s.onUser(c)
	}
	return true
}

// bind makes a connection the user's, and returns the one before it.
func (s *Server) bind(c *Conn, id string) (old *Conn) {
	sh := s.users.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.m[id]
	if u == nil {
		u = &user{id: id}
		sh.m[id] = u
	}
	if old = u.current; old != nil {
		if u.past == nil {
			u.past = &past{since: old.since}
		}
		u.past.received.messages += old.received.messages.Load()
		u.past.received.bytes += old.received.bytes.Load()
		u.past.sent.messages += old.sent.messages.Load()
		u.past.sent.bytes += old.sent.bytes.Load()
	}
	u.current, c.user = c, u
	return old
}

// unbind forgets a connection that has ended.
func (s *Server) unbind(c *Conn) {
	s.watch.end(c)
	u := c.user
	if u == nil {
		return
	}
	s.sessions.remove(c.session)
	s.conns.remove(c.number)
	sh := s.users.shard(u.id)
	sh.mu.Lock()
	if u.current == c {
		delete(sh.m, u.id)
	}
	sh.mu.Unlock()
}

// User returns the connection of a user, or nil.
func (s *Server) User(id string) *Conn {
	sh := s.users.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if u := sh.m[id]; u != nil {
		return u.current
	}
	return nil
}

// table is a map in shards, each with a lock.
type table[K comparable, V any] struct {
	seed   maphash.Seed
	shards [64]shard[K, V]
}

type shard[K comparable, V any] struct {
	mu sync.RWMutex
	m  map[K]V
	_  [32]byte // neighbours' locks lie on other cache lines
}

func (t *table[K, V]) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.shards {
		t.shards[i].m = make(map[K]V)
	}
}

func (t *table[K, V]) shard(k K) *shard[K, V] {
	return &t.shards[maphash.Comparable(t.seed, k)%uint64(len(t.shards))]
}

func (t *table[K, V]) put(k K, v V) {
	sh := t.shard(k)
	sh.mu.Lock()
	sh.m[k] = v
	sh.mu.Unlock()
}

func (t *table[K, V]) remove(k K) {
	sh := t.shard(k)
	sh.mu.Lock()
	delete(sh.m, k)
	sh.mu.Unlock()
}

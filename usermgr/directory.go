package usermgr

import (
	"context"
	"hash/maphash"
	"iter"
	"sync"

	"github.com/google/uuid"
)

// shardCount spreads logons and lookups over many locks. A power of two.
const shardCount = 256

// directory finds users by ID.
type directory struct {
	seed   maphash.Seed
	shards [shardCount]userShard
}

type userShard struct {
	mu    sync.RWMutex
	users map[string]*user
	_     [32]byte // keeps neighbours' locks on other cache lines
}

func (d *directory) init() {
	d.seed = maphash.MakeSeed()
	for i := range d.shards {
		d.shards[i].users = make(map[string]*user)
	}
}

func (d *directory) shard(userID string) *userShard {
	return &d.shards[maphash.String(d.seed, userID)&(shardCount-1)]
}

func (d *directory) get(userID string) *user {
	sh := d.shard(userID)
	sh.mu.RLock()
	u := sh.users[userID]
	sh.mu.RUnlock()
	return u
}

// takeOrPost gives the caller the user's turn (mine) when nobody has it, and otherwise queues the change that wait
// returns. The user's entry is made if there is none. wait is called with locks held.
func (d *directory) takeOrPost(m *Manager, userID string, wait func() *change) (u *user, mine bool) {
	sh := d.shard(userID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u = sh.users[userID]
	if u == nil {
		u = &user{manager: m, id: userID}
		sh.users[userID] = u
	}
	u.mu.Lock() // under the shard's lock: removeIdle must not take the entry away in between
	defer u.mu.Unlock()
	if u.running {
		u.enqueue(wait())
		return u, false
	}
	u.running = true
	return u, true
}

// removeIdle takes a user out who has is not online and has no changes that wait.
func (d *directory) removeIdle(u *user) {
	sh := d.shard(u.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.running && !u.online && sh.users[u.id] == u {
		delete(sh.users, u.id)
	}
}

// all yields every entry. It copies a shard at a time, so that whoever ranges over it holds nobody up.
func (d *directory) all() iter.Seq[*user] {
	return func(yield func(*user) bool) {
		var batch []*user
		for i := range d.shards {
			sh := &d.shards[i]
			batch = batch[:0]
			sh.mu.RLock()
			for _, u := range sh.users {
				batch = append(batch, u)
			}
			sh.mu.RUnlock()
			for _, u := range batch {
				if !yield(u) {
					return
				}
			}
		}
	}
}

// drain waits until every turn has ended. Nobody logs on any more.
func (d *directory) drain(ctx context.Context) error {
	for {
		idle := true
		for u := range d.all() {
			idle = false
			reached := make(chan struct{})
			u.post(&change{run: func(*user) { close(reached) }})
			select {
			case <-reached:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if idle {
			return nil
		}
	}
}

// sessionIndex finds sessions by their ID and by their connection.
type sessionIndex struct {
	shards [shardCount]sessionShard
}

type sessionShard struct {
	mu     sync.RWMutex
	byID   map[uuid.UUID]*session
	byConn map[uint64]*session
	_      [24]byte
}

func (x *sessionIndex) init() {
	for i := range x.shards {
		x.shards[i].byID = make(map[uuid.UUID]*session)
		x.shards[i].byConn = make(map[uint64]*session)
	}
}

func (x *sessionIndex) idShard(id uuid.UUID) *sessionShard {
	return &x.shards[id[15]&(shardCount-1)] // the last byte of a version 7 UUID is random
}

func (x *sessionIndex) connShard(conn uint64) *sessionShard { return &x.shards[conn&(shardCount-1)] }

func (x *sessionIndex) add(s *session) {
	sh := x.idShard(s.id)
	sh.mu.Lock()
	sh.byID[s.id] = s
	sh.mu.Unlock()
	conn := s.link.Address().Conn
	sh = x.connShard(conn)
	sh.mu.Lock()
	sh.byConn[conn] = s
	sh.mu.Unlock()
}

func (x *sessionIndex) remove(s *session) {
	sh := x.idShard(s.id)
	sh.mu.Lock()
	delete(sh.byID, s.id)
	sh.mu.Unlock()
	conn := s.link.Address().Conn
	sh = x.connShard(conn)
	sh.mu.Lock()
	if sh.byConn[conn] == s { // one connection may carry one session after another
		delete(sh.byConn, conn)
	}
	sh.mu.Unlock()
}

func (x *sessionIndex) withID(sessionID string) *session {
	id, err := uuid.Parse(sessionID)
	if err != nil {
		return nil
	}
	sh := x.idShard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.byID[id]
}

func (x *sessionIndex) onConn(conn uint64) *session {
	sh := x.connShard(conn)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.byConn[conn]
}

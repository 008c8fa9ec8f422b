package usermgr

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"sync"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/table"
)

// shardCount is the number of shards, a power of two: it spreads logons over many locks.
const shardCount = 256

// shardOf returns the number of the shard for a hash.
func shardOf(hash uint64) int { return table.Shard(hash, shardCount) }

// directory finds users by ID. A look-up takes no lock: a read lock alone costs as much as a look-up in a sync.Map.
type directory struct {
	seed   maphash.Seed
	shards [shardCount]userShard
}

type userShard struct {
	mu    sync.Mutex // held to change users
	users table.Table[user]
	_     [8]byte // keeps neighbours' locks on other cache lines
}

func (d *directory) init() { d.seed = maphash.MakeSeed() }

// locate returns the shard of a user, and the hash that finds the user there.
func (d *directory) locate(userID string) (sh *userShard, hash uint64) {
	hash = d.hashOf(userID)
	return &d.shards[shardOf(hash)], hash
}

// hashOf returns the hash of an ID. It does not change while the manager lives: the order of pages depends on it.
func (d *directory) hashOf(userID string) uint64 { return maphash.String(d.seed, userID) }

func (d *directory) hash(u *user) uint64 { return d.hashOf(u.id) }

func (d *directory) get(userID string) *user {
	hash := d.hashOf(userID) // not by locate, which the compiler does not inline
	return d.shards[shardOf(hash)].users.Find(hash, func(u *user) bool { return u.id == userID })
}

// takeOrPost is for a logon: it gives the caller the user's turn when it is free, and then t is nil. Otherwise it
// queues t, a task that hands the turn over. It makes the user's entry if there is none.
func (d *directory) takeOrPost(m *Manager, userID string) (u *user, t *task, turn <-chan struct{}) {
	sh, hash := d.locate(userID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u = sh.users.Find(hash, func(u *user) bool { return u.id == userID })
	if u == nil {
		u = &user{manager: m, id: userID}
		sh.users.Add(u, d.hash)
	}
	u.mu.Lock() // under the shard's lock: removeIdle must not remove the entry in between
	defer u.mu.Unlock()
	u.logons++
	if u.running {
		t, turn = handOver()
		u.enqueue(t)
		return u, t, turn
	}
	u.running = true
	return u, nil, nil
}

// post queues a task of a user, who need not be online.
func (d *directory) post(m *Manager, userID string, t *task) {
	sh, hash := d.locate(userID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u := sh.users.Find(hash, func(u *user) bool { return u.id == userID })
	if u == nil {
		u = &user{manager: m, id: userID}
		sh.users.Add(u, d.hash)
	}
	u.post(t) // under the shard's lock: removeIdle must not remove the entry in between
}

// removeIdle removes the entry of a user who is not online and has no waiting tasks.
func (d *directory) removeIdle(u *user) {
	sh, _ := d.locate(u.id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.running && !u.online {
		sh.users.Remove(u, d.hash) // does nothing when it is removed already
	}
}

// all yields every entry. The iteration delays no other goroutine.
func (d *directory) all() iter.Seq[*user] {
	return func(yield func(*user) bool) {
		for i := range d.shards {
			if !d.shards[i].users.All(yield) {
				return
			}
		}
	}
}

// shardLen returns how many entries a shard has.
func (d *directory) shardLen(i int) int {
	sh := &d.shards[i]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.users.Len()
}

// shardUsers yields the entries of a shard. An entry that exists for the whole iteration is among them once.
func (d *directory) shardUsers(i int) iter.Seq[*user] {
	return func(yield func(*user) bool) { d.shards[i].users.All(yield) }
}

// batches yields the entries of a shard in batches: the batches are in the order of walk, the entries of one batch are
// not. It begins with the batch of the hash from. An entry that exists for the whole iteration is yielded once.
func (d *directory) batches(shard int, from uint64, yield func([]hashedUser) bool) {
	d.shards[shard].users.Batches(from, d.hash, yield)
}

// drain waits until every turn has ended. It is called when no logon comes any more.
func (d *directory) drain(ctx context.Context) error {
	for {
		idle := true
		for u := range d.all() {
			idle = false
			reached := make(chan struct{})
			u.post(soon(func(*user) { close(reached) }))
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

// sessionIndex finds sessions by their ID and by their connection. A look-up takes no lock.
type sessionIndex struct {
	shards [shardCount]sessionShard
}

type sessionShard struct {
	mu     sync.Mutex // held to change the tables
	byID   table.Table[session]
	byConn table.Table[session]
	_      [24]byte // keeps neighbours' locks on other cache lines
}

// The last eight bytes of a version 7 UUID are random, but for two bits. The connections' numbers follow one another.
func hashOfID(id uuid.UUID) uint64  { return table.Scatter(binary.BigEndian.Uint64(id[8:])) }
func hashOfConn(conn uint64) uint64 { return table.Scatter(conn) }
func hashByID(s *session) uint64    { return hashOfID(s.id) }
func hashByConn(s *session) uint64  { return hashOfConn(s.conn()) }

func (x *sessionIndex) shard(hash uint64) *sessionShard { return &x.shards[shardOf(hash)] }

func (x *sessionIndex) add(s *session) {
	sh := x.shard(hashOfID(s.id))
	sh.mu.Lock()
	sh.byID.Add(s, hashByID)
	sh.mu.Unlock()
	conn := s.conn()
	sh = x.shard(hashOfConn(conn))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if old := sh.onConn(conn); old != nil { // a connection may have one session after another
		sh.byConn.Replace(old, s, hashByConn)
	} else {
		sh.byConn.Add(s, hashByConn)
	}
}

func (x *sessionIndex) remove(s *session) {
	sh := x.shard(hashOfID(s.id))
	sh.mu.Lock()
	sh.byID.Remove(s, hashByID)
	sh.mu.Unlock()
	sh = x.shard(hashOfConn(s.conn()))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.byConn.Remove(s, hashByConn) // unless another session of the connection has taken its place
}

func (x *sessionIndex) withID(sessionID string) *session {
	id, err := uuid.Parse(sessionID)
	if err != nil {
		return nil
	}
	return x.find(id)
}

func (x *sessionIndex) find(id uuid.UUID) *session {
	hash := hashOfID(id)
	return x.shard(hash).byID.Find(hash, func(s *session) bool { return s.id == id })
}

func (x *sessionIndex) onConn(conn uint64) *session { return x.shard(hashOfConn(conn)).onConn(conn) }

func (sh *sessionShard) onConn(conn uint64) *session {
	return sh.byConn.Find(hashOfConn(conn), func(s *session) bool { return s.conn() == conn })
}

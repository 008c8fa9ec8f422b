package push

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

const outboxShards = 64

// outboxes has the outbox of every user who has one.
type outboxes struct {
	service *Service
	count   atomic.Int64
	shards  [outboxShards]struct {
		mu    sync.Mutex
		boxes map[string]*outbox
	}
}

var seed = maphash.MakeSeed()

func shardOf(user string) int { return int(maphash.String(seed, user) % outboxShards) }

// any reports whether any user has an outbox. In a program without acknowledgements that is seldom.
func (o *outboxes) any() bool { return o.count.Load() > 0 }

// find returns the user's outbox, or nil, and keeps it from being removed until release. With make it makes one if
// there is none.
func (o *outboxes) find(user string, make bool) *outbox {
	if !make && !o.any() {
		return nil
	}
	s := &o.shards[shardOf(user)]
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[user]
	if b == nil {
		if !make {
			return nil
		}
		b = &outbox{service: o.service, user: user}
		if s.boxes == nil {
			s.boxes = map[string]*outbox{}
		}
		s.boxes[user] = b
		o.count.Add(1)
	}
	b.refs++
	return b
}

// hold is find for a known outbox. It reports false when the outbox has been removed.
func (o *outboxes) hold(b *outbox) bool {
	s := &o.shards[shardOf(b.user)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boxes[b.user] != b {
		return false
	}
	b.refs++
	return true
}

// release ends the caller's use of an outbox after find or hold.
func (o *outboxes) release(b *outbox) {
	s := &o.shards[shardOf(b.user)]
	s.mu.Lock()
	defer s.mu.Unlock()
	b.refs--
	if b.refs == 0 && b.close() {
		delete(s.boxes, b.user)
		o.count.Add(-1)
	}
}

func (o *outboxes) all() (all []*outbox) {
	for i := range o.shards {
		s := &o.shards[i]
		s.mu.Lock()
		for _, b := range s.boxes {
			all = append(all, b)
		}
		s.mu.Unlock()
	}
	return all
}

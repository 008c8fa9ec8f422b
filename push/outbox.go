package push

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/engine"
)

// outbox has a user's messages that wait for an acknowledgement, kept or not, in the order of the calls. It exists
// while there are such messages, or while one is being sent.
type outbox struct {
	service *Service
	user    string // the ID that is bound to the connections
	refs    int    // the number of users of the outbox; protected by its shard

	mu      sync.Mutex
	turn    turn
	parcels []*parcel
	kept    int // the number of kept parcels
	bytes   int // of the kept parcels
	served  served
	told    bool                         // the Keeper knows that messages are kept
	watches map[*engine.Conn]func() bool // of the ends of the connections that were asked; each function stops one
}

// parcel is a message for one user.
type parcel struct {
	call *call
	box  *outbox
	// The outbox's lock protects the fields below.
	asks      []ask
	size      int  // what it counts towards the bounds
	kept      bool // if not, it is forgotten when its sessions have ended
	keptUntil time.Time
	sending   bool // it may get more asks
	answered  bool // one acknowledgement is enough, and has come
}

// served has the user's connections that have got the waiting messages. The turn writes it, under the outbox's lock.
type served struct {
	conns map[*engine.Conn]bool
	tidy  bool // all of them were the user's at the turn's last look-up
	work  int  // the number of checked connections, for the tests
}

// add adds c, and reports whether it is new. now has the user's connections. The first new one after a look-up makes
// add forget connections that are no longer the user's.
func (s *served) add(c *engine.Conn, now []*engine.Conn) bool {
	s.work++
	if s.conns[c] {
		return false
	}
	if !s.tidy {
		s.tidy = true
		were := s.conns
		s.conns = make(map[*engine.Conn]bool, len(now))
		for _, n := range now {
			if were[n] {
				s.conns[n] = true
			}
		}
		s.work += len(now)
	}
	s.conns[c] = true
	return true
}

// isLost reports whether a kept message waits for a session that has ended. b.mu is held on entry.
func (p *parcel) isLost() bool {
	return p.kept && !p.answered && p.find(func(a *ask) bool { return a.open() && !a.extra && a.ended() }) != nil
}

// overhead is the number of bytes that a kept message counts besides its body.
const overhead = 256

// accept adds a parcel behind the others, or returns an error. b.mu is held on entry.
func (b *outbox) accept(c *call) (*parcel, error) {
	s := b.service
	if s.closed.Load() {
		return nil, errClosed
	}
	if len(b.parcels) >= s.cfg.MaxMessages {
		s.refused.Add(1)
		return nil, errFull
	}
	p := &parcel{call: c, box: b, sending: true}
	if n := len(c.frame.Body) + overhead; c.keep > 0 {
		if b.bytes+n <= s.cfg.MaxBytes && s.kept.take(n) {
			p.kept, p.size, p.keptUntil = true, n, time.Now().Add(c.keep)
			b.kept++
			b.bytes += n
		} else {
			s.refused.Add(1)
		}
	}
	b.parcels = append(b.parcels, p)
	s.waiting.Add(1)
	c.mu.Lock()
	c.parcels = append(c.parcels, p)
	c.mu.Unlock()
	return p, nil
}

// forget removes a parcel that waits for nothing any more. b.mu is held on entry.
func (b *outbox) forget(p *parcel) {
	if p.sending || slices.ContainsFunc(p.asks, func(a ask) bool { return !a.over && !a.extra }) {
		return
	}
	i := slices.Index(b.parcels, p)
	if i < 0 {
		return
	}
	b.parcels = slices.Delete(b.parcels, i, i+1)
	b.service.waiting.Add(-1)
	b.unkeep(p)
}

// unkeep gives back the room of a kept parcel. b.mu is held on entry.
func (b *outbox) unkeep(p *parcel) {
	if p.kept {
		p.kept = false
		b.kept--
		b.bytes -= p.size
		b.service.kept.giveBack(p.size)
		if b.kept == 0 {
			b.tellNothing()
		}
	}
}

// watch returns a connection's context, and makes its end call ended. b.mu is held on entry.
func (b *outbox) watch(c *engine.Conn) context.Context {
	ctx := c.Context()
	if b.watches[c] == nil {
		if b.watches == nil {
			b.watches = make(map[*engine.Conn]func() bool)
		}
		b.watches[c] = context.AfterFunc(ctx, func() { b.ended(c) })
	}
	return ctx
}

// ended is called when a connection begins to close.
func (b *outbox) ended(c *engine.Conn) {
	b.mu.Lock()
	delete(b.watches, c)
	for _, p := range slices.Clone(b.parcels) {
		if !p.sending {
			b.look(p)
		}
	}
	lost := slices.ContainsFunc(b.parcels, (*parcel).isLost)
	b.mu.Unlock()
	if lost { // the client may come back on another node
		b.tellKept()
	}
	b.tidy()
}

// sent is called when a parcel gets no more asks from its call.
func (b *outbox) sent(p *parcel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.sending = false
	b.look(p)
	switch c := p.call; {
	case b.service.closed.Load():
		b.settleAll(p, errClosed)
	case c.isOver():
		b.settleAll(p, c.expired())
	}
}

// end gives up on a parcel.
func (b *outbox) end(p *parcel, err error) {
	b.mu.Lock()
	b.settleAll(p, err)
	b.mu.Unlock()
	b.tidy()
}

// abandon gives up on a parcel of Push, unless it is kept.
func (b *outbox) abandon(p *parcel) {
	b.mu.Lock()
	if !p.kept {
		b.settleAll(p, nil)
	}
	b.mu.Unlock()
	b.tidy()
}

// giveUp ends all parcels, because the service is closed.
func (b *outbox) giveUp() {
	b.mu.Lock()
	for _, p := range slices.Clone(b.parcels) {
		b.settleAll(p, errClosed)
	}
	b.mu.Unlock()
	b.tidy()
}

// tidy removes the outbox when it is empty.
func (b *outbox) tidy() {
	if o := &b.service.outboxes; o.hold(b) {
		o.release(b)
	}
}

// close reports whether the outbox is empty; if so, it ends the watches. The shard is locked, and no goroutine uses the
// outbox.
func (b *outbox) close() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.turn.busy || len(b.parcels) > 0 {
		return false
	}
	for _, stop := range b.watches {
		stop()
	}
	b.watches = nil
	return true
}

// bound counts the bytes of all users' kept messages.
type bound struct {
	limit           int64
	messages, bytes atomic.Int64
}

// take takes room for a message, and reports whether there was enough.
func (b *bound) take(n int) bool {
	if b.bytes.Add(int64(n)) > b.limit {
		b.bytes.Add(-int64(n))
		return false
	}
	b.messages.Add(1)
	return true
}

func (b *bound) giveBack(n int) {
	b.bytes.Add(-int64(n))
	b.messages.Add(-1)
}

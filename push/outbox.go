package push

import (
	"context"
	"slices"
	"sync"

	"github.com/rollcall-go/rollcall/engine"
)

// outbox has a user's messages that wait for an acknowledgement, kept or not, in the order of the calls. It exists while there
// are any, or while one is being sent.
type outbox struct {
	service *Service
	user    string // as bound to the connections
	refs    int    // of those who use it; guarded by its shard

	mu      sync.Mutex
	turn    turn
	parcels []*parcel
	kept    int // of these, those that are kept
	bytes   int // which those take
	served  served
	watches map[*engine.Conn]func() bool // over the ends of the connections that were asked; each stops one
}

// parcel is a message for one user.
type parcel struct {
	call *call
	box  *outbox
	// All that follows is guarded by the outbox.
	asks     []ask
	size     int  // what it takes of the bounds
	kept     bool // otherwise it is forgotten with its sessions
	sending  bool // it may get more asks
	answered bool // one acknowledgement was enough, and is there
}

// served has those of a user's connections that have got what waited for them. The turn writes it, under the outbox's lock.
type served struct {
	conns map[*engine.Conn]bool
	tidy  bool // all of them were the user's when the turn looked last
	work  int  // connections that were looked at, for the tests
}

// add adds c, and reports whether it is new. now are the user's connections: others are forgotten when the first that is new
// is added after the turn has looked at them.
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

// overhead is what a kept message counts besides its body.
const overhead = 256

// accept takes a parcel in behind the others. An error says why not. b.mu is held on entry.
func (b *outbox) accept(c *call) (*parcel, error) {
	s := b.service
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if len(b.parcels) >= s.cfg.MaxMessages {
		s.refused.Add(1)
		return nil, ErrFull
	}
	p := &parcel{call: c, box: b, sending: true}
	if n := len(c.frame.Body) + overhead; c.keep > 0 {
		if b.bytes+n <= s.cfg.MaxBytes && s.kept.take(n) {
			p.kept, p.size = true, n
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

// forget takes a parcel out of which nothing is awaited any more. b.mu is held on entry.
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

// unkeep gives the room back that a kept parcel takes. b.mu is held on entry.
func (b *outbox) unkeep(p *parcel) {
	if p.kept {
		p.kept = false
		b.kept--
		b.bytes -= p.size
		b.service.kept.giveBack(p.size)
	}
}

// watch returns a connection's context, and sees to it that its end is noticed. b.mu is held on entry.
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

// ended says that a connection begins to close.
func (b *outbox) ended(c *engine.Conn) {
	b.mu.Lock()
	delete(b.watches, c)
	for _, p := range slices.Clone(b.parcels) {
		if !p.sending {
			b.look(p)
		}
	}
	b.mu.Unlock()
	b.tidy()
}

// sent says that a parcel gets no more asks from its call.
func (b *outbox) sent(p *parcel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.sending = false
	b.look(p)
	switch c := p.call; {
	case b.service.closed.Load():
		b.settleAll(p, ErrClosed)
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

// giveUp ends all that waits: the service is closed.
func (b *outbox) giveUp() {
	b.mu.Lock()
	for _, p := range slices.Clone(b.parcels) {
		b.settleAll(p, ErrClosed)
	}
	b.mu.Unlock()
	b.tidy()
}

// tidy takes the outbox away when it is empty.
func (b *outbox) tidy() {
	if o := &b.service.outboxes; o.hold(b) {
		o.release(b)
	}
}

// close reports whether the outbox is empty, and ends its watches then. Its shard is locked, and no goroutine uses it.
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

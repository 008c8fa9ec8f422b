package push

import (
	"errors"
	"slices"

	"github.com/rollcall-go/rollcall/engine"
)

// turn runs a user's operations one at a time: messages to the user, and sessions that have begun. A caller that finds
// the turn free runs its operation itself; operations that come meanwhile get a goroutine. Only Push waits, for its own
// operation.
type turn struct {
	busy    bool
	waiting []*operation
}

// operation is one message for the user, or the beginning of a session.
type operation struct {
	call  *call          // nil when a session has begun
	conns []*engine.Conn // only for these sessions; nil means all
	done  chan struct{}  // closed when it has been run
}

// do runs an operation, or leaves it to the running goroutine. The caller has found the outbox, and must not use it
// afterwards.
func (b *outbox) do(o *operation) {
	if o.call != nil {
		o.call.hold()
	}
	b.mu.Lock()
	if b.turn.busy {
		b.turn.waiting = append(b.turn.waiting, o)
		b.mu.Unlock()
		return
	}
	b.turn.busy = true
	b.mu.Unlock()
	defer b.passOn()
	b.run(o)
}

// passOn ends the turn, or passes it to a goroutine.
func (b *outbox) passOn() {
	b.mu.Lock()
	more := len(b.turn.waiting) > 0
	b.turn.busy = more
	b.mu.Unlock()
	if more {
		b.service.crew.start(b.takeTurns)
		return
	}
	b.tidy()
}

// takeTurns is the goroutine of the turn.
func (b *outbox) takeTurns() {
	defer b.passOn() // also when a user manager of the application ends the goroutine
	for o := b.next(); o != nil; o = b.next() {
		b.run(o)
	}
}

// next returns the operation whose turn it is, or nil.
func (b *outbox) next() *operation {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.turn.waiting) == 0 {
		return nil
	}
	o := b.turn.waiting[0]
	b.turn.waiting = slices.Delete(b.turn.waiting, 0, 1)
	return o
}

// run runs an operation. It has the turn.
func (b *outbox) run(o *operation) {
	defer b.service.outboxes.release(b)
	if o.call == nil {
		b.service.ask(nil, b.serveAll)
		return
	}
	defer func() {
		o.call.release()
		if o.done != nil {
			close(o.done)
		}
	}()
	b.service.ask(o.call, func() { b.deliver(o.call, o.conns) })
}

// serveAll hands the waiting messages to the user's sessions.
func (b *outbox) serveAll() {
	now := b.conns()
	for _, c := range now {
		b.serve(c, now, nil)
	}
}

// conns returns the user's connections. It has the turn.
func (b *outbox) conns() []*engine.Conn {
	b.mu.Lock()
	b.served.tidy = false
	b.mu.Unlock()
	return slices.Collect(b.service.bridge.ConnsOf(b.user))
}

// serve hands a connection the kept messages that were not acknowledged. It does so once, when the connection is new,
// because then it has got no newer message. now has the user's connections. Parcels from before on are newer, and are
// left out.
func (b *outbox) serve(c *engine.Conn, now []*engine.Conn, before *parcel) {
	b.mu.Lock()
	if !b.served.add(c, now) {
		b.mu.Unlock()
		return
	}
	var due []*parcel
	for _, p := range b.parcels {
		if p == before {
			break
		}
		if p.kept && !p.answered {
			due = append(due, p)
		}
	}
	b.mu.Unlock()
	for _, p := range due {
		if !b.again(p, c, now) {
			return
		}
	}
}

// again hands a kept message to one more connection, in place of one that has ended or in addition to those that live.
// It returns false when the connection takes no more messages.
func (b *outbox) again(p *parcel, c *engine.Conn, now []*engine.Conn) (open bool) {
	device := b.service.device(c)
	b.mu.Lock()
	if !p.kept || p.on(c) != nil || p.find(func(a *ask) bool { return p.fits(a, device) }) == nil {
		b.mu.Unlock()
		return true
	}
	switch gone, lost := p.gone(now, device), p.lost(now, device); {
	case gone != nil: // c may be the client that has acknowledged the message; then it drops this one
		b.move(gone, c, device)
	case lost != nil:
		b.move(lost, c, device)
	default:
		p.asks = append(p.asks, ask{extra: true})
		b.move(&p.asks[len(p.asks)-1], c, device)
	}
	b.mu.Unlock()
	b.service.again.Add(1)
	err := c.SendMessage(&p.call.frame, nil)
	if err == nil {
		return true
	}
	closed := errors.Is(err, engine.ErrClosed)
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := p.on(c); a != nil && a.open() {
		a.conn, a.ctx = nil, nil
		if !closed {
			b.settle(p, a, err)
			b.forget(p)
		}
	}
	return !closed
}

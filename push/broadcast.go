package push

import (
	"errors"
	"iter"

	"github.com/rollcall-go/rollcall/engine"
)

// broadcast sends to many connections at once, each with its user. For a user with kept messages (this one may be kept
// too) it queues the message behind those, after the others have got it.
func (s *Service) broadcast(c *call, to iter.Seq2[*engine.Conn, string]) {
	r := &broadcast{service: s, call: c}
	r.direct(to)
	for _, user := range r.users {
		s.sendTo(c, user, r.later[user])
	}
}

// direct sends to all users without kept messages.
func (r *broadcast) direct(to iter.Seq2[*engine.Conn, string]) {
	c := r.call
	defer r.finish()
	var parcel *parcel // of the connection that was taken last
	conns := func(yield func(*engine.Conn) bool) {
		for cn, user := range to {
			p, direct := r.take(cn, user)
			if !direct {
				continue
			}
			parcel = p
			if !yield(cn) {
				return
			}
		}
	}
	// The error is not needed: each delivery has its own.
	_, _ = r.service.bridge.Engine().Broadcast(conns, &c.frame, &engine.SendOptions{Report: func(cn *engine.Conn, why error) {
		if errors.Is(why, engine.ErrClosed) && cn.SendMessage(&c.frame, nil) == nil {
			return // it is being let in: the message goes out after the answer to the logon
		}
		r.missed(cn, parcel, why)
	}})
}

// broadcast is one message on its way to many connections.
type broadcast struct {
	service *Service
	call    *call
	parcels []*parcel                 // of this broadcast
	users   []string                  // users with kept messages
	later   map[string][]*engine.Conn // the connections of these users that the message goes to; nil means all
}

// take notes that the message goes to a connection; direct is false when it must go later. The parcel is nil when no
// acknowledgement is asked for.
func (r *broadcast) take(conn *engine.Conn, user string) (p *parcel, direct bool) {
	s, c := r.service, r.call
	if c.keep > 0 {
		r.wait(conn, user)
		return nil, false
	}
	b := s.outboxes.find(user, c.tracked())
	if b == nil {
		c.deliveries = append(c.deliveries, Delivery{UserID: user, Conn: conn.ID(), Device: s.device(conn)})
		return nil, true
	}
	defer s.outboxes.release(b)
	device := s.device(conn)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.turn.busy || b.kept > 0 {
		r.wait(conn, user)
		return nil, false
	}
	if !c.tracked() {
		c.deliveries = append(c.deliveries, Delivery{UserID: user, Conn: conn.ID(), Device: device})
		return nil, true
	}
	own := b.last(c)
	if own == nil {
		var err error
		if own, err = b.accept(c); err != nil {
			c.note(Delivery{UserID: user, Conn: conn.ID(), Device: device, Err: err})
			return nil, false
		}
		r.parcels = append(r.parcels, own)
	}
	b.ask(own, conn, device)
	return own, true
}

func (r *broadcast) wait(conn *engine.Conn, user string) {
	if r.later == nil {
		r.later = map[string][]*engine.Conn{}
	}
	conns, known := r.later[user]
	if !known {
		r.users = append(r.users, user)
	}
	if r.call.keep == 0 || r.call.sameDevice { // what is kept for everyone goes to sessions that are being let in, too
		conns = append(conns, conn)
	}
	r.later[user] = conns
}

// last returns the call's parcel, if it has one. b.mu is held on entry.
func (b *outbox) last(c *call) *parcel {
	for i := len(b.parcels) - 1; i >= 0; i-- {
		if p := b.parcels[i]; p.call == c {
			return p
		}
	}
	return nil
}

// missed is called when the connection that was taken last did not get the message.
func (r *broadcast) missed(conn *engine.Conn, p *parcel, why error) {
	c := r.call
	closed := errors.Is(why, engine.ErrClosed)
	if p == nil {
		if d := &c.deliveries[len(c.deliveries)-1]; closed {
			d.Conn, d.Device, d.Err = 0, 0, errOffline
		} else {
			d.Err = why
		}
		return
	}
	b := p.box
	b.mu.Lock()
	defer b.mu.Unlock()
	a := p.on(conn)
	switch {
	case a == nil || a.over:
	case closed:
		a.conn = nil
		b.settle(p, a, errOffline)
	default:
		b.settle(p, a, why)
	}
}

// finish is called when the direct sends are done.
func (r *broadcast) finish() {
	for _, p := range r.parcels {
		p.box.sent(p)
		p.box.tidy()
	}
}

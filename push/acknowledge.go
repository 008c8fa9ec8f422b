package push

import (
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// acknowledged is the handler of PushAck.
func (s *Service) acknowledged(c *engine.Conn, m *protocol.Message) error {
	id, err := protocol.ParsePushAck(m.Body)
	if err != nil {
		c.Close(&protocol.CloseError{Code: protocol.InvalidMessage, Text: err.Error()})
		return nil
	}
	b := s.outboxes.find(c.UserID(), false)
	if b == nil {
		return nil
	}
	defer s.outboxes.release(b)
	b.acknowledge(c, id)
	return nil
}

// acknowledge says that c has acknowledged a message. That counts for c itself; and in each call in which c was not asked,
// for one of its user's connections that were and have ended since: the client has lost that one, and come back by c. Where
// one of c's device class that has acknowledged already has ended since, c may be that client, and nothing is counted: too
// few is better than too many.
func (b *outbox) acknowledge(c *engine.Conn, id uuid.UUID) {
	device := b.service.device(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	var meant []*parcel
	for _, p := range b.parcels {
		if p.call.message.ID == id {
			meant = append(meant, p)
		}
	}
	for _, p := range meant {
		if a := p.on(c); a != nil {
			if a.open() {
				b.confirm(p, a)
			}
			continue
		}
		if a := p.gone(device); a != nil {
			b.move(a, c, device)
			continue
		}
		if a := p.lost(nil, device); a != nil {
			b.move(a, c, device)
			b.confirm(p, a)
		}
	}
}

// on returns the ask on a connection, or nil.
func (p *parcel) on(c *engine.Conn) *ask {
	return p.find(func(a *ask) bool { return a.conn == c && c != nil })
}

// gone returns an ask that was acknowledged on a connection of a device class that has ended since, or nil.
func (p *parcel) gone(device uint16) *ask {
	return p.find(func(a *ask) bool { return a.confirmed && a.ended() && a.device == device })
}

// fits reports whether a session of a device class may take an ask over.
func (p *parcel) fits(a *ask, device uint16) bool { return !p.call.sameDevice || a.device == device }

// lost returns an ask that a session of a device class may take over, or nil: its connection has ended, or is not among those
// that the user has now, unless that is nil. Those that have a delivery come first, and of them those of that class.
func (p *parcel) lost(now []*engine.Conn, device uint16) *ask {
	lost := func(a *ask) bool {
		return a.open() && (a.ended() || now != nil && !slices.Contains(now, a.conn)) && p.fits(a, device)
	}
	for _, rank := range []func(*ask) bool{
		func(a *ask) bool { return !a.extra && a.device == device },
		func(a *ask) bool { return !a.extra },
		func(a *ask) bool { return true },
	} {
		if a := p.find(func(a *ask) bool { return lost(a) && rank(a) }); a != nil {
			return a
		}
	}
	return nil
}

// spare returns an extra ask that can take the place of one that has ended, or nil.
func (p *parcel) spare() *ask {
	return p.find(func(a *ask) bool { return a.extra && !a.over && (a.confirmed || !a.ended()) })
}

func (p *parcel) find(is func(*ask) bool) *ask {
	for i := range p.asks {
		if is(&p.asks[i]) {
			return &p.asks[i]
		}
	}
	return nil
}

// move makes an ask that of another connection. b.mu is held on entry.
func (b *outbox) move(a *ask, to *engine.Conn, device uint16) {
	a.conn, a.device, a.ctx = to, device, b.watch(to)
}

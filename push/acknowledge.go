package push

import (
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// acknowledged is the handler of PushAck.
func (s *Service) acknowledged(c *engine.Conn, m *protocol.Message) error {
	id, err := system.ParsePushAck(m.Body)
	if err != nil {
		c.Close(&protocol.CloseError{Code: protocol.InvalidMessage, Text: err.Error()})
		return nil
	}
	asked := false
	if b := s.outboxes.find(c.UserID(), false); b != nil {
		asked = b.acknowledge(c, id)
		s.outboxes.release(b)
	}
	if k := s.keeper.Load(); k != nil && !asked {
		(*k).Unasked(c.UserID(), c.ID(), s.device(c), id)
	}
	return nil
}

// acknowledge is called when c has acknowledged a message. It counts for c; in each call in which c was not asked it
// counts for another session: see confirmForAnother. It reports false when it counts for no session.
func (b *outbox) acknowledge(c *engine.Conn, id uuid.UUID) (asked bool) {
	asked, others := b.confirmOn(c, id)
	if !others {
		return asked
	}
	now := slices.Collect(b.service.bridge.ConnsOf(b.user)) // it calls the user manager: no lock is held
	return b.confirmForAnother(c, id, now) || asked
}

// confirmOn confirms a message in the calls in which c was asked. others says that there are other calls of the message.
func (b *outbox) confirmOn(c *engine.Conn, id uuid.UUID) (asked, others bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.with(id) {
		a := p.on(c)
		if a == nil {
			others = true
			continue
		}
		asked = true
		if a.open() {
			b.confirm(p, a)
		}
	}
	return asked, others
}

// confirmForAnother confirms a message in each call in which c was not asked. It counts for a session of the user that
// was asked and has ended since: the client has lost that one, and has come back on c. When a session of c's device
// class has acknowledged already and has ended since, c may be that client, and nothing is counted: too few is better
// than too many. now has the user's connections. It reports false when there was no such session.
func (b *outbox) confirmForAnother(c *engine.Conn, id uuid.UUID, now []*engine.Conn) (found bool) {
	device := b.service.device(c)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.with(id) {
		if p.on(c) != nil { // confirmed already, or asked since: then its client acknowledges again
			continue
		}
		if a := p.gone(now, device); a != nil {
			b.move(a, c, device)
			found = true
		} else if a := p.lost(now, device); a != nil {
			b.move(a, c, device)
			b.confirm(p, a)
			found = true
		}
	}
	return found
}

// with returns the parcels of a message. b.mu is held on entry.
func (b *outbox) with(id uuid.UUID) (all []*parcel) {
	for _, p := range b.parcels {
		if p.call.message.ID == id {
			all = append(all, p)
		}
	}
	return all
}

// on returns the ask on a connection; nil if there is none.
func (p *parcel) on(c *engine.Conn) *ask {
	return p.find(func(a *ask) bool { return a.conn == c && c != nil })
}

// left reports whether the asked session has ended: its connection has ended, or another session has taken its place,
// so that the connection is no longer one of the user's.
func (a *ask) left(now []*engine.Conn) bool { return a.ended() || !slices.Contains(now, a.conn) }

// gone returns an ask that a session of this device class has acknowledged, which has ended since; nil if there is
// none. Of a session on another engine it is not known that it has ended.
func (p *parcel) gone(now []*engine.Conn, device uint16) *ask {
	return p.find(func(a *ask) bool {
		return a.confirmed && a.device == device && a.elsewhere == (uuid.UUID{}) && a.left(now)
	})
}

// fits reports whether a session of a device class may take an ask over.
func (p *parcel) fits(a *ask, device uint16) bool { return !p.call.sameDevice || a.device == device }

// lost returns an ask that a session of this device class may take over, because its own session has ended; nil if
// there is none. It prefers asks with a delivery, and of these the asks of the same class.
func (p *parcel) lost(now []*engine.Conn, device uint16) *ask {
	lost := func(a *ask) bool { return a.open() && p.fits(a, device) && a.left(now) }
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

// spare returns an extra ask that can take the place of one that has ended; nil if there is none.
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

// move moves an ask to another connection. b.mu is held on entry.
func (b *outbox) move(a *ask, to *engine.Conn, device uint16) {
	a.conn, a.device, a.ctx, a.elsewhere = to, device, b.watch(to), uuid.UUID{}
}

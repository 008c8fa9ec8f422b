package push

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// ask asks one session to acknowledge a message.
type ask struct {
	conn      *engine.Conn    // that got the message last, or has acknowledged it; nil for none
	ctx       context.Context // the connection's
	device    uint16
	index     int  // of the delivery
	over      bool // the outcome is known
	confirmed bool
	waived    bool      // Push does not wait for it
	elsewhere uuid.UUID // the session on another engine that has confirmed it; zero for none
	// extra means that there is no delivery: the session began while the message was on its way to another one. The ask
	// takes the place of the other session's ask when that session has ended.
	extra bool
}

// open reports whether the outcome is still to come.
func (a *ask) open() bool { return !a.over && !a.confirmed }

// ended reports whether the ask has no connection, or one that is closing.
func (a *ask) ended() bool { return a.conn == nil || a.ctx.Err() != nil }

// ask adds an ask, before the message is sent: the acknowledgement may come at once. conn is nil for a user without a
// session. b.mu is held on entry.
func (b *outbox) ask(p *parcel, conn *engine.Conn, device uint16) {
	a := ask{conn: conn, device: device, waived: !p.call.async && (!p.call.confirm || conn == nil)}
	if conn != nil {
		a.ctx = b.watch(conn)
	}
	a.index = p.call.ask(b.delivery(&a), !a.waived)
	p.asks = append(p.asks, a)
	if p.answered {
		b.settle(p, &p.asks[len(p.asks)-1], nil)
	}
}

// retract removes the ask on conn, because the message was not handed over. b.mu is held on entry.
func (b *outbox) retract(p *parcel, conn *engine.Conn) {
	i := len(p.asks) - 1 // it is one of the last
	for i >= 0 && (p.asks[i].conn != conn || !p.asks[i].open() || p.asks[i].extra) {
		i--
	}
	if i < 0 {
		return
	}
	a := p.asks[i]
	p.asks = slices.Delete(p.asks, i, i+1)
	p.call.retract(a.index, !a.waived)
}

// delivery describes an ask. b.mu is held on entry.
func (b *outbox) delivery(a *ask) Delivery {
	d := Delivery{UserID: b.user, Confirmed: a.confirmed}
	if a.conn != nil {
		d.Conn, d.Device = a.conn.ID(), a.device
	} else if a.confirmed {
		d.Device = a.device
	}
	return d
}

// settle ends an ask. b.mu is held on entry.
func (b *outbox) settle(p *parcel, a *ask, err error) {
	if a.over || a.extra {
		return
	}
	a.over = true
	d := b.delivery(a)
	d.Err = err
	switch {
	case a.confirmed:
		b.service.confirmed.Add(1)
	case errors.Is(err, errExpired):
		b.service.expiries.Add(1)
		fallthrough
	default:
		b.service.unconfirmed.Add(1)
	}
	p.call.settle(a.index, d, !a.waived)
}

// settleAll ends all asks of a parcel. b.mu is held on entry.
func (b *outbox) settleAll(p *parcel, err error) {
	for i := range p.asks {
		b.settle(p, &p.asks[i], err)
	}
	b.forget(p)
}

// confirm notes that a was acknowledged. b.mu is held on entry.
func (b *outbox) confirm(p *parcel, a *ask) {
	a.confirmed = true
	if a.extra {
		for i := range p.asks {
			if r := &p.asks[i]; !r.extra && r.open() && (p.call.first || r.ended()) {
				b.replace(p, r, a)
				return
			}
		}
		return // it counts when another ask ends
	}
	b.settle(p, a, nil)
	if p.call.first {
		p.answered = true
		b.settleAll(p, nil)
		return
	}
	b.forget(p)
}

// replace puts an extra ask in the place of one that has a delivery. b.mu is held on entry.
func (b *outbox) replace(p *parcel, a, extra *ask) {
	a.conn, a.ctx, a.device, a.elsewhere = extra.conn, extra.ctx, extra.device, extra.elsewhere
	confirmed := extra.confirmed
	extra.over, extra.confirmed, extra.conn, extra.ctx, extra.elsewhere = true, false, nil, nil, uuid.UUID{} // it stays, without an effect
	if confirmed {
		b.confirm(p, a)
	}
}

// look ends the asks of a parcel whose connections have ended for good. b.mu is held on entry.
func (b *outbox) look(p *parcel) {
	for i := range p.asks {
		a := &p.asks[i]
		if a.extra || !a.open() || a.conn == nil || !a.ended() {
			continue
		}
		if extra := p.spare(); extra != nil {
			b.replace(p, a, extra)
			continue
		}
		forGood := !mayComeBack(context.Cause(a.ctx))
		switch {
		case !p.kept && p.call.keep > 0:
			b.settle(p, a, errFull)
		case !p.kept && forGood:
			b.settle(p, a, nil)
		case p.call.follow: // it goes to the next session from where it is kept
			b.settle(p, a, seam.ErrLost)
		case p.kept && forGood && !p.call.async && !a.waived:
			a.waived = true
			p.call.release()
		}
	}
	b.forget(p)
}

// mayComeBack reports whether the client whose connection ended with this error may log on again by itself. One that was
// pushed out may have done so already: servers often hear of a lost connection by the next one.
func mayComeBack(why error) bool {
	var ce *protocol.CloseError
	if !codes.As(why, &ce) {
		return false
	}
	switch ce.Code {
	case protocol.ClientClosed, protocol.ServerStopping:
		return false
	case protocol.PushedOut:
		return true
	}
	return ce.Code.MayReconnect()
}

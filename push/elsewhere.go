package push

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// A user whom a message is kept for may log on at another node of a cluster. So the service tells its Keeper, the node, which users it
// keeps messages for; and the node of the other server asks for them, when the user is there.

func init() {
	seam.KeptOf = func(service any, k seam.Keeper) seam.Kept {
		s := service.(*Service)
		s.keeper.Store(&k)
		return seam.Kept{Left: s.keptFor, Tell: s.tellKept, Messages: s.keptMessages, Confirm: s.confirmElsewhere, Deliver: s.deliverKept}
	}
	seam.PushHere = func(ctx context.Context, s *Service, to Target, m *Message, o *Options, follow bool) (Result, error) {
		c, err := s.newCall(&to, m, o)
		if err != nil {
			return Result{ID: m.ID}, err
		}
		c.follow = follow
		return s.run(ctx, c, to, nil)
	}
}

// miss notes that a push to all of the user's sessions has found none. A pusher may ask for that.
func (c *call) miss(user string) {
	if c.only != nil || c.service.keeper.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.missed == nil {
		c.missed = make(map[string]bool)
	}
	c.missed[user] = true
}

// Missed implements seam.Pushing.
func (c *call) Missed(user string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missed[user]
}

// IsKept implements seam.Pushing.
func (c *call) IsKept() bool { return c.keep > 0 }

// Lost implements seam.Pushing. Push waits for the user's next session, as it does for that of a user who was here.
func (c *call) Lost(user string) {
	c.mu.Lock()
	wait := !c.async && c.confirm
	parcels := slices.Clone(c.parcels)
	c.mu.Unlock()
	for _, p := range parcels {
		if b := p.box; wait && b.user == user {
			b.mu.Lock()
			if a := p.find(func(a *ask) bool { return a.waived && a.open() && !a.extra }); a != nil {
				a.waived = false
				c.hold()
			}
			b.mu.Unlock()
		}
	}
}

// away is called for a message that is kept for a user who has no session. The Keeper is told when the pushers have returned: one of
// them may have delivered the message.
func (c *call) away(b *outbox) {
	if c.service.keeper.Load() == nil {
		return
	}
	c.mu.Lock()
	waits := c.pushing > 0
	if waits {
		c.absent = append(c.absent, b.user)
	}
	c.mu.Unlock()
	if !waits {
		b.tellKept()
	}
}

// pushed is called when a pusher has returned. The confirmations that came while pushers were at work count when the last one has.
func (c *call) pushed() {
	c.mu.Lock()
	var absent []string
	c.pushing--
	last := c.pushing == 0
	if last {
		absent, c.absent = c.absent, nil
	}
	c.mu.Unlock()
	if last {
		c.countEarly()
	}
	for _, user := range absent {
		c.service.tellKept(user)
	}
}

// early is a confirmation of a session elsewhere that came while pushers were at work: a pusher may report it.
type early struct {
	parcel       *parcel
	confirmation seam.Confirmation
}

// waits keeps a confirmation until the pushers have returned. It reports false when they have. b.mu is held on entry.
func (p *parcel) waits(c *seam.Confirmation) bool {
	p.call.mu.Lock()
	defer p.call.mu.Unlock()
	if p.call.pushing == 0 {
		return false
	}
	p.call.early = append(p.call.early, early{p, *c})
	return true
}

// countEarly counts the confirmations that have waited.
func (c *call) countEarly() {
	c.mu.Lock()
	all := c.early
	c.early = nil
	c.mu.Unlock()
	for i := range all {
		b := all[i].parcel.box
		now := slices.Collect(b.service.bridge.ConnsOf(b.user)) // it calls the user manager: no lock is held
		b.mu.Lock()
		b.confirmAway(all[i].parcel, &all[i].confirmation, now)
		b.mu.Unlock()
	}
}

func (s *Service) tellKept(user string) {
	if b := s.outboxes.find(user, false); b != nil {
		b.tellKept()
		s.outboxes.release(b)
	}
}

// tellKept tells the Keeper that messages are kept, if there are any.
func (b *outbox) tellKept() {
	k := b.service.keeper.Load()
	if k == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if left := b.left(); left > 0 {
		b.told = true
		(*k).Keeps(b.user, left)
	}
}

// tellNothing tells the Keeper that no message is kept any more. b.mu is held on entry.
func (b *outbox) tellNothing() {
	if b.told {
		b.told = false
		(*b.service.keeper.Load()).KeepsNothing(b.user)
	}
}

// left returns for how long messages are kept. b.mu is held on entry.
func (b *outbox) left() (left time.Duration) {
	for _, p := range b.parcels {
		if p.kept && !p.answered {
			left = max(left, time.Until(p.keptUntil))
		}
	}
	return left
}

// inOutbox calls f with the user's outbox, if there is one, and with its lock held.
func (s *Service) inOutbox(user string, f func(b *outbox)) {
	b := s.outboxes.find(user, false)
	if b == nil {
		return
	}
	defer s.outboxes.release(b)
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

func (s *Service) keptFor(user string) (left time.Duration) {
	s.inOutbox(user, func(b *outbox) { left = b.left() })
	return left
}

func (s *Service) keptMessages(user string) (all []seam.KeptMessage) {
	s.inOutbox(user, func(b *outbox) { all = b.messages() })
	return all
}

// messages returns those that are kept, in order. b.mu is held on entry.
func (b *outbox) messages() (all []seam.KeptMessage) {
	for _, p := range b.parcels {
		left := time.Until(p.keptUntil)
		if !p.kept || p.answered || left <= 0 {
			continue
		}
		m := seam.KeptMessage{ID: p.call.message.ID, Body: p.call.frame.Body, Left: left}
		if p.call.sameDevice {
			for i := range p.asks {
				if a := &p.asks[i]; a.open() && !slices.Contains(m.Devices, a.device) {
					m.Devices = append(m.Devices, a.device)
				}
			}
			if len(m.Devices) == 0 { // all are confirmed, and wait for nothing
				continue
			}
		}
		all = append(all, m)
	}
	return all
}

// confirmElsewhere counts for a session that has ended, as a confirmation by the user's next session here does.
func (s *Service) confirmElsewhere(c seam.Confirmation) {
	b := s.outboxes.find(c.UserID, false)
	if b == nil {
		return
	}
	defer s.outboxes.release(b)
	now := slices.Collect(s.bridge.ConnsOf(c.UserID))
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.with(c.ID) {
		switch {
		case c.How == seam.ConfirmedTold:
			b.confirmTold(p, &c, now)
		case !p.waits(&c):
			b.confirmAway(p, &c, now)
		}
	}
}

// confirmAway is confirmElsewhere for one call. b.mu is held on entry.
func (b *outbox) confirmAway(p *parcel, c *seam.Confirmation, now []*engine.Conn) {
	if c.Session != (uuid.UUID{}) && p.find(func(a *ask) bool { return a.elsewhere == c.Session }) != nil {
		return // it has confirmed the message before
	}
	if a := p.gone(now, c.Device); a != nil { // it may be that client
		a.conn, a.ctx, a.elsewhere = nil, nil, c.Session
		return
	}
	a := p.lost(now, c.Device)
	if a != nil && c.How == seam.ConfirmedUnasked && a.conn != nil && a.device != c.Device {
		a = nil // several services may have such an ask, and the session has confirmed for one
	}
	if a == nil && p.call.first {
		a = p.find(func(a *ask) bool { return a.open() && !a.extra })
	}
	switch {
	case a != nil:
		a.conn, a.ctx, a.device, a.elsewhere = nil, nil, c.Device, c.Session
		b.confirm(p, a)
	case p.kept && c.How == seam.ConfirmedKept && c.Session != (uuid.UUID{}): // it counts when another ask ends
		p.asks = append(p.asks, ask{device: c.Device, confirmed: true, extra: true, elsewhere: c.Session})
	}
}

// confirmTold ends what waits for a user without a session here, or for a session that has ended, because a pusher reports that a session
// elsewhere, which has come in its place, has confirmed the message. b.mu is held on entry.
func (b *outbox) confirmTold(p *parcel, c *seam.Confirmation, now []*engine.Conn) {
	inPlaceOf := func(a *ask) bool { return a.open() && !a.extra && (a.conn == nil || c.Replaces(a.device)) }
	a := p.find(func(a *ask) bool { return inPlaceOf(a) && a.left(now) })
	switch {
	case p.kept && p.call.first:
		p.answered = true
		var why error
		if a != nil {
			why = errOffline
		}
		b.settleAll(p, why)
	case a != nil:
		b.settle(p, a, errOffline)
		b.forget(p)
	case p.kept || p.find(inPlaceOf) != nil: // the session may confirm it again
		p.asks = append(p.asks, ask{device: c.Device, over: true, confirmed: true})
	}
}

// deliverKept hands messages that another service keeps to a session, in order.
func (s *Service) deliverKept(user string, conn uint64, messages []seam.KeptMessage, confirmed func(id uuid.UUID)) bool {
	c := s.bridge.Engine().Conn(conn)
	if c == nil || c.UserID() != user {
		return false
	}
	device := s.device(c)
	for i := range messages {
		m := &messages[i]
		p, err := protocol.ParsePush(m.Body)
		if err != nil || len(m.Devices) > 0 && !slices.Contains(m.Devices, device) || s.isAsked(user, c, p.ID) {
			continue
		}
		done := func(r Result, _ error) {
			for _, d := range r.Deliveries {
				if d.Confirmed && d.Conn == conn { // on a later connection the message comes again, and is confirmed there
					confirmed(p.ID)
				}
			}
		}
		s.goOn(c, user, p, max(m.Left, time.Millisecond), done)
	}
	return true
}

// goOn is Go for one session, without pushers.
func (s *Service) goOn(c *engine.Conn, user string, m *Message, timeout time.Duration, done func(Result, error)) {
	to := ToUsers(user)
	x, err := s.newCall(&to, m, &Options{Confirm: true, Timeout: timeout})
	if err != nil {
		return
	}
	x.async, x.done, x.only = true, done, []*engine.Conn{c}
	defer x.sent()
	s.send(x, to)
}

// isAsked reports whether the session on c has got a message and has not confirmed it.
func (s *Service) isAsked(user string, c *engine.Conn, id uuid.UUID) (asked bool) {
	s.inOutbox(user, func(b *outbox) {
		asked = slices.ContainsFunc(b.with(id), func(p *parcel) bool { return p.on(c) != nil })
	})
	return asked
}

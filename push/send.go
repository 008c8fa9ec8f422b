package push

import (
	"errors"
	"iter"
	"runtime/debug"
	"slices"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/usermgr"
)

// send hands the message to the target's sessions.
func (s *Service) send(c *call, to Target) {
	s.ask(c, func() {
		switch {
		case to.Everyone && !c.tracked() && !s.outboxes.any():
			s.broadcastToAll(c)
		case to.Everyone:
			c.deliveries = make([]Delivery, 0, s.engine.Bound())
			s.broadcast(c, s.everyone())
		case to.Sessions != nil:
			s.broadcast(c, c.conns(s.bridge.Users().(usermgr.SessionLister).Sessions(*to.Sessions)))
		default:
			for _, id := range to.Users {
				s.sendTo(c, id, c.only)
			}
		}
	})
}

// ask calls f, which asks the user manager. The manager may be the application's, and its panic becomes the error of c,
// which may be nil.
func (s *Service) ask(c *call, f func()) {
	contain.Call(f, func(v any) {
		s.panicked("the user manager", v)
		if c != nil {
			c.add(nil, contain.Error("the user manager", v))
		}
	})
}

// panicked counts and logs a panic of the application, or a runtime.Goexit. It is called on the stack of the panic.
func (s *Service) panicked(who string, v any, fields ...zap.Field) {
	s.panics.Add(1)
	s.log.Error(who+" panicked", append(fields, zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))...)
}

// conns yields the connections of the sessions that are on this engine, each with its user.
func (c *call) conns(sessions iter.Seq[usermgr.SessionInfo]) iter.Seq2[*engine.Conn, string] {
	return func(yield func(*engine.Conn, string) bool) {
		for i := range sessions {
			conn := c.service.bridge.Engine().Conn(i.Address.Conn)
			if conn == nil {
				continue
			}
			if c.keep > 0 {
				if c.classes == nil {
					c.classes = make(map[*engine.Conn]uint16)
				}
				c.classes[conn] = i.Device
			}
			if !yield(conn, i.UserID) {
				return
			}
		}
	}
}

// device returns the device class of a session.
func (s *Service) device(c *engine.Conn) uint16 {
	if s.deviceAt == nil {
		return 0
	}
	d, _ := s.deviceAt(c.ID())
	return d
}

// arrived is called when a session of the user has begun. It hands the waiting messages to the session.
func (s *Service) arrived(i *usermgr.SessionInfo) {
	if k := s.keeper.Load(); k != nil {
		(*k).Arrived(i.UserID, i.ID)
	}
	if b := s.outboxes.find(i.UserID, false); b != nil {
		b.do(&operation{})
	}
}

// sendTo hands the message to the user's sessions, or to some of them, in the user's turn if there is one.
func (s *Service) sendTo(c *call, userID string, conns []*engine.Conn) {
	b := s.outboxes.find(userID, c.tracked())
	if b == nil {
		s.sendPlain(c, userID, conns)
		return
	}
	o := &operation{call: c, conns: conns}
	if !c.async {
		o.done = make(chan struct{})
	}
	b.do(o)
	if o.done != nil {
		<-o.done
	}
}

// sendPlain sends a message without acknowledgements to a user who has none waiting.
func (s *Service) sendPlain(c *call, userID string, conns []*engine.Conn) {
	reached := false
	send := func(conn *engine.Conn) error {
		err := conn.SendMessage(&c.frame, nil)
		if !errors.Is(err, engine.ErrClosed) { // closing: counts as offline
			c.note(Delivery{UserID: userID, Conn: conn.ID(), Device: s.device(conn), Err: err})
			reached = true
		}
		return err
	}
	if conns != nil {
		for _, conn := range conns {
			_ = send(conn)
		}
	} else {
		s.reach(userID, send)
	}
	if !reached {
		c.miss(userID)
		c.note(Delivery{UserID: userID, Err: errOffline})
	}
}

// reach calls send for each connection of the user's sessions. Where one is closing it looks the user up again, so that a session that
// took over between the look-up and send is not missed.
func (s *Service) reach(userID string, send func(*engine.Conn) error) {
	var before map[*engine.Conn]bool // nil in the first round
	for again := true; again; {
		again = false
		now := slices.Collect(s.bridge.ConnsOf(userID))
		for _, conn := range now {
			if !before[conn] && errors.Is(send(conn), engine.ErrClosed) {
				again = true
			}
		}
		if again {
			before = noted(before, now)
		}
	}
}

// noted adds connections to a set, and makes it where there is none.
func noted(set map[*engine.Conn]bool, conns []*engine.Conn) map[*engine.Conn]bool {
	if set == nil {
		set = make(map[*engine.Conn]bool, len(conns))
	}
	for _, conn := range conns {
		set[conn] = true
	}
	return set
}

// deliver hands the message to the user's sessions, or to those of conns. It has the user's turn.
func (b *outbox) deliver(c *call, only []*engine.Conn) {
	var p *parcel
	if c.tracked() {
		b.mu.Lock()
		var err error
		if only != nil { // a part of the user's sessions may have it already
			p = b.last(c)
		}
		if p != nil {
			p.sending = true
		}
		if p == nil {
			p, err = b.accept(c)
		}
		b.mu.Unlock()
		if err != nil {
			c.note(Delivery{UserID: b.user, Err: err})
			return
		}
		defer b.sent(p)
	}
	reached := false
	var before map[*engine.Conn]bool // nil in the first round
	for again := true; again; {
		again = false
		now := b.conns() // again, where a session took over between the look and the send
		conns := now
		if only != nil {
			conns = only
		}
		for _, conn := range conns {
			if before[conn] {
				continue
			}
			b.serve(conn, now, p)
			if p != nil && before != nil && b.takesPlace(p, conn, now) && b.again(p, conn, now) {
				reached = true
			} else if err := b.hand(c, p, conn); errors.Is(err, engine.ErrClosed) {
				again = only == nil
			} else {
				reached = true
			}
		}
		if again {
			before = noted(before, conns)
		}
	}
	if !reached {
		b.toNoSession(c, p, only)
	}
	if only != nil && p != nil && p.kept {
		b.replaced(p)
	}
}

// replaced hands a message that is kept for some sessions to the sessions that have taken their place meanwhile.
func (b *outbox) replaced(p *parcel) {
	now := b.conns()
	for _, conn := range now {
		if b.takesPlace(p, conn, now) {
			b.serve(conn, now, p)
			b.again(p, conn, now)
		}
	}
}

// takesPlace reports whether a session has taken the place of one that a kept message was handed to. Then it has no
// delivery of its own, because no session would ever confirm the old session's delivery.
func (b *outbox) takesPlace(p *parcel, conn *engine.Conn, now []*engine.Conn) bool {
	device := b.service.device(conn)
	b.mu.Lock()
	defer b.mu.Unlock()
	return p.kept && p.lost(now, device) != nil
}

// hand hands the message to one connection. ErrClosed means that the connection takes no more messages; then nothing is
// noted.
func (b *outbox) hand(c *call, p *parcel, conn *engine.Conn) error {
	device := c.class(conn)
	if p != nil {
		b.mu.Lock()
		b.ask(p, conn, device)
		b.mu.Unlock()
	}
	err := conn.SendMessage(&c.frame, nil)
	if p != nil && err != nil {
		b.mu.Lock()
		b.retract(p, conn)
		b.mu.Unlock()
	}
	if p == nil && err == nil || err != nil && !errors.Is(err, engine.ErrClosed) {
		c.note(Delivery{UserID: b.user, Conn: conn.ID(), Device: device, Err: err})
	}
	return err
}

// toNoSession is called for a message that went to no session. The message waits for the next session, or is reported
// as undeliverable. meant has the targeted sessions, which have ended; nil when all of the user's were targeted.
func (b *outbox) toNoSession(c *call, p *parcel, meant []*engine.Conn) {
	err := errOffline
	if p != nil && c.keep > 0 {
		b.mu.Lock()
		kept := p.kept
		switch {
		case !kept:
		case c.sameDevice && len(meant) > 0:
			for _, conn := range meant {
				b.ask(p, nil, c.class(conn))
			}
		default:
			b.ask(p, nil, 0)
		}
		b.mu.Unlock()
		if kept {
			c.away(b)
			return
		}
		err = errFull
	}
	c.miss(b.user)
	c.note(Delivery{UserID: b.user, Err: err})
}

package push_test

import (
	"errors"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// check holds what was told against what the clients have handled.
func (m *model) check() {
	for _, u := range m.users {
		for _, p := range u.sent {
			m.checkOne(u, p)
		}
	}
	for _, p := range m.everyone.sent {
		for _, d := range p.deliveries {
			m.checkDelivery(m.user(d.UserID), p, d)
		}
	}
	st := m.pushes.Stats()
	m.seen.again.Add(int64(st.Again))
	m.seen.unconfirmed.Add(int64(st.Unconfirmed))
	if st.Kept != 0 || st.KeptBytes != 0 {
		m.broken("nothing waits, and %+v", st)
	}
}

func (m *model) user(id string) *modelUser {
	for _, u := range m.users {
		if u.id == id {
			return u
		}
	}
	m.t.Fatalf("a delivery to %q", id)
	return nil
}

func (m *model) checkOne(u *modelUser, p *modelPush) {
	full := false
	for _, d := range p.deliveries {
		m.checkDelivery(u, p, d)
		full = full || errors.Is(d.Err, protocol.Refused)
	}
	if n := len(p.deliveries); n < 1 || n > len(u.clients)+1 {
		m.broken("message %q to %s has %d deliveries: %+v", p.text, u.id, n, p.deliveries)
	}
	if p.o.Keep > 0 && !full && u.handled(p.text) == 0 {
		m.broken("message %q, which was kept, was never handled by %s: %+v", p.text, u.id, p.deliveries)
	}
	if p.o.Keep > 0 && !full && !p.wait && (push.Result{Deliveries: p.deliveries}).Confirmed() == 0 {
		m.broken("message %q, which was kept, was given up on: %+v", p.text, p.deliveries)
	}
}

func (m *model) checkDelivery(u *modelUser, p *modelPush, d push.Delivery) {
	if d.UserID != u.id || d.Pusher != "" {
		m.broken("message %q to %s has %+v", p.text, u.id, d)
	}
	if d.Confirmed && (!u.clients[d.Device].has(p.text) || d.Conn == 0 || d.Err != nil) {
		m.broken("message %q has %+v, and that client has not handled it", p.text, d)
	}
}

// handled returns how many of the user's clients have handled a message.
func (u *modelUser) handled(text string) (n int) {
	for _, c := range u.clients {
		if c.has(text) {
			n++
		}
	}
	return n
}

// away takes a client off, and has it come back when f has returned: what was kept is there, in order, before anything that is
// sent after that.
func (m *model) away(u *modelUser, c *modelClient, f func()) {
	sessions := len(u.clients) - 1
	back := c.leave()
	rollcalltest.Eventually(m.t, func() bool { return len(sessionsOf(m.srv.Users, u.id)) == sessions }, "%s is offline", c.name)
	f()
	m.returns(c, back)
}

// returns has a client come back by what f does, and waits until it has handled what waited for it.
func (m *model) returns(c *modelClient, f func()) {
	select {
	case <-c.marks: // of an earlier logon
	default:
	}
	f()
	select {
	case <-c.marks:
	case <-time.After(10 * time.Second):
		m.t.Fatalf("%s gets nothing", c.name)
	}
}

// late has one of a user's clients confirm nothing for long: the other does not wait for that, has what is kept in order, when
// it comes back too, and each confirms for itself.
func (m *model) late(u *modelUser) {
	kept := push.Options{Confirm: true, Keep: time.Hour}
	stuck, well := u.clients[0], u.clients[1]
	release := make(chan struct{})
	stuck.stuck.Store(&release)
	var first, newer *modelPush
	m.away(u, well, func() { first = m.make(&u.sender, push.ToUsers(u.id), kept, false) })
	newer = m.make(&u.sender, push.ToUsers(u.id), push.Options{}, false)
	rollcalltest.Eventually(m.t, func() bool { return well.has(newer.text) }, "rule 27: a message waits for no other client")
	m.away(u, stuck, func() {
		m.returns(well, well.reset)
		stuck.stuck.Store(nil)
		close(release)
	})
	m.settle()
	if n := len(first.deliveries); n != 1 || !first.deliveries[0].Confirmed {
		m.broken("a message to one session has %+v", first.deliveries)
	}
}

// bound keeps more for a user who is away than it may: exactly those that are too many are refused.
func (m *model) bound(u *modelUser) {
	const over = 5
	var sent []*modelPush
	m.away(u, u.clients[0], func() {
		for range modelBound + over {
			sent = append(sent, m.make(&u.sender, push.ToUsers(u.id), push.Options{Keep: time.Hour}, false))
		}
		if st := m.pushes.Stats(); st.Kept != modelBound || st.Waiting != modelBound {
			m.broken("%d messages may wait, and there are %+v", modelBound, st)
		}
	})
	for i, p := range sent {
		if has := u.handled(p.text) > 0; has != (i < modelBound) {
			m.broken("message %d of %d that may wait was handled: %v", i+1, modelBound, has)
		}
	}
	m.settle()
	for i, p := range sent {
		full := len(p.deliveries) == 1 && errors.Is(p.deliveries[0].Err, protocol.Refused)
		if full != (i >= modelBound) {
			m.broken("message %d of %d that may wait has %+v", i+1, modelBound, p.deliveries)
		}
	}
	m.seen.refused.Add(int64(m.pushes.Stats().Refused))
}

// expiry keeps messages for a user who is away until their time is over, among others that last.
func (m *model) expiry(u *modelUser) {
	var short, long []*modelPush
	m.away(u, u.clients[0], func() {
		for range 3 {
			short = append(short, m.make(&u.sender, push.ToUsers(u.id), push.Options{Keep: 5 * time.Millisecond}, false))
			long = append(long, m.make(&u.sender, push.ToUsers(u.id), push.Options{Keep: time.Hour}, false))
		}
		rollcalltest.Eventually(m.t, func() bool { return m.pushes.Stats().Kept == len(long) },
			"rule 27: messages are kept for as long as was said, and no longer")
	})
	for i := range short {
		if u.handled(short[i].text) != 0 {
			m.broken("message %q has expired, and was handled", short[i].text)
		}
		if u.handled(long[i].text) != 1 {
			m.broken("message %q, which was kept, was not handled before what came later", long[i].text)
		}
	}
	m.settle()
	for _, p := range short {
		if len(p.deliveries) != 1 || !errors.Is(p.deliveries[0].Err, protocol.TimedOut) {
			m.broken("message %q has expired, and has %+v", p.text, p.deliveries)
		}
	}
	m.seen.expired.Add(int64(m.pushes.Stats().Expired))
}

package contract

import (
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// clockResolution is how exactly the manager knows when a message came.
const clockResolution = 100 * time.Millisecond

// idle: event i is Expired. When its turn came only heartbeats had come for the idle time, and for hardly longer (rule
// 8).
func (j *judge) idle(h *history, i int) {
	e := h.events[i]
	j.follows(h, i, protocol.SessionExpired)
	c := j.byConn[e.conn]
	if c == nil || len(c.quiesces) == 0 {
		return // register, or quiesced, complains
	}
	if j.m.idle <= 0 {
		j.complain(8, h.user, "%v came, and no session was to expire", e)
		return
	}
	looked := c.quiesces[0] // in the same moment
	if !j.m.FakeTime {
		return
	}
	last := j.lastMessage(c, looked)
	if idle := looked.fromAt - last; idle < j.m.idle-clockResolution {
		j.complain(8, h.user, "%v came after %v without a message", e, idle)
	} else if busy := h.turnEnd(i); looked.fromAt > max(last+j.m.idle+j.m.idleInterval, busy) {
		j.complain(8, h.user, "%v came only after %v without a message", e, idle)
	}
}

// turnEnd returns when the event before event i returned.
func (h *history) turnEnd(i int) time.Duration {
	if i == 0 {
		return 0
	}
	return h.events[i-1].toAt
}

// lastMessage returns the time of the session's last message, or touch, before s.
func (j *judge) lastMessage(c *connection, s *span) time.Duration {
	last := time.Duration(0)
	count := func(o *span) {
		if o.fromAt < s.fromAt && o.before(s.from) {
			last = max(last, o.fromAt)
		}
	}
	if b := j.of(c.number); b.connected != nil && b.connected.to != 0 {
		last = b.connected.toAt // the logon's own time is no silence
	}
	for _, t := range c.tallies {
		if t.way == in {
			count(&t.span)
		}
	}
	id := j.login(c.number).session
	for _, t := range j.touches {
		if t.user == c.user || t.session != "" && t.session == id {
			if b := j.of(c.number); b.connected != nil && t.from > b.connected.from {
				count(&t.span)
			}
		}
	}
	return last
}

// expiring: at a rest no session is online that should have expired.
func (j *judge) expiring(r *rest) {
	if j.m.idle <= 0 || !j.m.FakeTime {
		return
	}
	for _, c := range j.conns {
		b := j.of(c.number)
		if b.connected == nil || b.connected.from > r.from || b.disconnected != nil && b.disconnected.from < r.from {
			continue
		}
		if idle := r.fromAt - j.lastMessage(c, &r.span); idle > j.m.idle+j.m.idleInterval {
			j.complain(8, c.user, "at rest %d is online after %v without a message", c.number, idle)
		}
	}
}

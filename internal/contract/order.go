package contract

import (
	"slices"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// order holds a user's events against the orders that are allowed: rules 3, 4, 7 and 8.
func (j *judge) order(h *history) {
	var current *event // Connected of the session that the user has
	for i, e := range h.events {
		switch {
		case e.kind == connected:
			if current != nil {
				j.complain(4, h.user, "%v came while %d was still online", e, current.conn)
			}
			current = e
		case current == nil:
			j.complain(3, h.user, "%v came while the user was offline", e)
		case e.kind == ignored:
			j.refused(h, i, j.byConn[current.conn])
		case e.conn != current.conn:
			j.complain(3, h.user, "%v came while %d was online", e, current.conn)
		case e.kind == pushedOut:
			j.replaced(h, i, j.byConn[current.conn])
		case e.kind == timedOut:
			j.follows(h, i, protocol.HeartbeatTimeout)
			j.silent(h, i)
		case e.kind == disconnected:
			current = nil
		}
	}
	j.firstComeFirstServed(h)
}

// firstComeFirstServed: logons of a user take their turns in the order in which they came (rule 4).
func (j *judge) firstComeFirstServed(h *history) {
	var last *connection
	for _, e := range h.events {
		c := j.byConn[e.conn]
		if c == nil || e.kind != connected && e.kind != ignored {
			continue
		}
		if j.m.FakeTime && last != nil && c.logon.fromAt < last.logon.fromAt {
			j.complain(4, h.user, "%v came after the turn of %d, which logged on later", e, last.number)
		}
		last = c
	}
}

// replaced: event i is PushedOut of the session of old, in favour of a logon that may do that (rules 3, 4 and 7).
func (j *judge) replaced(h *history, i int, old *connection) {
	e := h.events[i]
	j.follows(h, i, protocol.PushedOut)
	if i+2 >= len(h.events) || h.events[i+2].kind != connected || h.events[i+2].conn != e.by {
		j.complain(4, h.user, "after %v, Connected(%d) did not come next but one", e, e.by)
	}
	by := j.byConn[e.by]
	if by == nil || old == nil {
		j.complain(4, h.user, "%v concerns a connection that never logged on", e)
		return
	}
	if j.m.mode == usermgr.IgnoreNew && by.takeOver != j.found[old.number].connected.info.SessionID {
		j.complain(7, h.user, "%v came, and %d had not asked for its session", e, e.by)
	}
}

// refused: event i is Ignored, because of a session that has not ended and that the logon did not ask for (rules 3, 6
// and 7).
func (j *judge) refused(h *history, i int, stays *connection) {
	e := h.events[i]
	c := j.byConn[e.conn]
	if c == nil || stays == nil {
		j.complain(7, h.user, "%v concerns a connection that never logged on", e)
		return
	}
	if j.m.mode != usermgr.IgnoreNew {
		j.complain(6, h.user, "%v came, although new logons replace old ones", e)
	}
	b := j.of(stays.number)
	if c.takeOver == b.connected.info.SessionID {
		j.complain(7, h.user, "%v came, although it had asked for the live session", e)
	}
	for _, a := range j.asks {
		if a.before(h.turnOf(i)) && j.reached(a, stays, b) {
			j.complain(7, h.user, "%v came, although %d had ended by %v", e, stays.number, a)
			return
		}
	}
}

// follows complains unless event i is followed at once by the Disconnected of its session, with the code.
func (j *judge) follows(h *history, i int, code protocol.CloseCode) {
	e := h.events[i]
	if i+1 >= len(h.events) || h.events[i+1].kind != disconnected || h.events[i+1].conn != e.conn {
		j.complain(4, h.user, "%v was not followed by Disconnected(%d)", e, e.conn)
	} else if got := h.events[i+1].code; got != code {
		j.complain(3, h.user, "%v was followed by %v", e, h.events[i+1])
	}
}

// silent: the silence was looked at in the turn that ended the session (rule 8).
func (j *judge) silent(h *history, i int) {
	c := j.byConn[h.events[i].conn]
	if c == nil {
		return // register complains
	}
	if !slices.ContainsFunc(c.silences, func(s silence) bool {
		return s.silent && s.at > h.turnOf(i) && s.at < h.events[i].from
	}) {
		j.complain(8, h.user, "%v came, and nobody had looked whether it was silent when its turn had come", h.events[i])
	}
}

// register holds the outcome of a logon against what was told of it: rules 3, 5, 7, 10 and 16.
func (j *judge) register(c *connection) {
	b := j.of(c.number)
	if c.logon.to == 0 {
		j.complain(10, c.user, "Register(%d) has not returned", c.number)
		return
	}
	if b.connected == nil && (b.pushedOut != nil || b.timedOut != nil || b.disconnected != nil) {
		j.complain(3, c.user, "connection %d had an end, and never came online", c.number)
	}
	if c.contextEnded != 0 && c.contextEnded < b.turn {
		j.complain(3, c.user, "connection %d ended before its turn, and was told of", c.number)
	}
	if c.err == nil {
		switch {
		case b.connected == nil:
			j.complain(3, c.user, "Register(%d) succeeded without Connected", c.number)
		case !b.connected.before(c.logon.to):
			j.complain(5, c.user, "Register(%d) returned before %v had", c.number, b.connected)
		case b.connected.info.SessionID != c.session:
			j.complain(3, c.user, "Register(%d) returned another session than %v", c.number, b.connected)
		}
		if b.ignored != nil {
			j.complain(7, c.user, "%v came for a logon that succeeded", b.ignored)
		}
		return
	}
	if b.connected != nil {
		j.complain(3, c.user, "Register(%d) failed after %v: %v", c.number, b.connected, c.err)
	}
	j.refusal(c, b)
}

// refusal holds the error of a logon against its reason.
func (j *judge) refusal(c *connection, b *befallen) {
	refused, ok := c.err.(*protocol.CloseError)
	if !ok {
		j.complain(7, c.user, "Register(%d) failed without a code: %v", c.number, c.err)
		return
	}
	if refused.Code == protocol.AlreadyLoggedOn {
		if b.ignored == nil || !b.ignored.within(&c.logon) {
			j.complain(7, c.user, "Register(%d) was refused with AlreadyLoggedOn without Ignored", c.number)
		}
		if j.m.mode != usermgr.IgnoreNew {
			j.complain(6, c.user, "Register(%d) was refused with AlreadyLoggedOn", c.number)
		}
		return
	}
	if b.ignored != nil {
		j.complain(7, c.user, "%v came, and Register(%d) failed with %v", b.ignored, c.number, refused.Code)
	}
	closing := slices.ContainsFunc(j.asks, func(a *ask) bool { return a.what == endForGood && a.from < c.logon.to })
	switch {
	case refused.Code == protocol.ServerStopping && closing:
	case c.cause == nil:
		j.complain(3, c.user, "Register(%d) failed with %v for no reason", c.number, refused.Code)
	default:
		want := protocol.InternalError
		if cause, ok := c.cause.(*protocol.CloseError); ok {
			want = cause.Code
		}
		if refused.Code != want {
			j.complain(3, c.user, "Register(%d) failed with %v; its connection ended with %v", c.number, refused.Code, want)
		}
	}
}

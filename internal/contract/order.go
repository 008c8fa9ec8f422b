package contract

import (
	"slices"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// order checks the order of a user's events: rules 3, 4, 7, 8 and 17.
func (j *judge) order(h *history) {
	var live []*event // Connected of the user's sessions, oldest first
	var evicting *eviction
	for i, e := range h.events {
		at := slices.IndexFunc(live, func(c *event) bool { return c.conn == e.conn })
		switch {
		case e.kind == cameOnline || e.kind == wentOffline || e.kind == userTagged:
		case e.kind == connected:
			j.fits(e, live)
			live = append(live, e)
			evicting = nil
			j.described(&e.info)
		case len(live) == 0:
			j.complain(3, h.user, "%v came while the user was offline", e)
		case e.kind == ignored:
			j.refused(h, i, live)
		case at < 0:
			j.complain(3, h.user, "%v came while %d was online", e, live[0].conn)
		case e.kind == pushedOut:
			if evicting == nil || evicting.by != e.by {
				evicting = &eviction{by: e.by, goes: j.m.policy.excluded(j.logins(live), j.login(e.by))}
			}
			j.replaced(h, i, evicting, live)
		case e.kind == timedOut:
			j.follows(h, i, protocol.HeartbeatTimeout)
			j.silent(h, i)
		case e.kind == expired:
			j.idle(h, i)
		case e.kind == disconnected:
			live = slices.Delete(live, at, at+1)
			j.described(&e.info)
		}
	}
	j.firstComeFirstServed(h)
}

// eviction has the sessions that a logon pushes out.
type eviction struct {
	by   uint64
	goes []uint64 // those whose turn is still to come, oldest first
}

func (j *judge) logins(live []*event) (all []login) {
	for _, c := range live {
		all = append(all, j.login(c.conn))
	}
	return all
}

// fits: e is Connected; no live session is one that the logon should have pushed out (rules 4 and 17).
func (j *judge) fits(e *event, live []*event) {
	for _, conn := range j.m.policy.excluded(j.logins(live), j.login(e.conn)) {
		rule := 17
		if !j.m.policy.several() {
			rule = 4
		}
		j.complain(rule, e.user, "%v came while %d was still online", e, conn)
	}
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

// replaced: event i is PushedOut of a live session. The logon must push that session out, and all older ones that it must
// push out are gone (rules 3, 4, 7 and 17).
func (j *judge) replaced(h *history, i int, x *eviction, live []*event) {
	e := h.events[i]
	j.follows(h, i, protocol.PushedOut)
	if !j.ledTo(h, i, x) {
		j.complain(4, h.user, "after %v, Connected(%d) did not come next but one, nor after more of its kind", e, e.by)
	}
	by := j.byConn[e.by]
	if by == nil {
		j.complain(4, h.user, "%v concerns a connection that never logged on", e)
		return
	}
	if j.m.mode == usermgr.IgnoreNew && (len(x.goes) != 1 || j.login(e.by).takeOver != j.login(e.conn).session) {
		j.complain(7, h.user, "%v came, and %d had not asked for its session alone", e, e.by)
	}
	for len(x.goes) > 0 {
		first := x.goes[0]
		x.goes = x.goes[1:]
		if first == e.conn {
			return
		}
		if slices.ContainsFunc(live, func(c *event) bool { return c.conn == first }) {
			j.complain(17, h.user, "%v came before the turn of %d, which is older", e, first)
		}
	}
	j.complain(17, h.user, "%v came, although the two may live side by side", e)
}

// ledTo reports whether only the end of the old session, and of others that x pushes out, comes between PushedOut, event
// i, and the new session's Connected.
func (j *judge) ledTo(h *history, i int, x *eviction) bool {
	others := x.goes[min(1, len(x.goes)):]
	for k := i + 2; k < len(h.events); k++ {
		e := h.events[k]
		switch {
		case e.kind == connected:
			return e.conn == x.by
		case len(others) == 0:
			return false
		case e.kind == pushedOut && e.by == x.by, e.kind == wentOffline, e.kind == cameOnline && e.conn == x.by:
		case e.kind == disconnected && slices.Contains(others, e.conn):
		default:
			return false
		}
	}
	return false
}

// succeeded reports whether event i is the end of a session that a new one replaced in the same moment.
func (j *judge) succeeded(h *history, i int) bool {
	before := h.at(i - 1)
	if before == nil || before.kind != pushedOut || before.conn != h.events[i].conn {
		return false
	}
	next := h.at(i + 1)
	return !j.m.policy.several() || next == nil || next.kind == connected && next.conn == before.by
}

// refused: event i is Ignored, because of a live session that the logon did not ask to take over (rules 3, 6, 7 and
// 17).
func (j *judge) refused(h *history, i int, live []*event) {
	e := h.events[i]
	c := j.byConn[e.conn]
	if c == nil {
		j.complain(7, h.user, "%v concerns a connection that never logged on", e)
		return
	}
	if j.m.mode != usermgr.IgnoreNew {
		j.complain(6, h.user, "%v came, although new logons replace old ones", e)
	}
	var stay []login
	for _, s := range live {
		ended := slices.ContainsFunc(j.asks, func(a *ask) bool {
			return a.before(h.turnOf(i)) && j.byConn[s.conn] != nil && j.reached(a, j.byConn[s.conn], j.of(s.conn))
		})
		if !ended {
			stay = append(stay, j.login(s.conn))
		}
	}
	inTheWay := j.m.policy.excluded(stay, j.login(e.conn))
	switch {
	case len(inTheWay) == 0:
		j.complain(7, h.user, "%v came, and no session was in the way: all of %d had ended, or could stay", e, len(live))
	case len(inTheWay) == 1 && j.login(e.conn).takeOver != "" && j.login(e.conn).takeOver == j.login(inTheWay[0]).session:
		j.complain(7, h.user, "%v came, although it had asked for the live session", e)
	}
}

// follows complains unless the next event after i is the Disconnected of its session, with the code.
func (j *judge) follows(h *history, i int, code protocol.CloseCode) {
	e := h.events[i]
	if i+1 >= len(h.events) || h.events[i+1].kind != disconnected || h.events[i+1].conn != e.conn {
		j.complain(4, h.user, "%v was not followed by Disconnected(%d)", e, e.conn)
	} else if got := h.events[i+1].code; got != code {
		rule := 3
		if e.kind != pushedOut {
			rule = 8
		}
		j.complain(rule, h.user, "%v was followed by %v", e, h.events[i+1])
	}
}

// silent: the session was still silent in the turn that ended it (rule 8).
func (j *judge) silent(h *history, i int) {
	c := j.byConn[h.events[i].conn]
	if c == nil {
		return // register complains
	}
	if !slices.ContainsFunc(c.silences, func(s silence) bool {
		return s.silent && s.at > h.turnOf(i) && s.at < h.events[i].from
	}) {
		j.complain(8, h.user, "%v came, and the silence was not looked at again in the user's turn", h.events[i])
	}
}

// register compares the outcome of a logon with its events: rules 3, 5, 7, 10 and 16.
func (j *judge) register(c *connection) {
	b := j.of(c.number)
	if c.logon.to == 0 {
		j.complain(10, c.user, "Register(%d) has not returned", c.number)
		return
	}
	if b.connected == nil && (b.pushedOut != nil || b.timedOut != nil || b.expired != nil || b.disconnected != nil) {
		j.complain(3, c.user, "connection %d had an end, and never came online", c.number)
	}
	if c.contextEnded != 0 && c.contextEnded < b.turn {
		j.complain(3, c.user, "connection %d ended before its turn, and was told of", c.number)
	}
	if b.connected != nil {
		j.revoked(c, b)
		j.cameBack(c, b)
		j.banned(c, b)
	}
	if c.err == nil {
		switch {
		case b.connected == nil:
			j.complain(3, c.user, "Register(%d) succeeded without Connected", c.number)
		case !b.connected.before(c.logon.to):
			j.complain(5, c.user, "Register(%d) returned before %v had", c.number, b.connected)
		case b.connected.info.ID != c.session:
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

// refusal checks that the error of a logon has a reason.
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
	case refused.Code == protocol.Unauthorized && j.mayBeRevoked(c):
	case refused.Code == protocol.Unauthorized && j.mayBeBanned(c):
	case refused.Code == protocol.DeviceNotAllowed && !j.m.policy.knows(c.device):
	case j.mayBeTurnedAway(c, refused):
	case c.cause == nil:
		rule := 3
		if c.takeOver != "" {
			rule = 26
		}
		j.complain(rule, c.user, "Register(%d) failed with %v for no reason", c.number, refused.Code)
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

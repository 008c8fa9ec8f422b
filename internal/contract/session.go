package contract

import (
	"slices"

	"github.com/rollcall-go/rollcall/protocol"
)

// session checks what happened on a connection: rules 3, 5, 6, 9 and 10.
func (j *judge) session(c *connection) {
	b := j.of(c.number)
	if b.connected == nil {
		if len(c.messages) > 0 {
			j.complain(5, c.user, "connection %d got messages without having come online", c.number)
		}
		if len(c.closes) > 0 || len(c.quiesces) > 0 {
			j.complain(7, c.user, "connection %d, which never came online, was quiesced or closed by the manager", c.number)
		}
		return
	}
	for _, msg := range c.messages {
		if !msg.from.after(b.connected.to) {
			j.complain(5, c.user, "a message handler of %d ran before %v had returned", c.number, b.connected)
		}
	}
	if b.disconnected == nil {
		if len(c.closes) > 0 || len(c.quiesces) > 0 {
			j.complain(3, c.user, "connection %d was quiesced or closed and never disconnected", c.number)
		}
		return
	}
	j.quiesced(c, b)
	j.closed(c, b)
	j.cause(c, b)
	j.counters(c, b)
}

// ending is the first event of the session's end.
func (b *befallen) ending() *event {
	switch {
	case b.pushedOut != nil:
		return b.pushedOut
	case b.timedOut != nil:
		return b.timedOut
	case b.expired != nil:
		return b.expired
	}
	return b.disconnected
}

// quiesced: the session was quiesced before the events of its end, and no message handler ran during those, unless the
// wait for it had ended (rules 5 and 6).
func (j *judge) quiesced(c *connection, b *befallen) {
	end := b.ending()
	quiet := len(c.quiet) > 0 && c.quiet[0] < end.from
	if len(c.quiesces) == 0 || !c.quiesces[0].before(end.from) && !quiet { // done may be called before Quiesce returns
		j.complain(6, c.user, "%d was quiesced %d times before %v", c.number, len(c.quiesces), end)
		return
	}
	asked := c.quiesces[0]
	if waited := end.fromAt - asked.fromAt; !quiet && waited < j.m.quiesceTimeout {
		j.complain(5, c.user, "%v came %v after Quiesce, which was not done", end, waited)
	} else if j.m.FakeTime && waited > j.m.quiesceTimeout {
		j.complain(5, c.user, "%v came only %v after Quiesce", end, waited)
	}
	late := 0
	for _, msg := range c.messages {
		switch {
		case quiet && msg.from > c.quiet[0], msg.from > b.disconnected.from && quiet:
			j.complain(6, c.user, "a message handler of %d started after it was quiet", c.number)
		case msg.from.after(asked.to):
			late++ // one may have been about to start
		}
		if quiet && msg.reaches(end.from) {
			j.complain(5, c.user, "%v came while a message handler of %d ran", end, c.number)
		}
	}
	if late > 1 {
		j.complain(6, c.user, "%d message handlers of %d started after it was quiesced", late, c.number)
	}
}

// givenUp counts the sessions whose end did not wait until Quiesce was done: at least and at most, because the deadline
// and the end of the last handler may coincide.
func (j *judge) givenUp() (least, most uint64) {
	for _, c := range j.conns {
		b := j.found[c.number]
		if b == nil || b.disconnected == nil || len(c.quiesces) == 0 {
			continue
		}
		end := b.ending()
		if len(c.quiet) == 0 || c.quiet[0] > end.from {
			least++
		}
		if end.fromAt-c.quiesces[0].fromAt >= j.m.quiesceTimeout {
			most++
		}
	}
	return least, max(least, most)
}

// closed: the link is closed once, after all events, with their code.
func (j *judge) closed(c *connection, b *befallen) {
	if len(c.closes) != 1 {
		j.complain(6, c.user, "the link of %d was closed %d times", c.number, len(c.closes))
		return
	}
	x := c.closes[0]
	if !x.from.after(b.disconnected.to) {
		j.complain(6, c.user, "the link of %d was closed before %v had returned", c.number, b.disconnected)
	}
	if x.code != b.disconnected.code {
		j.complain(3, c.user, "the link of %d was closed with %v, after %v", c.number, x.code, b.disconnected)
	}
}

// cause: the session ended for the first cause that was recorded (rules 3, 9 and 10).
func (j *judge) cause(c *connection, b *befallen) {
	code := b.disconnected.code
	first := place(-1) // when the cause can have been recorded at the earliest; -1: never
	could := func(p place) {
		if first < 0 || p < first {
			first = p
		}
	}
	if b.pushedOut != nil && code == protocol.PushedOut {
		turn := j.turnAt(b.pushedOut)
		if j.chains.targets[b.pushedOut.by] == c.number { // its cause is the logon, from the beginning of the logon's turn
			turn = j.of(b.pushedOut.by).turn
		}
		could(max(turn, j.logonOf(b.pushedOut.by)))
	}
	if b.timedOut != nil && code == protocol.HeartbeatTimeout {
		could(j.turnAt(b.timedOut))
	}
	if b.expired != nil && code == protocol.SessionExpired {
		could(j.turnAt(b.expired))
	}
	for _, a := range j.asks {
		if a.code == code && a.from < b.disconnected.from && j.concerns(a, c) && (len(c.closes) == 0 || c.closes[0].text == a.text) {
			could(a.from)
		}
	}
	if code == protocol.Unauthorized && j.mayBeRevoked(c) { // during its turn
		could(b.connected.from)
	}
	if first < 0 {
		j.complain(j.wrongly(c, b), c.user, "%v came, and had not been asked for", b.disconnected)
		return
	}
	for _, a := range j.asks {
		another := a.code != code || len(c.closes) > 0 && c.closes[0].text != a.text
		if another && a.before(first) && j.reached(a, c, b) {
			j.complain(3, c.user, "%v came, but %v was the first cause", b.disconnected, a)
			return
		}
	}
}

// wrongly returns the rule that a session breaks which ended without a cause of its own.
func (j *judge) wrongly(c *connection, b *befallen) int {
	for _, a := range j.asks {
		if a.code != b.disconnected.code {
			continue
		}
		switch a.what {
		case endAll, endForGood, kickUser, kickSome:
			return 10 // meant for earlier logons
		}
		return 9 // meant for another session
	}
	switch b.disconnected.code {
	case protocol.HeartbeatTimeout, protocol.SessionExpired:
		return 8 // without its event
	}
	return 3
}

// concerns reports whether a may have been meant for the session of c: it exists, or its logon waits, during the call.
func (j *judge) concerns(a *ask, c *connection) bool {
	return a.refused() == nil && (a.to == 0 || c.logon.from <= a.to) && j.names(a, c)
}

// names reports whether a names c, at any time.
func (j *judge) names(a *ask, c *connection) bool {
	switch a.what {
	case endConn:
		return a.conn == c.number
	case kickSession:
		id := c.session
		if b := j.of(c.number); id == "" && b.connected != nil {
			id = b.connected.info.ID
		}
		return a.session != "" && a.session == id
	case kickUser:
		return a.user == c.user
	case kickSome:
		return a.user == c.user && (len(a.devices) == 0 || slices.Contains(a.devices, c.device)) && (a.token == "" || a.token == j.login(c.number).token)
	}
	return true
}

// reached reports whether a, when it returned, had certainly reached the session of c.
func (j *judge) reached(a *ask, c *connection, b *befallen) bool {
	if !j.concerns(a, c) || a.from < b.connected.from {
		return false
	}
	return b.disconnected == nil || a.before(b.disconnected.from)
}

func (j *judge) turnAt(e *event) place {
	h := j.byUser[e.user]
	return h.turnOf(slices.Index(h.events, e))
}

func (j *judge) logonOf(conn uint64) place {
	if c := j.byConn[conn]; c != nil {
		return c.logon.from
	}
	return 0
}

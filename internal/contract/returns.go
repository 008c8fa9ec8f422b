package contract

import (
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// chains has the sessions with which clients come back, by connection (rule 26).
type chains struct {
	heirs   map[uint64]heir   // of a session: the one that continues it
	targets map[uint64]uint64 // of a logon that succeeded or was Ignored: the session that it comes back with
	byID    map[string]uint64 // sessions that had Connected
}

type heir struct {
	conn uint64
	from place
}

// follow finds the session that each of a user's logons continues.
func (j *judge) follow(h *history) {
	byToken := make(map[uint64][]uint64) // sessions that a logon with their token ends
	for _, e := range h.events {
		c := j.byConn[e.conn]
		switch e.kind {
		case pushedOut:
			if by := j.byConn[e.by]; by != nil && j.login(e.by).sameToken(j.login(e.conn)) {
				byToken[e.by] = append(byToken[e.by], e.conn)
			}
		case ignored:
			if c != nil {
				j.chains.targets[e.conn] = j.comesBackWith(c, e.from)
			}
		case connected:
			if c == nil {
				continue
			}
			t := j.comesBackWith(c, e.from)
			j.chains.targets[e.conn] = t
			for _, old := range append(byToken[e.conn], t) {
				if old != 0 {
					j.chains.heirs[old] = heir{e.conn, e.from}
				}
			}
			j.chains.byID[e.info.ID] = e.conn
		}
	}
}

// comesBackWith returns the session with which the client of c comes back, at p: the last one of the chain of the session
// that it names; 0 for none.
func (j *judge) comesBackWith(c *connection, p place) uint64 {
	conn := j.chains.byID[c.takeOver]
	if named := j.byConn[conn]; c.takeOver == "" || named == nil || named.user != c.user || j.of(conn).connected.from > p {
		return 0
	}
	for {
		next, ok := j.chains.heirs[conn]
		if !ok || next.from >= p {
			return conn
		}
		conn = next.conn
	}
}

// sameToken reports whether logon l shows the token of session o.
func (l login) sameToken(o login) bool {
	token := o.token
	if token == "" {
		token = o.session
	}
	return l.token != "" && l.token == token
}

// cameBack: if b.connected is a session of a client that came back, its earlier session had not ended for good, and it
// pushed out no newer login (rule 26).
func (j *judge) cameBack(c *connection, b *befallen) {
	t := j.of(j.chains.targets[c.number])
	if t.disconnected == nil || t.disconnected.from > b.connected.from || t.pushedOut != nil && t.pushedOut.by == c.number {
		return // it came back without a session, or took over a live one
	}
	if !t.disconnected.code.MayReconnect() {
		if j.remembered(t.disconnected, b.connected) {
			j.complain(26, c.user, "%v came back, after %v", b.connected, t.disconnected)
		}
		return
	}
	for _, o := range j.found {
		if o.pushedOut != nil && o.pushedOut.by == c.number && j.newer(o, t, c) && !j.m.returnWins && j.remembered(t.disconnected, b.connected) {
			j.complain(26, c.user, "%v came for a client that came back with %d, which is older", o.pushedOut, t.disconnected.conn)
		}
	}
}

// newer reports whether the session of o is a login of its own, newer than the session with which c comes back.
func (j *judge) newer(o, with *befallen, c *connection) bool {
	return o.connected != nil && o.connected.from > with.connected.from &&
		!j.login(c.number).sameToken(j.login(o.connected.conn))
}

// remembered reports whether the manager certainly still knows, at the event now, how a session ended.
func (j *judge) remembered(end, now *event) bool {
	return now.fromAt-end.fromAt < 59*time.Minute && len(j.conns) < 100_000
}

// mayBeTurnedAway reports whether the logon of c can have been refused because of the session with which it came back (rule 26).
func (j *judge) mayBeTurnedAway(c *connection, refused *protocol.CloseError) bool {
	h := j.byUser[c.user]
	if h == nil || c.takeOver == "" {
		return false
	}
	moments := []place{c.logon.from}
	for _, e := range h.events {
		if e.from > c.logon.from && e.from < c.logon.to {
			moments = append(moments, e.from+1) // as of this event
		}
	}
	return slices.ContainsFunc(moments, func(p place) bool {
		with := j.comesBackWith(c, p)
		t := j.of(with)
		if with == 0 || t.disconnected == nil || t.disconnected.from >= p {
			return false
		}
		if !t.disconnected.code.MayReconnect() {
			k := j.byConn[with]
			return refused.Code == t.disconnected.code && len(k.closes) > 0 && refused.Text == k.closes[0].text
		}
		return refused.Code == protocol.PushedOut && !j.m.returnWins && j.behind(c, t, p)
	})
}

// behind reports whether, at p, c would end a login that is newer than the session with which it comes back.
func (j *judge) behind(c *connection, with *befallen, p place) bool {
	var live []*event
	for _, e := range j.byUser[c.user].events {
		if d := j.of(e.conn).disconnected; e.kind == connected && e.from < p && (d == nil || d.from >= p) {
			live = append(live, e)
		}
	}
	l := j.login(c.number)
	l.takeOver = ""
	return slices.ContainsFunc(j.m.policy.excluded(j.logins(live), l), func(conn uint64) bool {
		return j.newer(j.of(conn), with, c)
	})
}

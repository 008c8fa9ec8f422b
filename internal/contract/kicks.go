package contract

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// refused returns why a kick was refused.
func (a *ask) refused() error {
	switch a.what {
	case kickUser, kickSome, kickSession:
		return a.err
	}
	return nil
}

// meant reports whether a ended the session of c, by what its connection was told.
func (j *judge) meant(a *ask, c *connection) bool {
	b := j.of(c.number)
	return a.refused() == nil && b.disconnected != nil && b.disconnected.code == a.code && len(c.closes) > 0 &&
		c.closes[0].text == a.text && j.concerns(a, c)
}

// kick compares what a kick says with the events of its sessions (rule 10).
func (j *judge) kick(ctx context.Context, a *ask) {
	switch {
	case errors.Is(a.err, usermgr.ErrBlankID):
		if a.what == kickSession && a.session != "" || a.what != kickSession && a.user != "" {
			j.complain(10, a.user, "%v was refused with %v", a, a.err)
		}
		return
	case errors.Is(a.err, usermgr.ErrUnknownID):
		j.unknown(a)
		return
	case a.err != nil:
		j.complain(10, a.user, "%v was refused with %v", a, a.err)
		return
	}
	if a.ban <= 0 && !j.mayFind(a) {
		j.complain(10, a.user, "%v found a session, and the user had none", a)
	}
	told, err := a.kick(ctx)
	if err != nil {
		j.complain(10, a.user, "%v is not done", a)
		return
	}
	if slices.ContainsFunc(j.asks, func(o *ask) bool { return o != a && o.text == a.text && o.code == a.code }) {
		return // which of the two ended a session is not known
	}
	var mine []*connection
	for _, c := range j.conns {
		if j.meant(a, c) {
			mine = append(mine, c)
		}
	}
	slices.SortFunc(mine, func(x, y *connection) int {
		return cmp.Compare(j.of(x.number).connected.from, j.of(y.number).connected.from)
	})
	if len(told) != len(mine) {
		j.complain(10, a.user, "%v says that it ended %d sessions; by the events it was %d", a, len(told), len(mine))
		return
	}
	for i, c := range mine {
		final, s := j.of(c.number).disconnected.info, told[i].Session
		if s.Address.Conn != c.number {
			j.complain(10, a.user, "%v tells of %d in the place of %d", a, s.Address.Conn, c.number)
		} else if s.In != final.In || s.Out != final.Out || s.Dropped != final.Dropped || s.Tag != final.Tag || s.UserTag != final.UserTag {
			j.complain(12, a.user, "%v tells of %+v; it was %+v", a, s, final)
		}
		if told[i].Outcome != c.outcome {
			j.complain(10, a.user, "%v tells that %d was %v; it was %v", a, c.number, told[i].Outcome, c.outcome)
		}
	}
}

// mayFind reports whether a kick can have found its session, or of its user a session, a logon under way, or the
// grace.
func (j *judge) mayFind(a *ask) bool {
	return slices.ContainsFunc(j.conns, func(c *connection) bool {
		if a.what == kickSession {
			return j.concerns(a, c)
		}
		return c.user == a.user && c.logon.from <= a.to && !j.over(c, a.from)
	}) || a.what == kickUser && slices.ContainsFunc(j.absences, func(w *absence) bool {
		return w.user == a.user && w.left.from < a.to && (w.to == 0 || w.to > a.from)
	})
}

// over reports whether, at p, the session on c had ended, with all its events, or its logon had been refused.
func (j *judge) over(c *connection, p place) bool {
	if b := j.of(c.number); b.disconnected != nil {
		return p.after(b.disconnected.to)
	} else if b.connected != nil {
		return false
	}
	return p.after(c.logon.to)
}

// unknown: a kick was refused because it found no session.
func (j *judge) unknown(a *ask) {
	if a.kick != nil {
		j.complain(10, a.user, "%v was refused, and goes on", a)
	}
	if a.ban > 0 && a.what != kickSession {
		j.complain(26, a.user, "%v bans the user, and was refused", a)
	}
	for _, c := range j.conns {
		b := j.of(c.number)
		if b.connected == nil || b.connected.from > a.from {
			continue
		}
		end := place(0) // until then a kick certainly finds the session
		if len(c.quiesces) > 0 {
			end = c.quiesces[0].from
		}
		if (end == 0 || end > a.to) && j.names(a, c) {
			j.complain(10, a.user, "%v found no session, and %d was online", a, c.number)
		}
	}
	for _, w := range j.absences {
		if c := j.byConn[w.left.conn]; a.what == kickUser && w.user == a.user && c != nil && j.awayDuring(a, c) {
			j.complain(10, a.user, "%v found no session, and the user counted as online", a)
		}
	}
}

// shows reports whether the logon of c shows the token, or the ID, of the session of k.
func (j *judge) shows(c, k *connection) bool {
	of := j.login(k.number)
	for _, t := range []string{c.token, c.takeOver} {
		if t != "" && c.user == k.user && (t == of.session || t == of.token) {
			return true
		}
	}
	return false
}

// revoked: a logon that succeeded did not show a token that was revoked at the time (rule 10).
func (j *judge) revoked(c *connection, b *befallen) {
	for _, a := range j.asks {
		if a.revoke <= 0 {
			continue
		}
		for _, k := range j.conns {
			// The revocation began between the call and Disconnected.
			if j.meant(a, k) && j.shows(c, k) && c.logon.from > j.of(k.number).disconnected.from && b.connected.fromAt < a.fromAt+a.revoke {
				j.complain(10, c.user, "%v came for a token that %v had revoked", b.connected, a)
			}
			if j.ofLate(a, k) && j.shows(c, k) && c.logon.from > a.to && b.connected.fromAt < a.fromAt+a.revoke {
				j.complain(10, c.user, "%v came for the token of %d, which had ended within the grace when %v came", b.connected, k.number, a)
			}
		}
	}
}

// manyPast is how many sessions may end after a session until a kick of the user need not revoke its token. The manager
// remembers some more.
const manyPast = 60

// ofLate reports whether a is a kick of the user of k within the grace after the end of k's session, and the user had
// certainly not been offline since.
func (j *judge) ofLate(a *ask, k *connection) bool {
	left := j.of(k.number).disconnected
	if a.what != kickUser || a.user != k.user || a.refused() != nil || j.m.grace <= 0 ||
		left == nil || left.from > a.from || a.toAt >= left.fromAt+j.m.grace {
		return false
	}
	since := 0
	for _, o := range j.conns {
		if d := j.of(o.number).disconnected; o.user == k.user && d != nil && d.from > left.from && d.from < a.to {
			since++
		}
	}
	return since < manyPast && slices.ContainsFunc(j.conns, func(o *connection) bool {
		b := j.of(o.number)
		if o.user != k.user || b.connected == nil || b.connected.from > left.from {
			return false
		}
		return len(o.quiesces) == 0 || o.quiesces[0].from > a.to || j.awayDuring(a, o)
	})
}

// awayDuring reports whether the grace after the session on c certainly ran when a came.
func (j *judge) awayDuring(a *ask, c *connection) bool {
	left := j.of(c.number).disconnected
	return slices.ContainsFunc(j.absences, func(w *absence) bool {
		return w.left == left && a.from.after(left.to) && (w.to == 0 || w.to > a.to) && a.toAt < w.due
	}) && !slices.ContainsFunc(j.asks, func(o *ask) bool { // another call since c logged on might have ended it
		return o != a && o.from < a.to && !c.logon.from.after(o.to) && o.endsGrace() && (o.user == a.user || o.user == "")
	})
}

// mayBeRevoked reports whether the token that c shows can have been revoked in the logon's turn.
func (j *judge) mayBeRevoked(c *connection) bool {
	for _, a := range j.asks {
		if a.revoke <= 0 || a.from > c.logon.to {
			continue
		}
		for _, k := range j.conns {
			if !j.shows(c, k) {
				continue
			}
			if j.meant(a, k) && c.logon.fromAt < j.of(k.number).disconnected.fromAt+a.revoke {
				return true
			}
			// The token of a session that ends by itself, or whose user is within the grace, is revoked too.
			if j.names(a, k) && c.logon.fromAt < a.toAt+a.revoke {
				return true
			}
		}
	}
	return false
}

// Kick is usermgr.Manager.Kick, recorded.
func (m *Manager) Kick(userID string, o *usermgr.KickOptions) (usermgr.Wait, error) {
	a := &ask{what: kickUser, user: userID}
	if o != nil && (len(o.Devices) > 0 || o.Token != "") {
		a.what, a.devices, a.token = kickSome, o.Devices, o.Token
	}
	return m.kick(a, o, func() (usermgr.Wait, error) { return m.Manager.Kick(userID, o) })
}

// KickSession is usermgr.Manager.KickSession, recorded.
func (m *Manager) KickSession(id string, o *usermgr.KickOptions) (usermgr.Wait, error) {
	return m.kick(&ask{what: kickSession, session: id}, o, func() (usermgr.Wait, error) { return m.Manager.KickSession(id, o) })
}

func (m *Manager) kick(a *ask, o *usermgr.KickOptions, do func() (usermgr.Wait, error)) (usermgr.Wait, error) {
	if o == nil {
		o = new(usermgr.KickOptions)
	}
	if a.code = o.Code; a.code == 0 {
		a.code = protocol.KickedOut
	}
	a.text, a.revoke, a.ban = o.Text, o.RevokeFor, o.BanFor
	m.log.begin(&a.span, func() { m.log.asks = append(m.log.asks, a) })
	wait, err := do()
	if wait == nil && err == nil {
		err = errors.New("neither a Wait nor an error")
	}
	m.log.end(&a.span, func() { a.kick, a.err = wait, err })
	return wait, err
}

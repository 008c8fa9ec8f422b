package usermgr

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

// pendingLogon is a logon from Register's call to its outcome.
type pendingLogon struct {
	ctx     context.Context
	logon   Logon
	link    Link
	session *session // the outcome, or err
	err     error
}

// logOn is a logon's turn, on the goroutine that called Register: it prepares the logon, claims its place and completes it.
func (u *user) logOn(p *pendingLogon) {
	defer u.logonOver()
	m := u.manager
	if p.ctx.Err() != nil { // its connection ended first: no event
		p.err = contextError(p.ctx)
		return
	}
	if m.closed.Load() {
		p.err = &protocol.CloseError{Code: protocol.ServerStopping}
		return
	}
	if p.err = m.turnsAway(u.id, &p.logon); p.err != nil {
		return
	}
	id, err := m.ids.next()
	if err != nil {
		p.err = &protocol.CloseError{Code: protocol.InternalError, Text: "no session ID: " + err.Error()}
		return
	}

	s := m.newSession(u, p.link, id, &p.logon)
	if s == nil {
		p.err = &protocol.CloseError{Code: protocol.InternalError, Text: "the link or the heartbeat checker failed"}
		return
	}
	entry, err := u.enter(p, s)
	if err != nil {
		s.stopWatches()
		p.err = err
		return
	}
	m.logons.Add(1)
	if entry.from.ended != 0 {
		m.ended.inherit(entry.from.ended, serialOf(id))
	}
	if len(entry.excluded) > 0 {
		u.replace(entry, s)
	} else {
		u.comeIn(s, &entry.claimed)
	}
	for _, c := range entry.claimed.Carry {
		u.arrive(c)
	}
	if m.tells("Connected") {
		m.eachOf("Connected", s, func(h *Events, i *SessionInfo) { h.Connected(*i) })
	}
	s.heardAt(m.clock.now())
	s.beatOnTurn()                   // the client's bytes could not be reported before, so the time of the logon is no silence
	if m.isRevoked(u.id, &p.logon) { // the token was revoked during the turn
		s.end(ending{code: protocol.Unauthorized, text: "the token was revoked"})
	}
	if m.claims != nil {
		u.connected(s)
	}
	p.session = s
}

// turnsAway returns the error of a logon that is refused for a reason other than the user's sessions; nil when there is
// no such reason.
func (m *Manager) turnsAway(userID string, l *Logon) error {
	switch {
	case m.isBanned(userID):
		return errBanned()
	case m.isRevoked(userID, l):
		return &protocol.CloseError{Code: protocol.Unauthorized, Text: "the token was revoked"}
	case !m.devices.knows(l.Device):
		return &protocol.CloseError{Code: protocol.DeviceNotAllowed, Text: fmt.Sprintf("device class %d is not known", l.Device)}
	}
	return nil
}

// isBanned reports whether the user is banned, see KickOptions.BanFor.
func (m *Manager) isBanned(userID string) bool {
	return m.banned.any() && m.banned.has(digestOf(userID, ""))
}

func errBanned() error {
	return &protocol.CloseError{Code: protocol.Unauthorized, Text: "the user is banned"}
}

// isRevoked reports whether the logon shows a token, or a session's ID, that is revoked.
func (m *Manager) isRevoked(userID string, l *Logon) bool {
	if !m.revoked.any() {
		return false
	}
	return l.Token != "" && m.revoked.has(digestOf(userID, l.Token)) ||
		l.Session != "" && m.revoked.has(digestOf(userID, l.Session))
}

// finishEnded finishes the sessions that have ended by themselves and still wait for their turn. Afterwards all
// sessions of the user live.
func (u *user) finishEnded() {
	for {
		var ended []*session // nearly always none
		for s := range u.all {
			if s.why() != nil {
				ended = append(ended, s)
			}
		}
		if ended == nil {
			return
		}
		for _, s := range ended {
			u.finishNow(s)
		}
	}
}

// comeIn binds a session that replaces no other.
func (u *user) comeIn(s *session, c *Claimed) {
	m := u.manager
	if m.presences != nil && c.First {
		u.forgetGrace()
	}
	first := u.bind(nil, s, nil)
	if m.presences != nil {
		first = c.First
	}
	if first && m.tells("Online") {
		d := u.data()
		d.Version = c.Generation
		m.each("Online", func(h *Events) { h.Online(d) })
	}
}

// finish ends a session whose cause is recorded, if the user still has it. Then it calls over; nil passes the turn on.
func (u *user) finish(s *session, over func()) {
	if !s.bound {
		u.goOn(over)
		return
	}
	d := departure{user: u, session: s, over: over}
	d.tellEviction()
	d.proceed()
}

// finishNow is finish for a goroutine that the turn was handed over to. It waits until the session has left.
func (u *user) finishNow(s *session) {
	if !s.bound {
		return
	}
	d := departure{user: u, session: s}
	d.tellEviction()
	d.await()
}

// finishAll is finish for several sessions, one after the other.
func (u *user) finishAll(all []*session, over func()) {
	for i, s := range all {
		var passed atomic.Bool // set by the end of s and by the check below; the first continues
		u.finish(s, func() {
			if passed.Swap(true) {
				u.finishAll(all[i+1:], over)
			}
		})
		if !passed.Swap(true) { // s ends later, and its end calls finishAll for the rest
			return
		}
	}
	over()
}

// timeOut ends s if it is still silent now that the turn has come. It passes the turn on.
func (u *user) timeOut(s *session) {
	if !s.bound || !s.isSilent() || !s.record(ending{code: protocol.HeartbeatTimeout}) {
		u.passOn()
		return
	}
	d := departure{user: u, session: s, event: "TimedOut"}
	d.proceed()
}

// expire ends s if its client still has sent nothing but heartbeats now that the turn has come. It passes the turn on.
func (u *user) expire(s *session) {
	why := ending{code: protocol.SessionExpired, text: "nothing but heartbeats came for too long"}
	if !s.bound || !s.lazy.Load().idle.Silent() || !s.record(why) {
		u.passOn()
		return
	}
	d := departure{user: u, session: s, event: "Expired"}
	d.proceed()
}

// disconnect unbinds s, puts successor in its place if there is one, then tells the subscribers and the link.
func (u *user) disconnect(s, successor *session) {
	s.stopWatches()
	final := u.info(s)
	u.bind(s, successor, &final)
	why := s.why()
	if why.kick != nil {
		why.kick.ended(why.kicked, final)
	}
	u.manager.disconnected.Add(why.code)
	u.manager.history.add(&final, why.code)
	u.manager.ended.add(s, why)
	left := u.leave(why.code)
	if u.manager.tells("Disconnected") {
		u.tellDisconnected(final, why.code)
	}
	u.giveBack(s, &final, left)
	s.closeLink(why)
	if left != nil {
		u.tellLeft(left)
	}
}

// giveBack gives the claim of a session back that has ended. left is as leave returns it.
func (u *user) giveBack(s *session, final *SessionInfo, left *UserData) {
	switch m := u.manager; {
	case m.claims == nil:
	case m.presences == nil || u.oldest.Load() != nil:
		m.release(s, final)
	case left == nil:
		m.presences.Left(u.id, s.id, seam.Left{Grace: true})
	default:
		m.presences.Left(u.id, s.id, seam.Left{Carry: m.carryOf(left)})
	}
}

// tellDisconnected is a function of its own so that SessionInfo is put on the heap only when a subscriber is told.
func (u *user) tellDisconnected(final SessionInfo, why protocol.CloseCode) {
	u.manager.each("Disconnected", func(h *Events) { h.Disconnected(final, why) })
}

// bind makes next the user's session in place of old; either may be nil. From here on lookups by user, session and
// address find next. final has the final counters of old. bind reports whether the user came online.
func (u *user) bind(old, next *session, final *SessionInfo) (cameOnline bool) {
	m := u.manager
	if next != nil {
		next.bound = true
		m.sessions.add(next)
		m.deviceCounts.add(next.device, 1)
	}
	var login pastLogin
	if old != nil && m.grace > 0 {
		login = pastLoginOf(m, final)
	}
	u.mu.Lock()
	if old != nil {
		p := u.needLazy()
		if p.since == 0 {
			p.since = u.oldest.Load().logonTime()
		}
		addTraffic(&p.in, final.In)
		addTraffic(&p.out, final.Out)
		addTraffic(&p.dropped, final.Dropped)
		p.active = final.LastActive // later than any before
		delete(p.tags, old)
		if m.grace > 0 {
			p.logins.add(u, login)
		}
	}
	if next != nil {
		cameOnline = !u.online
		u.online = true
		u.stopGrace()
	}
	u.swap(old, next)
	u.mu.Unlock()
	if old != nil {
		old.bound = false
		m.sessions.remove(old)
		m.deviceCounts.add(old.device, -1)
	}
	if cameOnline {
		m.countBy(1)
	}
	return cameOnline
}

// leave is called after a session was unbound. When it was the last one the user leaves this manager: after the grace, where
// there is one and the client may come back by itself, and otherwise at once. leave returns the data of a user who has
// left.
func (u *user) leave(why protocol.CloseCode) *UserData {
	if u.oldest.Load() != nil {
		return nil
	}
	m := u.manager
	if m.grace <= 0 || !why.MayReconnect() || why == protocol.ServerStopping || m.closed.Load() {
		return u.leaveHere()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.needLazy()
	var timer *clock.Timer
	timer = m.clock.ran.AfterFunc(m.grace, func() {
		u.post(soon(func(u *user) {
			u.mu.Lock()
			p := u.lazy.Load()
			over := p != nil && p.grace == timer
			u.mu.Unlock()
			if over {
				u.endGrace()
			}
		}))
	})
	p.grace = timer // the timer's function reads it under this lock
	return nil
}

// leaveHere takes a user out of this manager who has no session any more.
func (u *user) leaveHere() *UserData {
	d := u.data()
	u.mu.Lock()
	u.stopGrace()
	u.online = false
	if p := u.lazy.Load(); p != nil {
		p.logins.stop()
	}
	u.lazy.Store(nil)
	u.mu.Unlock()
	u.manager.countBy(-1)
	return &d
}

// endGrace takes a user out of this manager who is in the grace.
func (u *user) endGrace() {
	u.mu.Lock()
	waiting := u.online && u.oldest.Load() == nil
	u.mu.Unlock()
	if !waiting {
		return
	}
	d := u.leaveHere()
	if p := u.manager.presences; p != nil {
		p.GraceOver(u.id, u.manager.carryOf(d))
	}
	u.tellLeft(d)
}

// tellLeft tells that a user has left this manager: with seam.Presences that may not mean Offline.
func (u *user) tellLeft(d *UserData) {
	m := u.manager
	if m.tells("Left") {
		m.each("Left", func(h *Events) { h.Left(*d) })
	}
	if m.presences == nil && m.tells("Offline") {
		m.each("Offline", func(h *Events) { h.Offline(*d) })
	}
}

// stopGrace ends the grace, if it runs. u.mu is held on entry.
func (u *user) stopGrace() {
	if p := u.lazy.Load(); p != nil && p.grace != nil {
		p.grace.Stop()
		p.grace = nil
	}
}

func (u *user) info(s *session) SessionInfo {
	u.mu.Lock()
	defer u.mu.Unlock()
	return s.info()
}

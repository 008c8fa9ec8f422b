package usermgr

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/internal/clock"
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
	if p.ctx.Err() != nil { // its connection ended first: it fires nothing
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
		u.comeIn(s)
	}
	if m.tells("Connected") {
		m.each("Connected", func(h *Events) { h.Connected(u.info(s)) })
	}
	s.heardAt(m.clock.now())
	s.beatOnTurn()                   // the client's bytes could not be reported before: the logon's own time is no silence
	if m.isRevoked(u.id, &p.logon) { // while its turn was under way
		s.end(ending{code: protocol.Unauthorized, text: "the token was revoked"})
	}
	if m.claims != nil {
		u.connected(s)
	}
	p.session = s
}

// entry is how a logon comes in.
type entry struct {
	logon    *Logon
	from     origin     // a live one has its end recorded
	excluded []*session // that must end before, the oldest first; from.live is among them
}

// decide decides whether a logon, whose session would be s, may come in. From the moment that it may the session that it takes
// over ends for that.
func (u *user) decide(l *Logon, s *session) (entry, error) {
	serial := serialOf(s.id)
	for {
		e, err := u.judge(l, s)
		if err != nil {
			return entry{}, err
		}
		from := e.from
		if from.live == nil || from.live.record(ending{code: protocol.PushedOut, text: textPushedOut, heir: serial}) {
			return e, nil
		}
		// It ended by itself in this moment, and it matters why.
	}
}

// judge says how a logon, whose session would be s, comes in, or why it does not. It changes nothing but what has ended.
func (u *user) judge(l *Logon, s *session) (entry, error) {
	m := u.manager
	u.finishEnded()
	from, err := u.originOf(l)
	if err != nil {
		return entry{}, err
	}
	excluded := m.devices.excluded(u, l, from.live)
	if from.displaces(excluded, l) && !m.returnWins {
		return entry{}, &protocol.CloseError{Code: protocol.PushedOut, Text: textPushedOut}
	}
	if m.relogon == IgnoreNew && len(excluded) > 0 && !(len(excluded) == 1 && excluded[0] == from.live) {
		u.tellIgnored(s)
		return entry{}, &protocol.CloseError{Code: protocol.AlreadyLoggedOn, Text: u.id + " is logged on already"}
	}
	return entry{logon: l, from: from, excluded: excluded}, nil
}

func (u *user) tellIgnored(s *session) {
	by := s.address()
	u.manager.each("Ignored", func(h *Events) { h.Ignored(u.id, by) })
}

// turnsAway returns why a logon is refused whatever sessions the user has, nil when it is not.
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

// isBanned reports whether the user is kept out, see KickOptions.BanFor.
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

// finishEnded finishes the sessions that have ended by themselves, and whose own turn is still to come: what is left lives.
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

// comeIn binds a session that takes no other's place.
func (u *user) comeIn(s *session) {
	if !u.bind(nil, s, nil) {
		return
	}
	if u.manager.tells("Online") {
		u.manager.each("Online", func(h *Events) { h.Online(u.data()) })
	}
}

// replace ends the sessions that s excludes, the oldest first: rule 4's order, and no moment at which the user is offline.
// s takes the place of the last.
func (u *user) replace(e entry, s *session) {
	for i, old := range e.excluded {
		last := i == len(e.excluded)-1
		var successor *session
		if last {
			successor = s
		}
		var heir *session
		if old.hasToken(e.logon.Token) {
			heir = s
		}
		pushedOut := old == e.from.live
		if pushedOut {
			u.tellPushedOut(old, successor, s.address())
		} else {
			pushedOut = u.pushOut(old, successor, heir, s.address())
		}
		if !pushedOut && last {
			u.comeIn(s)
		}
	}
}

// pushOut ends a session for the sake of one at the address by. That may be its successor, and its heir, which continues it for
// a client that comes back. It reports false for a session that ended by itself in this moment: that one is not pushed out, and
// has neither. Only a goroutine that the turn was handed over to may call it, since it waits.
func (u *user) pushOut(old, successor, heir *session, by Address) bool {
	why := ending{code: protocol.PushedOut, text: textPushedOut}
	if heir != nil {
		why.heir = serialOf(heir.id)
	}
	if !old.record(why) {
		u.finishNow(old)
		return false
	}
	u.tellPushedOut(old, successor, by)
	return true
}

// tellPushedOut is the rest of pushOut.
func (u *user) tellPushedOut(old, successor *session, by Address) {
	d := departure{user: u, session: old, successor: successor, event: "PushedOut", by: by}
	d.await()
}

// finish is the end of a session whose cause is recorded. It does nothing for one that is no longer the user's. over follows; nil
// passes the turn on.
func (u *user) finish(s *session, over func()) {
	if !s.bound {
		u.goOn(over)
		return
	}
	d := departure{user: u, session: s, over: over}
	d.tellEviction()
	d.proceed()
}

// finishNow is finish for a goroutine that the turn was handed over to: it waits.
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
		var passed atomic.Bool // the end of s, or the look at it below, whichever is first
		u.finish(s, func() {
			if passed.Swap(true) {
				u.finishAll(all[i+1:], over)
			}
		})
		if !passed.Swap(true) { // it ends later, and the rest then
			return
		}
	}
	over()
}

// timeOut ends a session that is still silent when its turn comes, and passes the turn on.
func (u *user) timeOut(s *session) {
	if !s.bound || !s.isSilent() || !s.record(ending{code: protocol.HeartbeatTimeout}) {
		u.passOn()
		return
	}
	d := departure{user: u, session: s, event: "TimedOut"}
	d.proceed()
}

// expire ends a session that still has sent nothing but heartbeats when its turn comes, and passes the turn on.
func (u *user) expire(s *session) {
	why := ending{code: protocol.SessionExpired, text: "nothing but heartbeats came for too long"}
	if !s.bound || !s.lazy.Load().idle.Silent() || !s.record(why) {
		u.passOn()
		return
	}
	d := departure{user: u, session: s, event: "Expired"}
	d.proceed()
}

// disconnect unbinds s, with successor taking its place if there is one, then tells the subscribers and the link.
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
	offline := u.leave(why.code)
	if u.manager.tells("Disconnected") {
		u.tellDisconnected(final, why.code)
	}
	if u.manager.claims != nil {
		u.manager.release(s, final)
	}
	s.closeLink(why.code, why.text)
	if offline != nil {
		u.tellOffline(offline)
	}
}

// tellDisconnected is apart so that the session's description goes to the heap only when a subscriber is told.
func (u *user) tellDisconnected(final SessionInfo, why protocol.CloseCode) {
	u.manager.each("Disconnected", func(h *Events) { h.Disconnected(final, why) })
}

// bind makes next the user's session in place of old; either may be nil. Lookups by user, session and address turn
// over here. final is what old has counted. It reports whether the user came online.
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

// leave is for the moment after a session was unbound. When it was the last one the user goes offline, at once or, where
// there is a grace and the client may come back by itself, after that. It returns what is known of a user who went offline.
func (u *user) leave(why protocol.CloseCode) *UserData {
	if u.oldest.Load() != nil {
		return nil
	}
	m := u.manager
	if m.grace <= 0 || !why.MayReconnect() || why == protocol.ServerStopping || m.closed.Load() {
		return u.goOffline()
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
	p.grace = timer // the change reads it behind this lock
	return nil
}

// goOffline ends the time of a user who has no session any more.
func (u *user) goOffline() *UserData {
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

// endGrace takes a user offline who has no session and is within the grace.
func (u *user) endGrace() {
	u.mu.Lock()
	waiting := u.online && u.oldest.Load() == nil
	u.mu.Unlock()
	if waiting {
		u.tellOffline(u.goOffline())
	}
}

func (u *user) tellOffline(d *UserData) {
	if u.manager.tells("Offline") {
		u.manager.each("Offline", func(h *Events) { h.Offline(*d) })
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

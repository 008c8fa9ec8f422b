package usermgr

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/protocol"
)

// user is a user's entry. It stands in the directory while the user has a session or changes that wait.
//
// A user's changes run one at a time, in order, on the goroutine of the user's turn, which lives while there are any. A
// logon that finds nobody before it takes its turn on the goroutine that called Register, which waits for it anyway.
// Handlers run on it with no lock held: one that blocks holds up its own user and nobody else, and a change that it asks
// for queues behind it. That order is what rules 3 to 7 of the contract rest on.
type user struct {
	manager *Manager
	id      string
	current atomic.Pointer[session] // written by the turn alone, under mu; nil while the user is offline

	mu      sync.Mutex
	waiting queue
	running bool  // somebody has the turn
	past    *past // nil for a user without one
}

// past is what is known of a user who is online besides the session.
type past struct {
	tag              string
	in, out, dropped Traffic // of the sessions that were replaced since the user came online
	since            int64   // when that was, Unix nanoseconds; 0 while no session has been replaced
}

// now returns the user's session, nil when there is none, and the past, with since set.
func (u *user) now() (*session, past) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.current.Load()
	var p past
	if u.past != nil {
		p = *u.past
	}
	if p.since == 0 && s != nil {
		p.since = s.logonTime
	}
	return s, p
}

func (u *user) setTag(tag string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.current.Load() == nil {
		return false
	}
	u.rememberPast().tag = tag
	return true
}

// rememberPast returns the user's past, to be written to. u.mu is held on entry.
func (u *user) rememberPast() *past {
	if u.past == nil {
		u.past = new(past)
	}
	return u.past
}

// pendingLogon is a logon from Register's call to its outcome.
type pendingLogon struct {
	ctx     context.Context
	logon   Logon
	link    Link
	done    chan struct{} // closed when session or err is set; nil while nobody waits for that
	session *session
	err     error
}

// post queues a change for a user whose session is known.
func (u *user) post(c *change) {
	u.mu.Lock()
	start := u.enqueue(c)
	u.mu.Unlock()
	if start {
		go u.takeTurns()
	}
}

// enqueue adds a change and reports whether the turn's goroutine must be started. u.mu is held on entry.
func (u *user) enqueue(c *change) (start bool) {
	u.waiting.add(c)
	start = !u.running
	u.running = true
	return start
}

// withdraw takes back a change whose turn has not come, and reports whether it was in time.
func (u *user) withdraw(c *change) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.waiting.remove(c)
}

// takeTurns is the goroutine of the turn.
func (u *user) takeTurns() {
	for {
		c := u.next()
		if c == nil {
			if u.endTurn() {
				return
			}
			continue
		}
		c.run(u)
	}
}

// next returns the change whose turn it is, nil when there is none.
func (u *user) next() *change {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.waiting.take()
}

// endTurn gives the turn back, unless changes wait.
func (u *user) endTurn() bool {
	u.mu.Lock()
	if !u.waiting.empty() {
		u.mu.Unlock()
		return false
	}
	u.running = false
	u.mu.Unlock()
	if u.current.Load() == nil {
		u.manager.users.removeIdle(u)
	}
	return true
}

// passOn ends the turn of a caller who has taken one: what has come meanwhile gets a goroutine.
func (u *user) passOn() {
	if !u.endTurn() {
		go u.takeTurns()
	}
}

// logOn is a logon's turn.
func (u *user) logOn(p *pendingLogon) {
	m := u.manager
	if p.ctx.Err() != nil { // its connection ended first: it fires nothing
		p.err = contextError(p.ctx)
		return
	}
	if m.closed.Load() {
		p.err = &protocol.CloseError{Code: protocol.ServerStopping}
		return
	}
	id, err := m.ids.next()
	if err != nil {
		p.err = &protocol.CloseError{Code: protocol.InternalError, Text: "no session ID: " + err.Error()}
		return
	}

	old := u.current.Load()
	if old != nil && old.why() != nil { // it ended by itself, and its own turn is still to come
		u.finish(old)
		old = nil
	}
	addr := p.link.Address()
	if old != nil && m.relogon == IgnoreNew && p.logon.Session != old.ID() {
		m.each("Ignored", func(h *Handlers) {
			if h.Ignored != nil {
				h.Ignored(u.id, addr)
			}
		})
		p.err = &protocol.CloseError{Code: protocol.AlreadyLoggedOn, Text: u.id + " is logged on already"}
		return
	}

	now := time.Now().UnixNano()
	s := &session{user: u, links: [1]Link{p.link}, conn: addr.Conn, id: id, device: p.logon.Device, logonTime: now}
	s.active.Store(now)
	s.watch = m.checker.Watch(s.fellSilent)
	if old != nil {
		u.replace(old, s)
	} else {
		u.bind(nil, s, nil)
	}
	m.each("Connected", func(h *Handlers) {
		if h.Connected != nil {
			h.Connected(u.info(s))
		}
	})
	s.watch.Beat() // nobody could report the client's bytes before: the logon's own time is no silence
	p.session = s
}

// replace ends old in favour of s: rule 4's order, and no moment at which the user is offline.
func (u *user) replace(old, s *session) {
	if !old.record(ending{protocol.PushedOut, "the same user logged on again"}) {
		u.finish(old) // it ended by itself in this moment: a session that has ended is not pushed out
		u.bind(nil, s, nil)
		return
	}
	u.quiesce(old)
	m := u.manager
	m.each("PushedOut", func(h *Handlers) {
		if h.PushedOut != nil {
			h.PushedOut(u.info(old), s.links[0].Address())
		}
	})
	u.quiesce(old) // once more: what the handlers have sent is counted
	u.disconnect(old, s)
}

// finish is the end of a session whose cause is recorded. It does nothing for one that is no longer the user's.
func (u *user) finish(s *session) {
	if u.current.Load() != s {
		return
	}
	u.quiesce(s)
	u.disconnect(s, nil)
}

// timeOut ends a session that is still silent when its turn comes.
func (u *user) timeOut(s *session) {
	if u.current.Load() != s || !s.watch.Silent() || !s.record(ending{code: protocol.HeartbeatTimeout}) {
		return
	}
	u.quiesce(s)
	u.manager.each("TimedOut", func(h *Handlers) {
		if h.TimedOut != nil {
			h.TimedOut(u.info(s))
		}
	})
	u.quiesce(s) // once more: what the handlers have sent is counted
	u.disconnect(s, nil)
}

// disconnect unbinds s, with successor taking its place if there is one, then tells the subscribers and the link.
func (u *user) disconnect(s, successor *session) {
	s.watch.Stop()
	final := u.info(s)
	u.bind(s, successor, &final)
	why := s.why()
	u.manager.each("Disconnected", func(h *Handlers) {
		if h.Disconnected != nil {
			h.Disconnected(final, why.code)
		}
	})
	s.links[0].Close(why.code, why.text)
}

// bind makes next the user's session in place of old; either may be nil. Lookups by user, session and address turn
// over here. final is what old has counted.
func (u *user) bind(old, next *session, final *SessionInfo) {
	m := u.manager
	if next != nil {
		m.sessions.add(next)
	}
	u.mu.Lock()
	u.current.Store(next)
	switch {
	case next == nil:
		u.past = nil
	case old != nil:
		p := u.rememberPast()
		p.in.add(final.In)
		p.out.add(final.Out)
		p.dropped.add(final.Dropped)
		if p.since == 0 {
			p.since = old.logonTime
		}
	}
	u.mu.Unlock()
	if old != nil {
		m.sessions.remove(old)
	}
	switch {
	case old == nil:
		m.countBy(1)
	case next == nil:
		m.countBy(-1)
	}
}

// quiesce waits until no message handler of the session runs and what was sent to it is counted. It gives up on a message
// handler that is stuck, once.
func (u *user) quiesce(s *session) {
	if s.stuck {
		return
	}
	done := make(chan struct{})
	s.links[0].Quiesce(func() { close(done) })
	select {
	case <-done:
		return
	default:
	}
	t := time.NewTimer(u.manager.quiesceTimeout)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		s.stuck = true
		u.manager.givenUp.Add(1)
		u.manager.log.Warn("a message handler did not return in time; its session ends without it",
			zap.String("user", u.id), zap.String("remote", s.links[0].Address().Remote), zap.Duration("after", u.manager.quiesceTimeout))
	}
}

func (u *user) info(s *session) SessionInfo {
	_, past := u.now()
	return s.info(past.tag)
}

package contract

import (
	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// recorded returns h with every call recorded, also of events for which h has no handler.
func (m *Manager) recorded(subscriber int, h usermgr.Events) usermgr.Events {
	call := func(e *event, f func()) {
		e.subscriber = subscriber
		m.log.begin(&e.span, func() {
			if e.kind == countChanged {
				m.log.counts = append(m.log.counts, e)
			} else {
				m.log.events = append(m.log.events, e)
			}
		})
		panicked := true
		defer func() {
			m.log.end(&e.span, func() {
				if panicked {
					m.log.panics++
				}
			})
		}()
		f()
		panicked = false
	}
	return usermgr.Events{
		Connected: func(s usermgr.SessionInfo) {
			call(&event{kind: connected, user: s.UserID, conn: s.Address.Conn, info: s}, func() {
				if h.Connected != nil {
					h.Connected(s)
				}
			})
		},
		PushedOut: func(old usermgr.SessionInfo, by usermgr.Address) {
			call(&event{kind: pushedOut, user: old.UserID, conn: old.Address.Conn, by: by.Conn, info: old}, func() {
				if h.PushedOut != nil {
					h.PushedOut(old, by)
				}
			})
		},
		Ignored: func(userID string, by usermgr.Address) {
			call(&event{kind: ignored, user: userID, conn: by.Conn}, func() {
				if h.Ignored != nil {
					h.Ignored(userID, by)
				}
			})
		},
		TimedOut: func(s usermgr.SessionInfo) {
			call(&event{kind: timedOut, user: s.UserID, conn: s.Address.Conn, info: s}, func() {
				if h.TimedOut != nil {
					h.TimedOut(s)
				}
			})
		},
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
			call(&event{kind: disconnected, user: s.UserID, conn: s.Address.Conn, code: why, info: s}, func() {
				if h.Disconnected != nil {
					h.Disconnected(s, why)
				}
			})
		},
		Expired: func(s usermgr.SessionInfo) {
			call(&event{kind: expired, user: s.UserID, conn: s.Address.Conn, info: s}, func() {
				if h.Expired != nil {
					h.Expired(s)
				}
			})
		},
		Tagged: func(s usermgr.SessionInfo, old string) {
			call(&event{kind: tagged, user: s.UserID, conn: s.Address.Conn, info: s, tag: s.Tag, old: old}, func() {
				if h.Tagged != nil {
					h.Tagged(s, old)
				}
			})
		},
		UserTagged: func(u usermgr.UserData, old string) {
			call(&event{kind: userTagged, user: u.UserID, data: u, tag: u.Tag, old: old}, func() {
				if h.UserTagged != nil {
					h.UserTagged(u, old)
				}
			})
		},
		Online: func(u usermgr.UserData) {
			e := &event{kind: cameOnline, user: u.UserID, data: u}
			if len(u.Sessions) > 0 {
				e.conn = u.Sessions[0].Address.Conn
			}
			call(e, func() {
				if h.Online != nil {
					h.Online(u)
				}
			})
		},
		Offline: func(u usermgr.UserData) {
			call(&event{kind: wentOffline, user: u.UserID, data: u}, func() {
				if h.Offline != nil {
					h.Offline(u)
				}
			})
		},
		UserCountChanged: func(online int) {
			call(&event{kind: countChanged, count: online}, func() {
				if h.UserCountChanged != nil {
					h.UserCountChanged(online)
				}
			})
		},
	}
}

// link is the Link that the manager gets for a connection. It records its calls.
type link struct {
	usermgr.Link
	m *Manager
	c *connection
}

func (m *Manager) recordedLink(to usermgr.Link, c *connection) usermgr.Link { return link{to, m, c} }

func (l link) Quiesce(done func()) {
	s := new(span)
	l.m.log.begin(s, func() { l.c.quiesces = append(l.c.quiesces, s) })
	l.Link.Quiesce(func() {
		var at place
		l.m.log.mark(&at, func() { l.c.quiet = append(l.c.quiet, at) })
		done()
	})
	l.m.log.end(s, nil)
}

func (l link) Close(why *protocol.CloseError, done func(protocol.CloseOutcome)) {
	c := &closeCall{code: why.Code, text: why.Text}
	l.m.log.begin(&c.span, func() { l.c.closes = append(l.c.closes, c) })
	tell := done
	if done != nil {
		tell = func(o protocol.CloseOutcome) {
			var at place
			l.m.log.mark(&at, func() { l.c.outcome = o })
			done(o)
		}
	}
	l.Link.Close(why, tell)
	l.m.log.end(&c.span, nil)
}

// session is the Session that the engine gets. It records its calls.
type session struct {
	usermgr.Session
	m *Manager
	c *connection
}

func (s session) End(code protocol.CloseCode) {
	_ = s.m.ask(&ask{what: endConn, conn: s.c.number, code: code}, func() error {
		s.Session.End(code)
		return nil
	})
}

func (s session) Beat() {
	s.m.naming.RLock()
	defer s.m.naming.RUnlock()
	s.Session.Beat()
}

func (s session) Received(typ uint16, messages, bytes int) {
	s.tally(in, typ, messages, bytes, s.Session.Received)
}

func (s session) Sent(typ uint16, messages, bytes int) {
	s.tally(out, typ, messages, bytes, s.Session.Sent)
}

func (s session) Dropped(typ uint16, messages, bytes int) {
	s.tally(dropped, typ, messages, bytes, s.Session.Dropped)
}

func (s session) tally(w way, typ uint16, messages, bytes int, count func(uint16, int, int)) {
	t := &tally{way: w, typ: typ, messages: uint64(messages), bytes: uint64(bytes)}
	s.m.log.begin(&t.span, func() { s.c.tallies = append(s.c.tallies, t) })
	count(typ, messages, bytes)
	s.m.log.end(&t.span, nil)
}

// checker is the manager's Checker. It records the answers of its watches.
type checker struct {
	heartbeat.Checker
	m *Manager
}

func (c checker) Watch(silent func()) heartbeat.Watch {
	return &watch{Watch: c.Checker.Watch(silent), m: c.m}
}

type watch struct {
	heartbeat.Watch
	m    *Manager
	conn uint64 // 0 until it is known; guarded by naming
}

// nameWatch runs in Connected. The watch that gets the beat of its TouchSession is the session's.
func (m *Manager) nameWatch(s usermgr.SessionInfo) {
	m.naming.Lock()
	defer m.naming.Unlock()
	m.namingConn.Store(s.Address.Conn)
	m.Manager.TouchSession(s.ID)
	m.namingConn.Store(0)
}

func (w *watch) Beat() {
	if c := w.m.namingConn.Load(); c != 0 {
		if w.conn == 0 {
			w.conn = c
		}
		return
	}
	w.Watch.Beat()
}

func (w *watch) Silent() bool {
	silent := w.Watch.Silent()
	w.m.naming.RLock()
	conn := w.conn
	w.m.naming.RUnlock()
	var at place
	w.m.log.mark(&at, func() {
		if c := w.m.log.byConn[conn]; c != nil {
			c.silences = append(c.silences, silence{at, silent})
		}
	})
	return silent
}

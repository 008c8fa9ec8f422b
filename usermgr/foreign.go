package usermgr

import (
	"runtime/debug"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/wheel"
	"github.com/rollcall-go/rollcall/protocol"
)

// The application's event handlers, Links and Checkers may panic, or end their goroutine (runtime.Goexit). A user's
// turn must go on then, because otherwise the user could not log on any more. So the manager calls them on goroutines
// of their own; it calls this module's Links and Checkers directly.

// apart calls code of the application, and reports whether it has returned.
func (m *Manager) apart(who string, f func()) (ok bool) {
	ok = true
	contain.Apart(f, func(v any) {
		ok = false
		m.noteFailure(who, v)
	})
	return ok
}

// noteFailure counts and logs a panic, or a Goexit, of the application's code. It is called on that code's stack.
func (m *Manager) noteFailure(who string, v any) {
	m.handlerPanics.Add(1)
	m.log.Error(who+" panicked", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
}

// callLink calls a method of the session's link.
func (s *session) callLink(method string, f func()) (ok bool) {
	if contain.IsTrustedLink(s.links[0]) {
		f()
		return true
	}
	return s.user.manager.apart("a Link's "+method, f)
}

// quiesceLink calls the link's Quiesce. A link that fails counts as quiet: done, which may be called twice, is called then.
func (s *session) quiesceLink(done func()) {
	l := s.links[0]
	if contain.IsTrustedLink(l) { // here, so that no closure is made
		l.Quiesce(done)
		return
	}
	if !s.callLink("Quiesce", func() { l.Quiesce(done) }) {
		done()
	}
}

// closeLink closes the session's connection, with the recorded cause of its end. The kick that is the cause is told how the connection
// ended; when the link of the application fails it is not known.
func (s *session) closeLink(why *ending) {
	l, ce := s.links[0], &protocol.CloseError{Code: why.code, Text: why.text}
	var done func(protocol.CloseOutcome)
	if why.kick != nil {
		done = why.kick.outcomeOf(why.kicked)
	}
	if contain.IsTrustedLink(l) {
		l.Close(ce, done)
		return
	}
	if !s.callLink("Close", func() { l.Close(ce, done) }) && done != nil {
		done(protocol.OutcomePending)
	}
}

// address returns the link's address. A link of the application was asked for it once, at the logon.
func (s *session) address() Address {
	if r := s.lazy.Load(); r != nil && r.address != nil {
		return *r.address
	}
	return s.links[0].Address()
}

// conn returns the number of the link's connection.
func (s *session) conn() uint64 { return s.address().Conn }

// sessionOn returns an empty session for a link. A link of the application is asked for its address, which is kept in lazy. The session
// is nil when it has not answered.
func (m *Manager) sessionOn(l Link) (s *session, lazy *sessionLazy) {
	if contain.IsTrustedLink(l) {
		return new(session), nil
	}
	f := new(foreignSession)
	if !m.apart("a Link's Address", func() { f.address = l.Address() }) {
		return nil, nil
	}
	f.lazy.address = &f.address
	return &f.session, &f.lazy
}

// foreignChecker is a Checker of the application. Its Watch returns nil when the application's has failed.
type foreignChecker struct {
	heartbeat.Checker
	manager *Manager
}

// containing returns the checker that the manager calls: c, or a foreignChecker around it.
func (m *Manager) containing(c heartbeat.Checker) heartbeat.Checker {
	if wheel.Of(c) != nil {
		return c
	}
	return foreignChecker{c, m}
}

func (c foreignChecker) Watch(silent func()) (w heartbeat.Watch) {
	c.manager.apart("a Checker's Watch", func() { w = c.Checker.Watch(silent) })
	if w == nil {
		return nil
	}
	return foreignWatch{w, c.manager}
}

func (c foreignChecker) Close() { c.manager.apart("a Checker's Close", c.Checker.Close) }

// foreignWatch contains panics of all methods but Beat. Beat is in the message path, and the engine contains its
// panics.
type foreignWatch struct {
	heartbeat.Watch
	manager *Manager
}

func (w foreignWatch) Silent() (silent bool) {
	w.manager.apart("a Watch's Silent", func() { silent = w.Watch.Silent() })
	return silent
}

func (w foreignWatch) Stop() { w.manager.apart("a Watch's Stop", w.Watch.Stop) }

// startWatch begins to watch the session's silence. It reports false when a Checker of the application has failed.
func (s *session) startWatch() bool {
	m := s.user.manager
	if m.ring != nil {
		m.ring.Watch(s)
		return true
	}
	w := m.checker.Watch(s.fellSilent)
	if w == nil {
		return false
	}
	s.needLazy().watch = w
	return true
}

// foreignWatch returns the session's watch by a Checker of the application; nil for none.
func (s *session) foreignWatch() heartbeat.Watch {
	if r := s.lazy.Load(); r != nil {
		return r.watch
	}
	return nil
}

// isSilent reports whether the session has been silent for too long.
func (s *session) isSilent() bool {
	if ring := s.user.manager.ring; ring != nil {
		return ring.Silent(s)
	}
	w := s.foreignWatch()
	return w != nil && w.Silent()
}

// beatOnTurn calls Beat in the user's turn, where no engine contains its panics.
func (s *session) beatOnTurn() (ok bool) {
	if s.foreignWatch() != nil {
		return s.user.manager.apart("a Watch's Beat", s.Beat)
	}
	s.Beat()
	return true
}

package bridge_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// simple is a user manager of a program's own: one session a user, and one lock around everything, calls of links included.
type simple struct {
	mu       sync.Mutex
	sessions map[string]*simpleSession
	dropped  int
}

type simpleSession struct {
	usermgr.Session
	m    *simple
	user string
	link usermgr.Link
}

func (m *simple) Register(_ context.Context, l usermgr.Logon, link usermgr.Link) (usermgr.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.sessions[l.UserID]; old != nil {
		old.link.Close(&protocol.CloseError{Code: protocol.PushedOut}, nil)
	}
	s := &simpleSession{m: m, user: l.UserID, link: link}
	m.sessions[l.UserID] = s
	return s, nil
}

func (m *simple) Links(userID string) []usermgr.Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sessions[userID]; s != nil {
		return []usermgr.Link{s.link}
	}
	return nil
}

func (s *simpleSession) ID() string                { return s.user }
func (s *simpleSession) UserID() string            { return s.user }
func (s *simpleSession) Beat()                     {}
func (s *simpleSession) Received(uint16, int, int) {}
func (s *simpleSession) Sent(uint16, int, int)     {}
func (s *simpleSession) Dropped(uint16, int, int) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.dropped++
}

func (s *simpleSession) End(code protocol.CloseCode) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.sessions[s.user] == s {
		delete(s.m.sessions, s.user)
		s.link.Close(&protocol.CloseError{Code: code}, nil)
	}
}

// Link.Close calls nothing of the session's inside: a manager of one's own may hold its lock around both. Rule 13: users who push
// themselves out are remembered with such a manager, too.
func TestLinkCloseCallsNothingOfTheSessions(t *testing.T) {
	m := &simple{sessions: make(map[string]*simpleSession)}
	o := options{engine: engine.Config{Timeouts: engine.Timeouts{Stop: 5 * time.Second}}}
	s := newServerFor(t, o, nil, m).start()
	for _, user := range []string{"ann", "ann", "bob"} {
		old := s.logOn(user)
		c := s.logOn(user)
		old.expectClose(protocol.PushedOut)
		c.ask("in")
		_ = c.conn.Close()
		eventually(t, user+" is offline", func() bool { return m.Links(user) == nil })
	}
	if n := s.bridge.Relogons(); n != 2 {
		t.Errorf("%d users are remembered, want ann and bob", n)
	}
	if err := s.stop(); err != nil {
		t.Errorf("Run returned %v", err)
	}
}

// Rule 13: a logon that takes too long stands in the log, once.
func TestALogonThatTakesTooLongIsLogged(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	release := make(chan struct{})
	o := options{auth: func(context.Context, *engine.Conn, usermgr.Logon) (bridge.Identity, error) {
		<-release
		return bridge.Identity{UserID: "ann"}, nil
	}, bridge: bridge.Config{Logger: zap.New(core), LogonDeadline: 50 * time.Millisecond}}
	s := serve(t, o)
	c := s.dial()
	c.send(logonMessage("ann"))
	c.expectRefused(protocol.InternalError)
	close(release)
	if all := logs.All(); len(all) != 1 || all[0].ContextMap()["user"] != "ann" {
		t.Errorf("the log has %+v", all)
	}
}

// Clients cannot fill the log: a database that is down, or a handler that panics, causes a few lines.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	log := zap.New(core)
	o := options{engine: engine.Config{Logger: log}, auth: func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		if l.UserID == "bob" {
			return bridge.Identity{}, context.DeadlineExceeded
		}
		return bridge.Identity{UserID: l.UserID}, nil
	}, bridge: bridge.Config{Logger: log}}
	s := newServer(t, o)
	s.engine.Handle(30, func(*engine.Conn, *protocol.Message) error { panic("no") })
	s.start()
	for range 60 {
		c := s.dial()
		c.send(logonMessage("bob"))
		c.expectRefused(protocol.InternalError)
		c = s.logOn("ann")
		c.send(&protocol.Message{Type: 30})
		c.expectClose(protocol.InternalError)
	}
	if n := logs.FilterMessage("a logon failed").Len(); n == 0 || n > 40 { // some an interval
		t.Errorf("%d lines tell of 60 logons that failed", n)
	}
	if n := logs.FilterMessageSnippet("panicked").Len(); n == 0 || n > 40 {
		t.Errorf("%d lines tell of 60 panics", n)
	}
}

// What no program can mean is named.
func TestAttachNamesTheMistake(t *testing.T) {
	e := testkit.Must(engine.New(engine.Config{}))
	var none context.Context
	for name, attach := range map[string]func(){
		"rollcall: Attach needs an engine":                                              func() { testkit.Must(bridge.Attach(nil, &simple{}, nil, bridge.Config{})) },
		"rollcall: Attach needs a user manager":                                         func() { testkit.Must(bridge.Attach(e, nil, nil, bridge.Config{})) },
		"rollcall: Run needs a context: context.Background() for one that does not end": func() { _ = e.Run(none) },
	} {
		func() {
			defer func() {
				if v := recover(); v != name {
					t.Errorf("panic: %v, want %s", v, name)
				}
			}()
			attach()
		}()
	}
}

// Package contract checks a user manager against the rules of docs/contract.md.
//
// A [Manager] is a usermgr.Manager that records, in order, the calls to it with their results, and its calls to its links, its
// checker and its subscribers. A test calls [Manager.AtRest] when nothing is under way. At
// its end the test calls [Manager.Check], which reads the record and returns every rule that is broken. The package
// uses no sockets: a test of the manager uses links of its own; a test of a bridge gives the Manager to the bridge,
// and calls [Manager.Message] in its message handlers.
package contract

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Manager is a usermgr.Manager that records its calls. Methods that it does not override are not recorded.
//
// Subscribe to it before the first logon: every subscriber is expected to see every event.
type Manager struct {
	*usermgr.Manager

	// FakeTime says that the test runs in a testing/synctest bubble, where time passes only while all goroutines wait.
	// Then Check knows more: a call that must not wait takes no time, and calls at an earlier time come first.
	FakeTime bool

	// Rules are the rules that Check checks; empty for all. A mutant is tested for its own rule alone.
	Rules []int

	mode           usermgr.RelogonMode
	policy         Policy
	returnWins     bool
	grace, idle    time.Duration
	idleInterval   time.Duration // within which an idle session is found
	quiesceTimeout time.Duration

	log         log
	subscribers atomic.Int32

	// naming is locked while nameWatch sends a beat to find out which session a watch belongs to. Other beats take its
	// read lock.
	naming     sync.RWMutex
	namingConn atomic.Uint64
}

var _ usermgr.UserManager = (*Manager)(nil)

// New returns a new usermgr.Manager, with a record that begins now. Users have one session each.
func New(cfg usermgr.Config) *Manager { return NewWith(Policy{}, cfg) }

// NewWith is New with a policy instead of cfg.Devices.
func NewWith(p Policy, cfg usermgr.Config) *Manager {
	cfg.Devices = p.devices()
	m := &Manager{mode: cfg.RelogonMode, policy: p, returnWins: cfg.ReturnWins, grace: cfg.OfflineGrace, idle: cfg.IdleTimeout, quiesceTimeout: cfg.QuiesceTimeout}
	m.idleInterval = max(m.idle/60, min(time.Second, m.idle))
	if m.quiesceTimeout == 0 {
		m.quiesceTimeout = 5 * time.Second
	}
	m.log.start = time.Now()
	m.log.byConn = make(map[uint64]*connection)
	if cfg.HeartbeatChecker == nil {
		cfg.HeartbeatChecker = heartbeat.New(cfg.HeartbeatCheckInterval, cfg.HeartbeatTimeout)
		cfg.HeartbeatTimeout, cfg.HeartbeatCheckInterval = 0, 0
	}
	cfg.HeartbeatChecker = checker{cfg.HeartbeatChecker, m}
	m.Manager = testkit.Must(usermgr.New(cfg))
	m.Subscribe(usermgr.Events{Connected: m.nameWatch})
	return m
}

// Subscribe is usermgr.Manager.Subscribe. It records every call of a handler.
func (m *Manager) Subscribe(h usermgr.Events) (unsubscribe func()) {
	return m.Manager.Subscribe(m.recorded(int(m.subscribers.Add(1))-1, h))
}

// Register is usermgr.Manager.Register. It records the logon, and the calls of the link and of the session.
func (m *Manager) Register(ctx context.Context, l usermgr.Logon, to usermgr.Link) (usermgr.Session, error) {
	c := &connection{number: to.Address().Conn, user: l.UserID, takeOver: l.Session, device: l.Device, token: l.Token}
	m.log.begin(&c.logon, func() {
		m.log.conns = append(m.log.conns, c)
		m.log.byConn[c.number] = c
	})
	stop := context.AfterFunc(ctx, func() { m.log.mark(&c.contextEnded, nil) })
	s, err := m.Manager.Register(ctx, l, m.recordedLink(to, c))
	stop()
	m.log.end(&c.logon, func() {
		c.err, c.cause = err, context.Cause(ctx)
		if s != nil {
			c.session = s.ID()
		}
	})
	if err != nil {
		return nil, err
	}
	return session{s, m, c}, nil
}

// Clear is usermgr.Manager.Clear, recorded.
func (m *Manager) Clear(ctx context.Context) (sessions int, err error) {
	a := &ask{what: endAll, code: protocol.ServerStopping, blocks: ctx.Err() == nil}
	_ = m.ask(a, func() error {
		sessions, err = m.Manager.Clear(ctx)
		return nil
	})
	return sessions, err
}

// Close is usermgr.Manager.Close, recorded.
func (m *Manager) Close(ctx context.Context) error {
	return m.ask(&ask{what: endForGood, code: protocol.ServerStopping}, func() error { return m.Manager.Close(ctx) })
}

func (m *Manager) ask(a *ask, do func() error) error {
	m.log.begin(&a.span, func() { m.log.asks = append(m.log.asks, a) })
	err := do()
	m.log.end(&a.span, func() { a.err = err })
	return err
}

// Touch is usermgr.Manager.Touch, recorded.
func (m *Manager) Touch(userID string) bool {
	return m.touch(&touch{user: userID}, func() bool { return m.Manager.Touch(userID) })
}

// TouchSession is usermgr.Manager.TouchSession, recorded.
func (m *Manager) TouchSession(sessionID string) bool {
	return m.touch(&touch{session: sessionID}, func() bool { return m.Manager.TouchSession(sessionID) })
}

func (m *Manager) touch(t *touch, do func() bool) bool {
	m.log.begin(&t.span, func() { m.log.touches = append(m.log.touches, t) })
	m.naming.RLock()
	found := do()
	m.naming.RUnlock()
	m.log.end(&t.span, nil)
	return found
}

// SetTag is usermgr.Manager.SetTag, recorded.
func (m *Manager) SetTag(userID, tag string) bool {
	return m.tag(&tagging{user: userID, tag: tag}, func() bool { return m.Manager.SetTag(userID, tag) })
}

// SetSessionTag is usermgr.Manager.SetSessionTag, recorded.
func (m *Manager) SetSessionTag(sessionID, tag string) bool {
	return m.tag(&tagging{session: sessionID, tag: tag}, func() bool { return m.Manager.SetSessionTag(sessionID, tag) })
}

func (m *Manager) tag(t *tagging, do func() bool) bool {
	m.log.begin(&t.span, func() { m.log.taggings = append(m.log.taggings, t) })
	done := do()
	m.log.end(&t.span, func() { t.done = done })
	return done
}

// Session is usermgr.Manager.Session, recorded with its answer.
func (m *Manager) Session(sessionID string) (usermgr.SessionInfo, bool) {
	k := &look{session: sessionID}
	m.log.begin(&k.span, nil)
	info, ok := m.Manager.Session(sessionID)
	m.log.end(&k.span, func() {
		k.user, k.at, k.found = info.UserID, info.Address.Conn, ok
		for _, c := range m.log.conns {
			if !ok && c.session == sessionID {
				k.at = c.number
			}
		}
		if k.at != 0 { // otherwise no logon returned this session
			m.log.looks = append(m.log.looks, k)
		}
	})
	return info, ok
}

// Addresses calls usermgr.Manager.Links, and records the answer.
func (m *Manager) Addresses(userID string) (answer []usermgr.Address) {
	k := &look{user: userID}
	m.log.begin(&k.span, func() { m.log.looks = append(m.log.looks, k) })
	links := m.Links(userID)
	m.log.end(&k.span, func() {
		for _, l := range links {
			k.conns = append(k.conns, l.Address().Conn)
		}
	})
	for _, l := range links {
		answer = append(answer, l.Address())
	}
	return answer
}

// SessionAt is usermgr.Manager.SessionAt, recorded with its answer.
func (m *Manager) SessionAt(conn uint64) (usermgr.SessionInfo, bool) {
	k := &look{at: conn}
	m.log.begin(&k.span, func() { m.log.looks = append(m.log.looks, k) })
	info, ok := m.Manager.SessionAt(conn)
	m.log.end(&k.span, func() { k.user, k.found = info.UserID, ok })
	return info, ok
}

// User is usermgr.Manager.User, recorded with its answer.
func (m *Manager) User(userID string) (usermgr.UserData, bool) {
	k := &look{user: userID}
	m.log.begin(&k.span, func() { m.log.looks = append(m.log.looks, k) })
	data, ok := m.Manager.User(userID)
	m.log.end(&k.span, func() {
		if ok {
			k.data = &data
		}
		for _, s := range data.Sessions {
			k.conns = append(k.conns, s.Address.Conn)
		}
	})
	return data, ok
}

// Message records that a message handler of a connection starts. Call returns when the handler returns.
func (m *Manager) Message(conn uint64) (returns func()) {
	s := new(span)
	m.log.begin(s, func() {
		if c := m.log.byConn[conn]; c != nil {
			c.messages = append(c.messages, s)
		} else {
			m.log.strays = append(m.log.strays, conn)
		}
	})
	return func() { m.log.end(s, nil) }
}

// AtRest records what the manager answers now. Call it only when nothing is under way: no handler runs or is held up,
// and no call waits.
func (m *Manager) AtRest() {
	r := &rest{online: make(map[string][]uint64), data: make(map[string]usermgr.UserData), stats: m.Stats()}
	m.log.begin(&r.span, func() { m.log.rests = append(m.log.rests, r) })
	for userID := range m.Users() {
		for _, l := range m.Links(userID) {
			r.online[userID] = append(r.online[userID], l.Address().Conn)
		}
		if d, ok := m.Manager.User(userID); ok && m.IsOnline(userID) {
			r.data[userID] = d
		}
	}
	m.log.end(&r.span, nil)
}

// Len returns the length of the record. While it does not grow nothing happens.
func (m *Manager) Len() int {
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	return int(m.log.last)
}

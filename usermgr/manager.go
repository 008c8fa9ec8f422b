package usermgr

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/protocol"
)

// RelogonMode says what happens when a user who is online logs on again.
type RelogonMode int

const (
	// ReplaceOld ends the old session with PushedOut, then brings the new one online.
	ReplaceOld RelogonMode = iota
	// IgnoreNew keeps the old session and refuses the new logon with AlreadyLoggedOn.
	IgnoreNew
)

// Config holds the settings of a Manager. The zero value is ready to use.
type Config struct {
	// RelogonMode says what a second logon of one user does. 0 means ReplaceOld.
	RelogonMode RelogonMode
	// Devices says which sessions of one user may live side by side. The zero value means one session a user.
	Devices Devices
	// ReturnWins lets a client that comes back by itself, with a session that has ended, end a login of the same user that is
	// newer than that session. Otherwise it is refused with PushedOut. A logon that carries no session is not concerned.
	ReturnWins bool
	// OfflineGrace is how long a user whose last session has ended still counts as online, when the close code says that
	// the client may come back by itself: a user who is back within it was never offline. Meanwhile the user has no
	// session, and nothing can be sent. 0 or less means none.
	OfflineGrace time.Duration
	// IdleTimeout is after how long without any message but heartbeats a session expires, with SessionExpired. It is
	// found within a sixtieth of it, or a second where that is more. 0 or less means never.
	IdleTimeout time.Duration
	// HeartbeatTimeout is how long a client may be silent before its session ends with HeartbeatTimeout. 0 means 30 s; negative
	// means for ever: no client is watched.
	HeartbeatTimeout time.Duration
	// HeartbeatCheckInterval is within what time after HeartbeatTimeout a silence is found. 0 or less means 1 s; the least is
	// 5 ms.
	HeartbeatCheckInterval time.Duration
	// HeartbeatChecker finds silent clients, in the place of the manager's own checker: New returns an error where
	// HeartbeatTimeout or HeartbeatCheckInterval is set besides. The manager owns it and closes it: New panics for one that
	// another manager has. Nil means heartbeat.New(HeartbeatCheckInterval, HeartbeatTimeout).
	HeartbeatChecker heartbeat.Checker
	// QuiesceTimeout is how long a session that ends waits for its last message handler to return, before it is given
	// up on, logged and counted, so that a stuck handler cannot keep its user from logging on again.
	// 0 means 5 s; negative means no waiting.
	QuiesceTimeout time.Duration
	// ClosedHistory is how many sessions that have ended Closed remembers, each with its SessionInfo: some 400 bytes, and what
	// its Fields take, which the first frame's limit bounds. 0 means 1,000; negative means none.
	ClosedHistory int
	// Claims decides, together with other managers, who may come in. Nil means that this manager decides alone.
	Claims Claims
	// Logger takes what an operator should know. Nil means warnings and errors, to standard error.
	Logger *zap.Logger
}

// Manager is the user manager: it keeps users and sessions in this process's memory. All methods may be called from
// any goroutine, in event handlers too.
type Manager struct {
	relogon        RelogonMode
	devices        Devices
	returnWins     bool
	grace          time.Duration
	checker        heartbeat.Checker
	owned          heartbeat.Checker        // checker, as it was given
	ring           *heartbeat.Ring[session] // where checker is a Wheel; else nil
	idle           heartbeat.Checker        // nil without IdleTimeout
	quiesceTimeout time.Duration
	log            *zap.Logger

	users        directory
	runners      runners
	sessions     sessionIndex
	deviceCounts deviceCounts
	ids          sessionIDs
	revoked      refusals // tokens of sessions, and their IDs
	banned       refusals // users
	ended        endedSessions
	claims       Claims // nil for none
	claimed      claimedSessions

	subscribers atomic.Pointer[[]*Events]
	subscribing sync.Mutex // serialises writers of subscribers
	online      atomic.Int64
	count       countNotifier
	displays    displays
	clock       coarseClock
	closed      atomic.Bool
	history     history
	counters
}

var (
	_ UserManager        = (*Manager)(nil)
	_ HeartbeatTimeouter = (*Manager)(nil)
	_ OnlineAsker        = (*Manager)(nil)
	_ SessionLister      = (*Manager)(nil)
	_ Kicker             = (*Manager)(nil)
)

// longest is as good as for ever, and may be added to the time.
const longest = 100 * 365 * 24 * time.Hour

// New returns a manager with nobody online, or an error that names the setting that makes no sense. Call Close when done
// with it.
func New(cfg Config) (*Manager, error) {
	if cfg.RelogonMode != ReplaceOld && cfg.RelogonMode != IgnoreNew {
		return nil, fmt.Errorf("rollcall: RelogonMode %d is not defined: use ReplaceOld or IgnoreNew", cfg.RelogonMode)
	}
	if cfg.HeartbeatChecker != nil && (cfg.HeartbeatTimeout != 0 || cfg.HeartbeatCheckInterval != 0) {
		return nil, errors.New("rollcall: HeartbeatChecker is set, and HeartbeatTimeout or HeartbeatCheckInterval: it has times of its own; set one or the other")
	}
	m := &Manager{
		relogon:        cfg.RelogonMode,
		devices:        cfg.Devices.clone(),
		returnWins:     cfg.ReturnWins,
		grace:          cfg.OfflineGrace,
		checker:        cfg.HeartbeatChecker,
		quiesceTimeout: cfg.QuiesceTimeout,
		log:            logging.OrDefault(cfg.Logger),
		claims:         cfg.Claims,
	}
	m.grace, m.quiesceTimeout = min(m.grace, longest), min(m.quiesceTimeout, longest)
	cfg.IdleTimeout, cfg.ClosedHistory = min(cfg.IdleTimeout, longest), min(cfg.ClosedHistory, math.MaxInt/4)
	if m.checker == nil {
		m.checker = heartbeat.New(cfg.HeartbeatCheckInterval, cfg.HeartbeatTimeout)
	}
	ownChecker(m.checker)
	m.owned = m.checker
	m.checker = m.containing(m.checker)
	if wheel, ok := m.checker.(*heartbeat.Wheel); ok {
		m.ring = heartbeat.NewRing(wheel, func(s *session) *heartbeat.Mark[session] { return &s.mark }, (*session).fellSilent)
	}
	if cfg.IdleTimeout > 0 {
		m.idle = heartbeat.New(max(cfg.IdleTimeout/60, min(time.Second, cfg.IdleTimeout)), cfg.IdleTimeout)
	}
	if m.quiesceTimeout == 0 {
		m.quiesceTimeout = 5 * time.Second
	}
	m.history.size = cfg.ClosedHistory
	if m.history.size == 0 {
		m.history.size = defaultHistory
	}
	m.users.init()
	m.runners.init()
	m.ids.init()
	m.ended.init()
	m.displays.init()
	m.clock.start()
	m.count.start(m)
	return m, nil
}

// HeartbeatTimeout returns how long a user may be silent; 0 means for ever.
func (m *Manager) HeartbeatTimeout() time.Duration { return m.checker.Timeout() }

// Register implements UserManager. It refuses with AlreadyLoggedOn (IgnoreNew) or ServerStopping (after Close), a client that
// must not come back with the code of its session or with PushedOut, and
// with InternalError, or the *protocol.CloseError that is ctx's cause, when ctx ended before the logon's turn. The logon's
// event handlers may run on the calling goroutine.
func (m *Manager) Register(ctx context.Context, l Logon, link Link) (Session, error) {
	s, err := m.register(ctx, l, link)
	if err != nil {
		m.refuse(err)
	}
	return s, err
}

func (m *Manager) register(ctx context.Context, l Logon, link Link) (Session, error) {
	if ctx == nil || link == nil {
		panic("rollcall: Register needs a context and a link")
	}
	if l.UserID == "" {
		return nil, ErrBlankID
	}
	p := &pendingLogon{ctx: ctx, logon: l, link: link}
	u, t, turn := m.users.takeOrPost(m, l.UserID)
	if t != nil && !u.awaitTurn(ctx, t, turn) {
		u.logonOver()
		return nil, contextError(ctx)
	}
	defer u.passOn()
	u.logOn(p)
	if p.err != nil {
		return nil, p.err
	}
	return p.session, nil
}

// contextError says why a logon was not waited for: the cause that the caller gave, or the deadline.
func contextError(ctx context.Context) error {
	cause := context.Cause(ctx)
	var ce *protocol.CloseError
	if errors.As(cause, &ce) {
		return ce
	}
	return &protocol.CloseError{Code: protocol.InternalError, Text: "the logon's turn did not come: " + cause.Error()}
}

// Close ends every session with ServerStopping, refuses later logons, and waits until all handlers have returned and
// the manager's goroutines have ended, or until ctx ends. Do not call it from an event handler or a UserDisplayer: it
// waits for itself.
func (m *Manager) Close(ctx context.Context) error {
	m.closed.Store(true)
	m.claimed.giveUp(&protocol.CloseError{Code: protocol.ServerStopping})
	if _, err := m.Clear(ctx); err != nil {
		return err
	}
	if err := m.users.drain(ctx); err != nil {
		return err
	}
	if err := m.runners.stop(ctx); err != nil {
		return err
	}
	if err := m.count.stop(ctx); err != nil {
		return err
	}
	m.clock.stop()
	m.ended.close()
	m.revoked.close()
	m.banned.close()
	m.checker.Close()
	disownChecker(m.owned)
	if m.idle != nil {
		m.idle.Close()
	}
	defer logging.End(m.log)
	return m.displays.stop(ctx)
}

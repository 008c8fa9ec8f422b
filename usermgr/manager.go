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
	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/internal/wheel"
	"github.com/rollcall-go/rollcall/protocol"
)

// Config holds the settings of a Manager. The zero value is ready to use.
type Config struct {
	// RelogonMode says what a second logon of one user does. 0 means ReplaceOld.
	RelogonMode RelogonMode
	// Devices says which sessions of one user may live side by side. The zero value means one session for each user.
	Devices Devices
	// ReturnWins concerns a client that comes back by itself with a session that has ended, while the same user has a newer
	// login. With ReturnWins the client may end that login; without, the client is refused with PushedOut. Logons without a
	// session ID are not affected.
	ReturnWins bool
	// OfflineGrace is how long a user still counts as online after the end of the last session, when the close code says that
	// the client may come back by itself. A user who comes back within it was never offline. In the grace the user has no
	// session, and nothing can be sent. 0 or less means none.
	OfflineGrace time.Duration
	// IdleTimeout is the time without any message but heartbeats after which a session ends with SessionExpired. Idle sessions are
	// found within a sixtieth of that time, or within a second if that is more. 0 or less means never.
	IdleTimeout time.Duration
	// HeartbeatTimeout is how long a client may be silent before its session ends with HeartbeatTimeout. 0 means 30 s; negative
	// means that no client is watched.
	HeartbeatTimeout time.Duration
	// HeartbeatCheckInterval is the longest time between the end of HeartbeatTimeout and the discovery of a silence. 0 or less means
	// 1 s; less than 5 ms means 5 ms.
	HeartbeatCheckInterval time.Duration
	// HeartbeatChecker finds silent clients instead of the manager's own checker; HeartbeatTimeout and HeartbeatCheckInterval
	// must then be 0, or New returns an error. The manager owns the checker and closes it: New panics for a checker that another
	// manager has. Nil means heartbeat.New(HeartbeatCheckInterval, HeartbeatTimeout).
	HeartbeatChecker heartbeat.Checker
	// QuiesceTimeout is how long the end of a session waits for the session's last message handler to return. Then the end goes
	// on, and the handler is logged and counted, so that a stuck handler cannot keep its user from logging on again. 0 means
	// 5 s; negative means no wait.
	QuiesceTimeout time.Duration
	// ClosedHistory is the number of ended sessions that Closed returns. Each takes some 400 bytes and the bytes of its Fields, which
	// the limit on the first frame (engine.Limits.MaxFirstFrame) bounds. 0 means 1,000; negative means none.
	ClosedHistory int
	// Claims decides, together with other managers, which logons may come in. Nil means that this manager decides alone.
	Claims Claims
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger
}

// Manager is the user manager: it keeps users and sessions in this process's memory. All methods may be called from
// any goroutine, in event handlers too.
type Manager struct {
	relogon        RelogonMode
	devices        devicePolicy
	returnWins     bool
	grace          time.Duration
	checker        heartbeat.Checker
	owned          heartbeat.Checker    // checker before containing wrapped it
	ring           *wheel.Ring[session] // nil unless checker is heartbeat.New's
	idle           heartbeat.Checker    // nil without IdleTimeout
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
	claims       Claims         // nil for none
	presences    seam.Presences // claims, if it is one; else nil
	claimed      claimedSessions

	subscribers atomic.Pointer[[]*subscriber]
	parts       atomic.Pointer[[]namedPart]
	subscribing sync.Mutex // serialises writers of subscribers and parts
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

// longest stands for "for ever". It can be added to any time without overflow.
const longest = 100 * 365 * 24 * time.Hour

// New returns a manager without users, or an error that names the invalid setting. Call Close when the manager is no longer needed.
func New(cfg Config) (*Manager, error) {
	if cfg.RelogonMode != ReplaceOld && cfg.RelogonMode != IgnoreNew {
		return nil, fmt.Errorf("rollcall: RelogonMode %d is not defined: use ReplaceOld or IgnoreNew", cfg.RelogonMode)
	}
	if cfg.HeartbeatChecker != nil && (cfg.HeartbeatTimeout != 0 || cfg.HeartbeatCheckInterval != 0) {
		return nil, errors.New("rollcall: HeartbeatChecker is set, and HeartbeatTimeout or HeartbeatCheckInterval: it has times of its own; set one or the other")
	}
	devices, err := cfg.Devices.policy()
	if err != nil {
		return nil, err
	}
	m := &Manager{
		relogon:        cfg.RelogonMode,
		devices:        devices,
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
	if w := wheel.Of(m.checker); w != nil {
		m.ring = wheel.NewRing(w, func(s *session) *wheel.Mark[session] { return &s.mark }, (*session).fellSilent)
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
	m.presences, _ = m.claims.(seam.Presences)
	if c, ok := m.claims.(seam.ManagerUser); ok {
		c.UseManager(m, m.policy())
	}
	return m, nil
}

// HeartbeatTimeout returns how long a client may be silent; 0 means for ever.
func (m *Manager) HeartbeatTimeout() time.Duration { return m.checker.Timeout() }

// Register implements UserManager. It refuses a logon with AlreadyLoggedOn under IgnoreNew, with ServerStopping after Close, with
// Unauthorized for a banned user or a revoked token, and with DeviceNotAllowed for a device class that is not in Devices.Known. It
// refuses a client that must not come back with the code of the client's ended session, or with PushedOut. When ctx ended before the
// logon's turn the error is the *protocol.CloseError that is ctx's cause, or an InternalError. The logon's event handlers may run on
// the calling goroutine.
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

// contextError returns why a logon was given up: the cause that the caller gave, or the deadline.
func contextError(ctx context.Context) error {
	cause := context.Cause(ctx)
	var ce *protocol.CloseError
	if codes.As(cause, &ce) {
		return ce
	}
	return &protocol.CloseError{Code: protocol.InternalError, Text: "the logon's turn did not come: " + cause.Error()}
}

// Close ends every session with ServerStopping, refuses later logons, and waits until all handlers have returned and the manager's
// goroutines have ended, or until ctx ends. Do not call it in an event handler or a UserDisplayer: it would wait for itself.
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

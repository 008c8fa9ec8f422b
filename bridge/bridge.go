// Package bridge joins an engine and a user manager. It binds the user of a connection's first message to that connection, asks the
// authenticator, answers logons, sends Close notices and closes connections whose sessions end. It sends messages to users, relays
// messages from one user to another, and keeps groups.
//
//	users, err := usermgr.New(usermgr.Config{})
//	e, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: ":9000"}}})
//	b, err := bridge.Attach(e, users, check, bridge.Config{}) // before e.Run
//	e.Handle(chat, func(c *engine.Conn, m *protocol.Message) error {
//		return b.Send("bob", chat, m.Body) // to each of bob's sessions
//	})
//	err = e.Run(ctx)
package bridge

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// errOffline is the error for a user who has no session on this bridge's engine.
var errOffline = protocol.Errorf(protocol.UserOffline, "the user is offline")

// Identity is the result of an authenticator.
type Identity struct {
	// UserID is the user that is bound to the connection. When the Logon names a user it must be the same ID, unless Canonical is
	// set.
	UserID string
	// Canonical means that UserID is the canonical form of the ID in the Logon and is bound instead of it: "alice" for a client that
	// says "Alice". The authenticator is responsible for this: both IDs must belong to the same user. The Logon's reply tells the
	// client its UserID; with StrictUserID the client's later messages must carry this ID, or none.
	Canonical bool
	// Token names the login, instead of the Logon's own token: the same token twice is one session. Where the Logon's token is a
	// password that all devices of a user share, give each device a token of its own here. Empty means the Logon's token.
	Token string
	// Expires is when the token expires. The session then ends with TokenExpired, unless the client has renewed the token on the
	// same connection (protocol.TypeRenew); for that the authenticator is called again. The time left is computed once, when
	// the authenticator returns; setting the system's clock later has no effect. A time in the past refuses the logon with
	// TokenExpired. Zero means never.
	Expires time.Time
}

// Authenticator decides which user a client is, by its Logon, or by the certificate of its connection (c.PeerCertificate). It runs
// on a goroutine of its own and may block until ctx ends. c has not been let in yet: use RemoteAddr, TLS or Value, and do not
// send. A close code or *protocol.CloseError refuses the client with that code, usually Unauthorized. Any other error means that
// there is no answer: the client is told InternalError and may try again. The same happens for a CloseError that is nil or has no
// code, and for an Identity whose UserID is invalid (see protocol.CheckUserID); these mistakes of the authenticator are logged.
type Authenticator func(ctx context.Context, c *engine.Conn, l usermgr.Logon) (Identity, error)

// Config holds the settings of a bridge. The zero value is ready to use.
type Config struct {
	// MaxAuthenticating limits the authenticators that run at a time; further logons wait, in order. 0 or less means 256.
	MaxAuthenticating int
	// MaxLogons limits the logons that run at a time, from the authenticator to the user manager's answer; further logons wait,
	// in order, within LogonDeadline. It protects a user manager that depends on others, such as a database, from a storm of
	// returning clients. A stuck event handler holds the place of its user's logon; when stuck handlers hold all places no
	// user can log on, so choose the number with room for some. In a cluster, a logon that waits for another node, or for the
	// store to recover, holds no place. 0 or less means no limit.
	MaxLogons int
	// LogonDeadline limits the time from a connection's first message to the end of its logon, the authenticator and the user's
	// event handlers included. At the deadline the client is told InternalError. 0 or less means 10 s.
	LogonDeadline time.Duration
	// RelogonBurst is how often at once the logons of one user may push each other out, or be refused with AlreadyLoggedOn. A user who
	// exceeds it is slowed down, so that two clients that ignore PushedOut cannot push each other out without end: the user's logons
	// run one by one, with a pause that doubles from 100 ms to 5 s. After 20 s without such a logon the user has the whole burst
	// again. A logon that has waited for 10 s, or for half of LogonDeadline if that is less, is refused with RateLimited, and the
	// client is told when to come back (protocol.FieldRetryMS). Other users are not slowed down. 0 means 20; negative means no limit.
	RelogonBurst int
	// StrictUserID closes a connection with WrongUserID when a later message carries another user ID than the bound one
	// (Identity.UserID, which a client may spell differently). Without it the user ID in later messages is ignored.
	StrictUserID bool
	// HeartbeatInterval is the interval in which clients are told to send something. 0 means a third of the user manager's timeout, if
	// the manager has the method HeartbeatTimeout; negative means that clients are told nothing.
	HeartbeatInterval time.Duration
	// ManualClose leaves notices and closing to the event handlers. Messages after Disconnected are dropped; the bridge closes the
	// connection if it is still open 5 s after Disconnected. The bridge itself closes connections whose logon is refused, because they
	// have no session.
	ManualClose bool
	// Relay, when set, passes messages whose destination is a user on to that user's sessions. With nil they go to the handlers
	// of their type.
	Relay *Relay
	// MayAskWhoIsOnline decides whether a client may ask which of some users are online. It runs on the event loop. Nil refuses
	// all such requests.
	MayAskWhoIsOnline func(asker string, about []string) bool
	// Visible hides users from the answer to WhoIsOnline: the answer has the users who are online and for whom Visible returns true. Nil
	// hides none. It is called for each user in the question, online or not, after the bridge has found who is online; so an answer takes
	// as long for a hidden user as for one who is offline. asker may be userID. Visible runs on the asker's event loop, and with Elsewhere
	// on a goroutine of the question, on the asker's server. It must not block, because one question may have 1,000 users. A panic in
	// it is logged, and means false.
	//
	// Only WhoIsOnline asks Visible. Relay answers UserOffline by sessions: a user who may write to another finds out whether that one has a
	// session, unless Relay.Allow refuses.
	Visible func(asker, userID string) bool
	// Elsewhere reaches users whose sessions are on other servers: a cluster.Node. Send, SendMessage, Relay and the question who is
	// online then concern the users of all servers; ConnsOf and groups concern this engine alone. Nil means that there are no other
	// servers.
	Elsewhere Elsewhere
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger
}

// manualCloseGrace is how long a connection may outlive its session with ManualClose.
var manualCloseGrace = 5 * time.Second // a variable for the tests alone

// Bridge joins one engine and one user manager. All methods may be called from any goroutine.
type Bridge struct {
	engine         *engine.Engine
	hidden         seam.Engine[*engine.Conn, *engine.SendOptions] // the same engine
	users          usermgr.UserManager
	manager        *usermgr.Manager // users, if it is a *usermgr.Manager; else nil
	several        bool             // users may have sessions here and elsewhere at once
	authenticator  Authenticator    // nil lets every client in
	cfg            Config
	log            *zap.Logger
	authenticating *semaphore    // nil without an authenticator
	loggingOn      *semaphore    // nil without MaxLogons
	heartbeat      time.Duration // the interval that clients are told; 0 for none
	silence        time.Duration // after which the manager ends a session; 0 for never, or unknown
	logons         *spareGoroutines[*logon]
	expiries       expiries      // of the sessions that expire
	relogons       relogons      // of the users whose logons push each other out
	grace          time.Duration // manualCloseGrace at the time of Attach

	groupsOnce sync.Once
	groups     atomic.Pointer[groups] // nil until the first call of Group

	bound   atomic.Int64  // logons under way and sessions that are not yet unbound
	telling atomic.Int64  // groups that are telling their subscribers
	idle    chan struct{} // gets a token when bound or telling may have become 0

	counters
}

// Attach joins e and users. With auth, a client's first message must be a Logon, and auth decides which user the client
// is; a nil auth lets every client in as the user that its first message names. Call Attach before e.Run, once for an
// engine; several engines may share a user manager. It panics for a second call, after Run, and when e or users is nil.
// An error names the invalid setting. When the engine stops, the sessions of its connections end, and Run waits for
// their Disconnected handlers.
func Attach(e *engine.Engine, users usermgr.UserManager, auth Authenticator, cfg Config) (*Bridge, error) {
	if e == nil {
		panic("rollcall: Attach needs an engine")
	}
	if users == nil { // otherwise every logon would fail
		panic("rollcall: Attach needs a user manager")
	}
	if cfg.MaxAuthenticating <= 0 {
		cfg.MaxAuthenticating = 256
	}
	if cfg.LogonDeadline <= 0 {
		cfg.LogonDeadline = 10 * time.Second
	}
	const longest = 100 * 365 * 24 * time.Hour // stands for ever, and can be added to any time
	cfg.LogonDeadline, cfg.HeartbeatInterval = min(cfg.LogonDeadline, longest), min(cfg.HeartbeatInterval, longest)
	manager, _ := users.(*usermgr.Manager)
	b := &Bridge{engine: e, hidden: seam.EngineOf(e).(seam.Engine[*engine.Conn, *engine.SendOptions]), users: users, manager: manager,
		authenticator: auth, cfg: cfg, log: logging.OrDefault(cfg.Logger), idle: make(chan struct{}, 1), grace: manualCloseGrace}
	b.relogons.init(&cfg)
	b.logons = newSpareGoroutines((*logon).run)
	if cfg.MaxLogons > 0 {
		b.loggingOn = newSemaphore(cfg.MaxLogons)
	}
	if auth != nil {
		b.authenticating = newSemaphore(cfg.MaxAuthenticating)
	}
	b.heartbeat = max(cfg.HeartbeatInterval, 0)
	if m, ok := users.(usermgr.HeartbeatTimeouter); ok {
		b.silence = m.HeartbeatTimeout()
	}
	if cfg.HeartbeatInterval == 0 {
		b.heartbeat = b.silence / 3
	}
	if b.silence > 0 && b.heartbeat >= b.silence {
		return nil, fmt.Errorf("rollcall: HeartbeatInterval is %v, and clients that are silent for %v are thrown out: it must be less", b.heartbeat, b.silence)
	}
	if cfg.Elsewhere != nil {
		if err := b.useElsewhere(); err != nil {
			return nil, err
		}
	}
	e.SetAdmission((*admission)(b))
	if c, ok := seam.ClaimsOf(users).(seam.EngineUser); ok {
		c.UseEngine(b.hidden)
	}
	e.Handle(protocol.TypeWhoIsOnline, b.whoIsOnline)
	if auth != nil {
		e.Handle(protocol.TypeRenew, b.renew)
	}
	return b, nil
}

// Engine returns the engine that was given to Attach.
func (b *Bridge) Engine() *engine.Engine { return b.engine }

// Users returns the user manager that was given to Attach.
func (b *Bridge) Users() usermgr.UserManager { return b.users }

// ConnsOf yields the connections of the users' sessions on this bridge's engine, user by user, each user's oldest session first. It
// looks a user up when it comes to that user. If a user is named twice, the user's connections are yielded twice.
func (b *Bridge) ConnsOf(userIDs ...string) iter.Seq[*engine.Conn] {
	return func(yield func(*engine.Conn) bool) {
		for _, userID := range userIDs {
			for _, l := range b.users.Links(userID) {
				if c := b.conn(l); c != nil && !yield(c) {
					return
				}
			}
		}
	}
}

// reach calls send for each connection of the user's sessions on this engine. When send returns engine.ErrClosed, it looks the user up
// again and calls send for connections that have come since, so that a session that took over between the look-up and send is not
// missed. Other errors have no effect.
func (b *Bridge) reach(userID string, send func(*engine.Conn) error) {
	var asked map[*engine.Conn]struct{} // nil in the first round
	for {
		links, ended := b.users.Links(userID), false
		for _, l := range links {
			c := b.conn(l)
			if c == nil {
				continue
			}
			if asked != nil {
				if _, before := asked[c]; before {
					continue
				}
				asked[c] = struct{}{}
			}
			if errors.Is(send(c), engine.ErrClosed) {
				ended = true
			}
		}
		if !ended {
			return
		}
		if asked == nil {
			asked = make(map[*engine.Conn]struct{}, len(links))
			for _, l := range links {
				asked[b.conn(l)] = struct{}{}
			}
		}
	}
}

// Send sends a message of the application to every session of a user on this engine. It returns a protocol.UserOffline when the user
// has no session, an error for a type that is the system's (use SendMessage for those), or, when no session gets the message, the
// error of engine.Conn.Send. Send copies the body and never blocks.
//
// With Config.Elsewhere the message also goes to the user's sessions on other servers. Nil then means, for a user without a session here,
// that the message is on its way: the user may turn out to be offline, and the message may be lost with a connection between servers.
func (b *Bridge) Send(userID string, typ uint16, body []byte) error {
	if links := b.links(userID); len(links) == 1 {
		// The same as sendBy for a user with one session, without a closure.
		if own, ok := links[0].(link); ok && !b.several && bridgeOf(own.Conn()) == b {
			if err := own.Conn().Send(typ, body); err == nil || !errors.Is(err, engine.ErrClosed) {
				return err
			}
		}
	}
	if typ >= protocol.FirstSystemType {
		return fmt.Errorf("rollcall: message type 0x%04x is the system's", typ)
	}
	err := b.sendBy(userID, func(c *engine.Conn) error { return c.Send(typ, body) })
	if b.cfg.Elsewhere == nil {
		return err
	}
	return b.sendBeyond(userID, &protocol.Message{Type: typ, Body: body}, nil, err, nil)
}

// SendMessage is Send for any message, such as one with a sender's UserID. The options may be nil: see engine.Conn.SendMessage. Their
// Report is called for sessions on this engine.
func (b *Bridge) SendMessage(userID string, m *protocol.Message, o *engine.SendOptions) error {
	return b.sendBeyond(userID, m, o, b.sendHere(userID, m, o), nil)
}

// sendHere sends a message to the user's sessions on this engine.
func (b *Bridge) sendHere(userID string, m *protocol.Message, o *engine.SendOptions) error {
	return b.sendBy(userID, func(c *engine.Conn) error { return c.SendMessage(m, o) })
}

// links asks the user manager for a user's links. For a *usermgr.Manager it makes no call through an interface.
func (b *Bridge) links(userID string) []usermgr.Link {
	if b.manager != nil {
		return b.manager.Links(userID)
	}
	return b.users.Links(userID)
}

func (b *Bridge) sendBy(userID string, send func(*engine.Conn) error) error {
	err := errOffline
	b.reach(userID, func(c *engine.Conn) error {
		sendErr := send(c)
		switch {
		case sendErr == nil:
			err = nil
		case errors.Is(sendErr, engine.ErrClosed): // closing: counts as offline
		case err != nil:
			err = sendErr
		}
		return sendErr
	})
	return err
}

// conn returns the connection of a session, or nil when it is not on this bridge's engine.
func (b *Bridge) conn(l usermgr.Link) *engine.Conn {
	switch own, ok := l.(link); {
	case !ok: // the user manager has wrapped the link
		return b.engine.Conn(l.Address().Conn)
	case bridgeOf(own.Conn()) == b:
		return own.Conn()
	}
	return nil
}

// admission is the engine's side of the bridge.
type admission Bridge

var (
	_ engine.Admission     = (*admission)(nil)
	_ seam.HeartbeatTeller = (*admission)(nil)
	_ seam.Relayer         = (*admission)(nil)
)

// First implements engine.Admission.
func (a *admission) First(k engine.Control, m *protocol.Message) engine.Binding {
	b := (*Bridge)(a)
	p := b.newLogon(k, m)
	if b.loggingOn != nil {
		p.turn = b.loggingOn.join() // here, because here the order of the logons is known
	} else {
		p.authTurn = b.authenticating.join()
	}
	b.bound.Add(1)
	b.logons.run(p)
	return p
}

// Heartbeat implements seam.HeartbeatTeller.
func (a *admission) Heartbeat() (timeout, interval time.Duration) { return a.silence, a.heartbeat }

// Addressed implements engine.Admission. It is called only where Relays reports true.
func (a *admission) Addressed(c *engine.Conn, m *protocol.Message) (handled bool, err error) {
	return true, (*Bridge)(a).relay(c, m)
}

// Relays implements seam.Relayer.
func (a *admission) Relays() bool { return a.cfg.Relay != nil }

// Drain implements engine.Admission. A group with events to tell counts like a session whose end is not over.
func (a *admission) Drain(ctx context.Context) (left int) {
	b := (*Bridge)(a)
	defer logging.End(b.log)
	defer b.logons.end()
	for b.bound.Load() > 0 || b.telling.Load() > 0 {
		select {
		case <-b.idle:
		case <-ctx.Done():
			return int(b.bound.Load() + b.telling.Load())
		}
	}
	return 0
}

// release is called when a logon has failed or a session is unbound.
func (b *Bridge) release() {
	if b.bound.Add(-1) == 0 {
		b.becameIdle()
	}
}

// told is called when a group has nothing more to tell.
func (b *Bridge) told() {
	if b.telling.Add(-1) == 0 {
		b.becameIdle()
	}
}

func (b *Bridge) becameIdle() {
	select {
	case b.idle <- struct{}{}:
	default:
	}
}

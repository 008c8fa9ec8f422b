// Package rollcall is a server that knows its users: an engine, a user manager and a bridge in one.
//
//	srv, err := rollcall.New(rollcall.Config{Addr: ":9000"}) // lets everybody in: see Authenticate
//	if err != nil {
//		log.Fatal(err)
//	}
//	srv.Users.Subscribe(rollcall.Events{
//		Connected: func(s rollcall.SessionInfo) { log.Print(s.UserID, " is online from ", s.Address.Remote) },
//	})
//	srv.Handle(chat, func(c *rollcall.Conn, m *rollcall.Message) error { // m is valid until the handler returns
//		if err := srv.Send("bob", chat, m.Body); err != nil { // to each of bob's sessions
//			return err // the sender is told: UserOffline
//		}
//		return c.Reply(m, nil)
//	})
//	err = srv.Run(ctx)
//
// The parts are packages of their own, for programs that need them apart: [engine], [usermgr] and [bridge]. docs/guide.md
// introduces them in ten minutes, docs/contract.md has the rules that they hold.
package rollcall

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Config holds the settings of a server. With an address the zero value of the rest is ready to use.
type Config struct {
	// Addr is a TCP address to listen on, as in net.Listen: ":9000" for port 9000 of all the machine's addresses,
	// "127.0.0.1:0" for a free port of one, which Addrs tells. It is one more plain listener, before Engine.Listeners. Empty
	// means those alone.
	Addr string
	// Authenticate decides who a client is. Nil lets everybody in, as the user that the first message names.
	Authenticate bridge.Authenticator
	// Engine holds the settings of the connections.
	Engine engine.Config
	// Users holds the settings of the user manager: second logons, devices, heartbeat.
	Users usermgr.Config
	// Bridge holds the settings of logons, and of messages from user to user.
	Bridge bridge.Config
	// Logger takes what an operator should know, from every part that has no Logger of its own. Nil means warnings and
	// errors, to standard error.
	Logger *zap.Logger
}

// Server is an engine, a bridge and a user manager that belong together. It has the methods of the first two: Handle,
// Broadcast, Ban, Stats and others are the engine's; Send, SendMessage, ConnsOf and Logons are the bridge's. All methods may
// be called from any goroutine, where theirs may.
type Server struct {
	*engine.Engine
	*bridge.Bridge
	// Users is the user manager: Subscribe, User, Count, KickUser and others.
	Users *usermgr.Manager
}

// What a first program needs of the parts has a name here too.
type (
	// Conn is one connection; see engine.Conn.
	Conn = engine.Conn
	// SendOptions say how one message is sent; see engine.SendOptions.
	SendOptions = engine.SendOptions
	// Events are the functions that are told of users who come and go; see usermgr.Events.
	Events = usermgr.Events
	// SessionInfo describes a session; see usermgr.SessionInfo.
	SessionInfo = usermgr.SessionInfo
	// UserData describes a user; see usermgr.UserData.
	UserData = usermgr.UserData
	// Logon is what a client says when it logs on; see usermgr.Logon.
	Logon = usermgr.Logon
	// Identity is what an authenticator has found out; see bridge.Identity.
	Identity = bridge.Identity
	// Message is one message; see protocol.Message.
	Message = protocol.Message
	// CloseCode says why a session ended, or a request failed; see protocol.CloseCode.
	CloseCode = protocol.CloseCode
)

// New returns a server that does not listen yet, or an error that names the setting that makes no sense. Give it handlers
// and events, then Run it. A server that is never run is ended by Users.Close.
func New(cfg Config) (*Server, error) {
	if cfg.Addr != "" {
		cfg.Engine.Listeners = append([]engine.Listener{{Addr: cfg.Addr}}, cfg.Engine.Listeners...)
	}
	if len(cfg.Engine.Listeners) == 0 {
		return nil, errors.New("rollcall: no address to listen on: set Config.Addr, or Config.Engine.Listeners")
	}
	if cfg.Authenticate != nil {
		cfg.Bridge.Authenticate = cfg.Authenticate
	}
	for _, l := range []**zap.Logger{&cfg.Engine.Logger, &cfg.Users.Logger, &cfg.Bridge.Logger} {
		if *l == nil {
			*l = cfg.Logger
		}
	}
	e, err := engine.New(cfg.Engine)
	if err != nil {
		return nil, err
	}
	users, err := usermgr.New(cfg.Users)
	if err != nil {
		return nil, err
	}
	b, err := bridge.Attach(e, users, cfg.Bridge)
	if err != nil {
		_ = users.Close(context.Background()) // nobody is online, whom it would wait for
		return nil, err
	}
	return &Server{Engine: e, Bridge: b, Users: users}, nil
}

// closeTimeout is how long Run waits for the last event handlers.
const closeTimeout = 10 * time.Second

// Run serves until ctx ends, then stops gracefully: see engine.Engine.Run, whose errors it returns. Then it closes the user
// manager: when Run has returned without an error, every event has been told. It waits for the last events for 10 s at most,
// and says in its error when that was not enough. Call it once.
func (s *Server) Run(ctx context.Context) error {
	err := s.Engine.Run(ctx)
	closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(err, s.Users.Close(closing))
}

// Package rollcall is a TCP server that knows its users: an engine, a user manager and a bridge in one.
//
//	srv, err := rollcall.New(rollcall.Config{Addr: ":9000"}) // lets everybody in: see Authenticate
//	if err != nil {
//		log.Fatal(err)
//	}
//	srv.Users.Subscribe(rollcall.Events{
//		Connected: func(s rollcall.SessionInfo) { log.Print(s.UserID, " is online from ", s.Address) },
//	})
//	srv.Handle(chat, func(c *rollcall.Conn, m *rollcall.Message) error { // m is valid until the handler returns
//		if err := srv.Send("bob", chat, m.Body); err != nil { // to each of bob's sessions
//			return err // the sender is told: UserOffline
//		}
//		return c.Reply(m, nil)
//	})
//	err = srv.Run(ctx)
//
// The parts are also packages of their own, for programs that need them separately: [engine], [usermgr] and [bridge].
// docs/guide.md introduces them in ten minutes; docs/contract.md has the rules that they keep.
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
	// Addr is a TCP address to listen on, as in net.Listen: ":9000" is port 9000 on all addresses of the machine, "127.0.0.1:0"
	// is a free port on one, which Addrs returns. It adds a listener without TLS before Engine.Listeners. Empty means
	// Engine.Listeners alone.
	Addr string
	// Authenticate decides which user a client is. Nil lets every client in, as the user that its first message names.
	Authenticate bridge.Authenticator
	// Engine holds the settings of the connections.
	Engine engine.Config
	// Users holds the settings of the user manager: second logons, devices, heartbeat.
	Users usermgr.Config
	// Bridge holds the settings of logons, and of messages from user to user.
	Bridge bridge.Config
	// Logger is the logger of every part that has no Logger of its own. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger
}

// Server is an engine, a bridge and a user manager, joined. It has the methods of the engine (Handle, Broadcast, Ban, Stats and
// others) and of the bridge (Send, SendMessage, ConnsOf, Group, Logons and others), which say from which goroutines they may be
// called.
type Server struct {
	*engine.Engine
	*bridge.Bridge
	// Users is the user manager: Subscribe, User, Count, Kick and others.
	Users *usermgr.Manager
}

// Types of the parts that most programs use, so that they need no other import.
type (
	// Conn is one connection; see engine.Conn.
	Conn = engine.Conn
	// SendOptions say how one message is sent; see engine.SendOptions.
	SendOptions = engine.SendOptions
	// Events are the functions that are called when users come and go; see usermgr.Events.
	Events = usermgr.Events
	// SessionInfo describes a session; see usermgr.SessionInfo.
	SessionInfo = usermgr.SessionInfo
	// UserData describes a user; see usermgr.UserData.
	UserData = usermgr.UserData
	// Logon is the content of a client's Logon message; see usermgr.Logon.
	Logon = usermgr.Logon
	// Identity is the result of an authenticator; see bridge.Identity.
	Identity = bridge.Identity
	// Message is one message; see protocol.Message.
	Message = protocol.Message
	// CloseCode says why a session ended, or a request failed; see protocol.CloseCode.
	CloseCode = protocol.CloseCode
)

// New returns a server that does not listen yet, or an error that names the invalid setting. Add handlers and events, then call
// Run. Call Users.Close for a server that is never run.
func New(cfg Config) (*Server, error) {
	if cfg.Addr != "" {
		cfg.Engine.Listeners = append([]engine.Listener{{Addr: cfg.Addr}}, cfg.Engine.Listeners...)
	}
	if len(cfg.Engine.Listeners) == 0 {
		return nil, errors.New("rollcall: no address to listen on: set Config.Addr, or Config.Engine.Listeners")
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
	b, err := bridge.Attach(e, users, cfg.Authenticate, cfg.Bridge)
	if err != nil {
		_ = users.Close(context.Background()) // does not wait: no user is online
		return nil, err
	}
	return &Server{Engine: e, Bridge: b, Users: users}, nil
}

// closeTimeout is how long Run waits for the last event handlers.
const closeTimeout = 10 * time.Second

// Run serves until ctx ends, then stops gracefully: see engine.Engine.Run, whose errors it returns. Then it closes the user
// manager, and waits up to 10 s for the last event handlers. When Run returns nil, every event handler has returned; when 10 s
// were not enough, the error says so. Call Run once.
func (s *Server) Run(ctx context.Context) error {
	err := s.Engine.Run(ctx)
	closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(err, s.Users.Close(closing))
}

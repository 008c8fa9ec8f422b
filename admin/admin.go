// Package admin is a page, and an API, of the users who are online: who, from where, since when, with what traffic; which clients are slow;
// what has just happened, and why. It is an http.Handler for a program's own mux.
//
//	authorize, token := admin.Loopback() // pages on this machine may look; with the token they may throw users out
//	pages, err := admin.New(admin.Config{
//		Users:     srv.Users,
//		Engines:   []admin.Engine{{Engine: srv.Engine, Bridge: srv.Bridge}},
//		Authorize: authorize,
//	})
//	http.Handle("/admin/", http.StripPrefix("/admin", pages))
//	log.Print("the token is ", token)
//
// The IDs and tokens of sessions are secrets, because they can take a session over: no answer has them. docs/admin.md introduces the page
// and the API.
//
// # Cost
//
// The message path pays nothing: the package reads counters that exist anyway. An Admin has one goroutine, which reads them once a second.
// It subscribes to the user manager's events while a page watches them, and not otherwise. What has to look at all sessions (filters,
// search, the top 50) runs one at a time and for 2 s at most.
package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Config holds the settings of an Admin.
type Config struct {
	// Users is the user manager whose users are shown. It is required.
	Users *usermgr.Manager
	// Engines are the engines whose connections are shown, each with the bridge that joins it to Users. Without any, the answers have
	// what the user manager knows.
	Engines []Engine
	// Authorize says what a request may do, and who asks, for the audit. Basic and Loopback make such functions. Any goroutine may call
	// it, and for a stream of events it is called again every 30 s with the stream's request. Nil refuses everything.
	Authorize func(*http.Request) (who string, may Permission)
	// Hosts are the names under which the page may be called, without ports, such as "admin.example.com". Other names are refused,
	// because a stranger's page may point a name of its own at this server. Empty means any name. Loopback checks the name itself.
	Hosts []string
	// ShowFields are the fields of a Logon (usermgr.SessionInfo.Fields) that are shown. Empty means none.
	ShowFields []string
	// Presence, when set, says what state others see a user in: a *presence.Service.
	Presence Presence
	// Chat, when set, has the contacts and groups of users: a *chat.Service.
	Chat Chat
	// Cluster, when set, has the page show all nodes, and throw users out of all: the *cluster.Node of Users.
	Cluster Cluster
	// Send lets requests that may act send messages to users, too, and push them where Push is set.
	Send bool
	// Push pushes messages, with Send: a *push.Service. Nil means that none are pushed.
	Push Pusher
	// Audit is told of each act before and after it, and of each that was refused. It may block. Nil means that Logger gets a line for
	// each, at info.
	Audit func(Action)
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error; the audit too, where Audit is nil.
	Logger *zap.Logger
}

// Engine is an engine whose connections are shown.
type Engine struct {
	Name   string // for people; it may be empty where there is one engine
	Engine *engine.Engine
	Bridge *bridge.Bridge // nil hides the counts of its logons
}

// Admin is the page and its API. Make it with New, mount it with http.StripPrefix under a path that ends with a slash, and Close it.
type Admin struct {
	cfg     Config
	log     *zap.Logger
	began   time.Time
	samples sampler
	scans   chan struct{} // has room while no scan runs
	acts    chan struct{} // has room for acts
	asked   chan struct{} // has room for kicks over a cluster
	tops    topCache
	hub     hub

	ended   chan struct{} // closed by Close
	closing sync.Once
	running sync.WaitGroup // the sampler
	over    atomic.Bool
}

var _ http.Handler = (*Admin)(nil)

// maxActs limits the requests at a time that throw users out: each waits up to actPatience for the outcomes.
const maxActs = 16

// New returns an Admin that has begun to sample, or an error that names the invalid setting.
func New(cfg Config) (*Admin, error) {
	if cfg.Users == nil {
		return nil, errors.New("rollcall: admin.Config.Users is nil: the page shows a user manager's users")
	}
	names := make(map[string]bool)
	for i, e := range cfg.Engines {
		if e.Engine == nil {
			return nil, fmt.Errorf("rollcall: admin.Config.Engines[%d].Engine is nil", i)
		}
		if names[e.Name] {
			return nil, fmt.Errorf("rollcall: admin.Config.Engines has the name %q twice", e.Name)
		}
		names[e.Name] = true
	}
	cfg.Engines, cfg.Hosts, cfg.ShowFields = slices.Clone(cfg.Engines), slices.Clone(cfg.Hosts), slices.Clone(cfg.ShowFields)
	a := &Admin{cfg: cfg, log: logging.OrDefault(cfg.Logger), began: time.Now(), scans: make(chan struct{}, 1),
		acts: make(chan struct{}, maxActs), asked: make(chan struct{}, maxAsked), ended: make(chan struct{})}
	if cfg.Audit == nil {
		a.cfg.Audit = auditLogger(cfg.Logger)
	}
	a.hub.init(a)
	a.samples.add(a.sample())
	a.running.Go(a.takeSamples)
	return a, nil
}

// Close ends the streams of events and the sampler, and returns when the sampler has ended. Later requests are answered with status 503.
// A program whose http.Server shuts down calls it first, with http.Server.RegisterOnShutdown, since a shutdown waits for streams. A second
// Close does nothing. Close returns nil.
func (a *Admin) Close() error {
	a.closing.Do(func() {
		a.over.Store(true)
		a.hub.close()
		close(a.ended)
	})
	a.running.Wait()
	return nil
}

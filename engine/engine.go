package engine

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
)

var (
	// ErrClosed is returned by methods that send, for a connection that is closing or closed.
	ErrClosed = errors.New("rollcall: the connection is closed")
	// ErrStopTimeout is in the error of Run when not all connections, sessions or handlers ended in time.
	ErrStopTimeout = errors.New("rollcall: the engine did not stop in time")

	errTooLarge = protocol.Errorf(protocol.MessageTooLarge, "the message is larger than MaxBody or the outbound limit allows")
	// errRequestTimeout is the outcome of a request to a client that did not answer in time.
	errRequestTimeout error = requestTimeout{}
	// errLoopEnded is in the error of Run when an event loop ended without being asked to.
	errLoopEnded = errors.New("rollcall: an event loop ended by itself")
	// errNotRunning is returned by ServeConn before Listen and Run, and when the engine stops or has ended.
	errNotRunning = errors.New("rollcall: the engine does not run")
	// errNotLetIn is in the error of ServeConn for a connection that was turned away.
	errNotLetIn = errors.New("rollcall: the connection was not let in")
	// errRunning is returned by a second Run, and by Listen after Run.
	errRunning = errors.New("rollcall: the engine has been run already")
)

// requestTimeout is a context.DeadlineExceeded with words of its own.
type requestTimeout struct{}

func (requestTimeout) Error() string { return "rollcall: the client did not answer in time" }
func (requestTimeout) Unwrap() error { return context.DeadlineExceeded }

// Engine is a server. Make it with New, set its handlers, then call Run once. All methods may be called from any goroutine; methods
// that change settings must be called before Run.
type Engine struct {
	cfg        Config
	plainLimit int         // up to this many waiting bytes Send need not look at a SlowPolicy
	maxBody    int         // a copy of cfg.Limits.MaxBody that is near for Send
	limits     limitKind   // the limits that are set
	lease      *seam.Lease // of the cluster's node; nil without a cluster; beside limits, because a read looks at both
	log        *zap.Logger
	admission  Admission
	handlers   handlerTable

	client        gnetClient
	loops         []*loop
	writable      *writability // nil where the system does not tell when a socket can be written to
	pool          *workerPool
	observe       func(l *loop) // replaces loop.run in tests that measure turns
	conns         connTable
	clock         clock.Clock // counts the time in which the process ran
	pulse         int64       // in nanoseconds, a part of a third of the heartbeat interval that clients are told: see showLife
	keepAlive     time.Duration
	ping          time.Duration // the default of WebSocket.PingInterval
	requests      sync.Map      // the HTTP requests of WebSockets that are not let in, by *Conn
	webPass       time.Duration // how long the loops take to look at all connections that speak WebSocket
	listeners     []net.Listener
	served        *entrance     // of ServeConn
	servedShaking *entrance     // of ServeConn's connections that have a handshake of their own
	most          int           // connections that may be open
	ready         chan struct{} // closed when connections can come in
	accepting     sync.WaitGroup
	lingering     chan struct{} // a token for each connection that is being refused with a notice
	telling       chan struct{} // a token for each of them that is in a TLS handshake

	gate       gate
	handshakes handshakes
	pace       *rate.Limiter // of Accept.Rate, or nil

	mu        sync.Mutex
	running   bool
	stopping  chan struct{} // closed when the engine is to stop
	untilStop context.Context
	endUntil  context.CancelFunc         // ends untilStop, with stopping
	failure   error                      // why the engine stops without being asked
	ended     chan struct{}              // closed when Run has returned
	report    atomic.Pointer[StopReport] // set when Run returns

	tooLate tooLate
	apart   apart
	budget  budget
	reports dropReports
	counters
}

// New returns an engine that does not listen yet, or an error that names the invalid setting.
func New(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:       cfg,
		log:       logging.OrDefault(cfg.Logger),
		lingering: make(chan struct{}, 64),
		telling:   make(chan struct{}, maxTelling),
		ready:     make(chan struct{}),
		stopping:  make(chan struct{}),
		ended:     make(chan struct{}),
	}
	e.untilStop, e.endUntil = context.WithCancel(context.Background())
	e.gate.init(&e.cfg, e.log)
	e.handshakes.init(e)
	if cfg.Accept.Rate > 0 {
		e.pace = rate.NewLimiter(rate.Limit(cfg.Accept.Rate), cfg.Accept.Burst)
	}
	e.clock.Init(watchInterval)
	e.setLimits()
	return e, nil
}

// SetAdmission sets the Admission, which decides which connections may come in. Without one every connection may. bridge.Attach
// calls it. It panics after Run, and when there is an Admission already.
func (e *Engine) SetAdmission(a Admission) {
	e.mustNotRun("SetAdmission")
	if e.admission != nil {
		panic("rollcall: the engine has an admission already: attach one bridge to one engine")
	}
	e.admission = a
}

func (e *Engine) mustNotRun(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running {
		panic("rollcall: " + what + " must be called before Run")
	}
}

// Conn returns the open connection with this ID, or nil. Any goroutine may call it.
func (e *Engine) Conn(id uint64) *Conn { return e.conns.get(id) }

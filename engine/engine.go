package engine

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/protocol"
)

var (
	// ErrClosed is returned by whatever would send on a connection that is closing or closed.
	ErrClosed = errors.New("rollcall: the connection is closed")
	// ErrTooLarge is returned for a message whose body is larger than Config.MaxBody, or that alone is larger than the
	// outbound limit. It is a protocol.MessageTooLarge.
	ErrTooLarge = protocol.Errorf(protocol.MessageTooLarge, "the message is larger than MaxBody or the outbound limit allows")
	// ErrRequestTimeout is the outcome of a request to a client that did not answer in time.
	ErrRequestTimeout = errors.New("rollcall: the client did not answer in time")
	// ErrStopTimeout is in the error of Run or Shutdown when something had to be given up on.
	ErrStopTimeout = errors.New("rollcall: the engine did not stop in time")
	// ErrLoopEnded is in the error of Run when an event loop ended and nobody had asked it to.
	ErrLoopEnded = errors.New("rollcall: an event loop ended by itself")
	// ErrNotRunning is returned by ServeConn before Listen and Run, and when the engine stops or has ended.
	ErrNotRunning = errors.New("rollcall: the engine does not run")
	// ErrNotLetIn is in the error of ServeConn for a connection that was turned away: by a limit, a ban, OnAccept, or since its
	// handshake was not done in time.
	ErrNotLetIn = errors.New("rollcall: the connection was not let in")
	// ErrRunning is returned by a second Run, and by Listen after Run.
	ErrRunning = errors.New("rollcall: the engine has been run already")
)

// Engine is a server. Make it with New, give it handlers, then Run it, once.
type Engine struct {
	cfg        Config
	plainLimit int       // how much may wait where Send need not look at a SlowPolicy
	maxBody    int       // cfg.Limits.MaxBody, where Send finds it
	limits     limitKind // those that are set
	log        *zap.Logger
	admission  Admission
	handlers   handlerTable

	client        gnetClient
	loops         []*loop
	writable      *writability // nil where the system does not tell
	pool          *workerPool
	observe       func(l *loop) // takes a turn in the place of loop.run: tests measure turns
	conns         connTable
	clock         clock.Clock // counts the time in which the process ran
	pulse         int64       // a part of a third of what clients are told, in nanoseconds: see showLife
	keepAlive     time.Duration
	listeners     []net.Listener
	served        *entrance     // of ServeConn
	servedShaking *entrance     // of its connections that have a handshake of their own
	most          int           // connections that may be open
	ready         chan struct{} // closed when connections can come in
	accepting     sync.WaitGroup
	lingering     chan struct{} // a token for each connection that is being told that it may not come in
	telling       chan struct{} // a token for each of them that is in a TLS handshake

	gate       gate
	handshakes handshakes
	pace       *rate.Limiter // of Accept.Rate, or nil

	mu          sync.Mutex
	running     bool
	stopping    chan struct{} // closed when the engine is to stop
	untilStop   context.Context
	endUntil    context.CancelFunc // ends untilStop, with stopping
	stopRequest stopRequest
	patience    context.Context    // of all who have asked for the stop
	cutShort    context.CancelFunc // ends patience: one has none left
	ended       chan struct{}      // closed when Run has returned
	outcome     error
	report      StopReport

	tooLate tooLate
	apart   apart
	budget  budget
	reports dropReports
	counters
}

// New returns an engine that does not listen yet, or an error that names the setting that makes no sense.
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
	e.patience, e.cutShort = context.WithCancel(context.Background())
	e.gate.init(&e.cfg, e.log)
	e.handshakes.init(e)
	if cfg.Accept.Rate > 0 {
		e.pace = rate.NewLimiter(rate.Limit(cfg.Accept.Rate), cfg.Accept.Burst)
	}
	e.clock.Init(watchInterval)
	e.setLimits()
	return e, nil
}

// SetAdmission says who decides which connections may come in. Without one, every connection may. Call it before Run;
// bridge.Attach does.
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

// MaxBody returns the largest body of a message, both ways, in bytes: Config.MaxBody, or its default. Any goroutine may call
// it.
func (e *Engine) MaxBody() int { return e.maxBody }

// Conn returns the open connection with this ID, or nil. Any goroutine may call it.
func (e *Engine) Conn(id uint64) *Conn { return e.conns.get(id) }

// Admission decides which connections may come in, and learns when they go. The bridge is one.
type Admission interface {
	// First is called on the connection's event loop with its first message, which is valid until it returns. It must
	// not block. Nothing more of the connection is delivered until Conn.Admit is called, from any goroutine; Conn.Refuse
	// or Conn.Close turn it away. It may return nil when it does not want to know more.
	First(c *Conn, m *protocol.Message) Binding
	// Drain is called while the engine stops, when every connection has been told to close. It waits until all that the
	// admission has bound is unbound, or until ctx ends, and returns how many are left.
	Drain(ctx context.Context) (left int)
}

// Binding is what an Admission knows of a connection. Beat, Received and Sent stand in the message path, on the connection's
// loop, from Admit on: they must take no lock, look nothing up and allocate nothing. Dropped and End are rare, and may come
// from any goroutine, before Admit too.
type Binding interface {
	// Beat says that bytes have come from the client.
	Beat()
	// Received counts messages that came in one read, bytes with their headers; the last was of type typ. Heartbeats
	// and other upkeep (Logon, Close) do not count.
	Received(typ uint16, messages, bytes int)
	// Sent counts messages that were handed to the network, in the same way.
	Sent(typ uint16, messages, bytes int)
	// Dropped counts messages that were thrown away because the client does not keep up, or is gone: within about a second,
	// and before End. What is thrown away after End it does not hear of.
	Dropped(typ uint16, messages, bytes int)
	// End is called once, from any goroutine, when the connection begins to close, whoever closes it. It must not
	// block.
	End(code protocol.CloseCode)
}

// noBinding is for an Admission that does not want to know more of a connection.
type noBinding struct{}

func (noBinding) Beat()                     {}
func (noBinding) Received(uint16, int, int) {}
func (noBinding) Sent(uint16, int, int)     {}
func (noBinding) Dropped(uint16, int, int)  {}
func (noBinding) End(protocol.CloseCode)    {}

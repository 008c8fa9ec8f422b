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
	// ErrClosed is returned by methods that send, for a connection that is closing or closed.
	ErrClosed = errors.New("rollcall: the connection is closed")
	// ErrTooLarge is returned for a message whose body is larger than Limits.MaxBody, or whose frame is larger than
	// Limits.MaxOutbound. It is a protocol.MessageTooLarge.
	ErrTooLarge = protocol.Errorf(protocol.MessageTooLarge, "the message is larger than MaxBody or the outbound limit allows")
	// ErrRequestTimeout is the outcome of a request to a client that did not answer in time.
	ErrRequestTimeout = errors.New("rollcall: the client did not answer in time")
	// ErrStopTimeout is in the error of Run or Shutdown when not all connections, sessions or handlers ended in time.
	ErrStopTimeout = errors.New("rollcall: the engine did not stop in time")
	// ErrLoopEnded is in the error of Run when an event loop ended without being asked to.
	ErrLoopEnded = errors.New("rollcall: an event loop ended by itself")
	// ErrNotRunning is returned by ServeConn before Listen and Run, and when the engine stops or has ended.
	ErrNotRunning = errors.New("rollcall: the engine does not run")
	// ErrNotLetIn is in the error of ServeConn for a connection that was turned away: by a limit, a ban or OnAccept, or because
	// its handshake took too long.
	ErrNotLetIn = errors.New("rollcall: the connection was not let in")
	// ErrRunning is returned by a second Run, and by Listen after Run.
	ErrRunning = errors.New("rollcall: the engine has been run already")
)

// Engine is a server. Make it with New, set its handlers, then call Run once. All methods may be called from any goroutine; those that
// change settings must be called before Run.
type Engine struct {
	cfg        Config
	plainLimit int       // up to this many waiting bytes Send need not look at a SlowPolicy
	maxBody    int       // a copy of cfg.Limits.MaxBody that is near for Send
	limits     limitKind // the limits that are set
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

	mu           sync.Mutex
	running      bool
	stopping     chan struct{} // closed when the engine is to stop
	untilStop    context.Context
	endUntil     context.CancelFunc // ends untilStop, with stopping
	stopRequest  stopRequest
	stopLimit    context.Context // ends at the first time limit of all callers that have asked for the stop
	endStopLimit context.CancelFunc
	ended        chan struct{} // closed when Run has returned
	outcome      error
	report       StopReport

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
	e.stopLimit, e.endStopLimit = context.WithCancel(context.Background())
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

// MaxBody returns the largest body of a message, both ways, in bytes: Limits.MaxBody, or its default. Any goroutine may call it.
func (e *Engine) MaxBody() int { return e.maxBody }

// Conn returns the open connection with this ID, or nil. Any goroutine may call it.
func (e *Engine) Conn(id uint64) *Conn { return e.conns.get(id) }

// Admission decides which connections may come in, and is notified when they end. Package bridge provides one.
type Admission interface {
	// First is called on the connection's event loop with its first message, which is valid until First returns. It must not
	// block. No further message of the connection is delivered until Conn.Admit is called, from any goroutine. Conn.Refuse and
	// Conn.Close turn the connection away. First may return nil when the Admission needs no Binding.
	First(c *Conn, m *protocol.Message) Binding
	// Drain is called while the engine stops, when every connection has been told to close. It waits until everything that the
	// Admission has bound is unbound, or until ctx ends, and returns the number of sessions whose ends are not over.
	Drain(ctx context.Context) (left int)
}

// Binding receives what happens on one connection, for the Admission. Beat, Received and Sent are in the message path, on the
// connection's loop, from Admit on: they must take no lock, look nothing up and allocate nothing. Dropped and End are called
// rarely, from any goroutine, before Admit too.
type Binding interface {
	// Beat reports that bytes have come from the client.
	Beat()
	// Received counts messages that came in one read, and their bytes with headers; the last message was of type typ.
	// Heartbeats and other upkeep (Logon, Close) are not counted.
	Received(typ uint16, messages, bytes int)
	// Sent counts messages that were handed to the network, in the same way.
	Sent(typ uint16, messages, bytes int)
	// Dropped counts messages that were dropped because the client does not keep up, or is gone. It is called within about a
	// second, and before End. Messages that are dropped after End are not reported.
	Dropped(typ uint16, messages, bytes int)
	// End is called once, from any goroutine, when the connection begins to close, by any cause. It must not block.
	End(code protocol.CloseCode)
}

// noBinding is the Binding of an Admission that needs none.
type noBinding struct{}

func (noBinding) Beat()                     {}
func (noBinding) Received(uint16, int, int) {}
func (noBinding) Sent(uint16, int, int)     {}
func (noBinding) Dropped(uint16, int, int)  {}
func (noBinding) End(protocol.CloseCode)    {}

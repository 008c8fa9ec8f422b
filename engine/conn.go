package engine

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/protocol"
)

// A connection is accepted, then verified while its first message is with the Admission, then bound, perhaps half-closed, then
// closing, then closed. Without an Admission its first message binds it.
const (
	stateAccepted uint32 = iota
	stateVerifying
	stateBound
	stateHalfClosed // bound, and the peer has ended its sending side: it gets replies only
	stateClosing
	stateClosed // by us
	stateEnded  // closed by the peer; with Workers, what it sent before is still handled
)

// lastConnID numbers the connections of all engines of the process, so that a number is never reused.
var lastConnID atomic.Uint64

// Conn is one connection. All methods may be called from any goroutine, also when the connection has ended.
type Conn struct {
	// The fields that Send and a read need most lie together at the beginning. A server that goes from one of a
	// thousand connections to another waits for memory more than it computes.
	*setup
	mu         sync.Mutex
	out        *outBuf       // frames that wait to be written
	state      atomic.Uint32 // changed under mu
	queued     atomic.Bool   // out is not empty, or there is a backlog; changed under mu
	quiet      atomic.Bool   // no message handler starts any more
	unsent     uint32        // the length of the backlog; changed by the loop
	need       uint32        // bytes that must be buffered before the codec is asked again; only the loop uses it
	marked     bool          // it is in the loop's list of connections with output
	gone       bool          // the socket is closed, and its descriptor may belong to another by now; only the loop uses it
	userBound  bool          // bound by an Admission; only the loop uses it
	unfinished bool          // a frame has begun to arrive, at unfinishedSince; only the loop uses it

	loop    *loop   // set when the connection is opened, before anyone else can see it
	binding Binding // set under mu; read under mu, or on the loop once the connection is bound
	// The loop's own.
	tcp    gnetSocket
	layers atomic.Pointer[layers] // nil for plain TCP on gnet, which is tcp; whether there is a stream never changes
	userID string

	lazy    *lazyFields // under mu
	id      uint64
	peer    packedAddr
	code    protocol.CloseCode // under mu, as the next two
	outcome protocol.CloseOutcome
	phases  connPhases
	// The loop's own.
	lastOut         uint8 // when something was last sent; see loop.tick
	flags           connFlags
	unfinishedSince uint32 // see loop.millis. Before Admit, the first frame's size
	firstDue        uint32 // the connection's number in loop.firsts; 0 for none; under mu
}

// setup holds the fields that all connections of a listener share. Connections that need more fields have a setup each.
type setup struct {
	engine *Engine
	codec  protocol.Codec

	maxBody  int // the largest body that may be sent; Limits.MaxBody, or less over UDP
	maxFrame int // the largest frame; Limits.MaxOutbound, or less over UDP

	// Only a setup of a single connection uses these.
	box     *mailbox      // with Workers
	inbound atomic.Uint32 // bytes that gnet holds and the engine has not taken; only with Limits.MaxMemory

	web *webListener // nil without WebSocket

	rare *rareAddr // nil for none; the peers of a Unix socket without names share one
}

// newSetup returns the setup of a listener.
func (e *Engine) newSetup(codec protocol.Codec) *setup {
	return &setup{engine: e, codec: codec, maxBody: e.maxBody, maxFrame: e.cfg.Limits.MaxOutbound}
}

// setupFor returns the setup of a connection with this codec.
func (a *arrival) setupFor(codec protocol.Codec) *setup {
	e, at, rare := a.engine, a.at, a.rareAddr()
	if at.newCodec == nil && e.pool == nil && e.cfg.Limits.MaxMemory == noLimit && (rare == nil || rare == at.setup.rare) {
		return at.setup
	}
	s := &setup{engine: e, codec: codec, maxBody: at.setup.maxBody, maxFrame: at.setup.maxFrame, web: at.web, rare: rare}
	if e.pool != nil {
		s.box = &mailbox{pool: e.pool}
	}
	return s
}

// connFlags are the flags of a connection that only its loop uses.
type connFlags uint8

const (
	isStrict     connFlags = 1 << iota // a message under another user's ID closes the connection
	isAttended                         // it is in one of the loop's lists of connections to look at
	isShut                             // the write side is shut down
	isForced                           // closed before the peer had taken everything
	isPeerEnded                        // the peer has ended its sending side, and the connection goes on
	isEndPending                       // the socket was closed in the middle of a dispatch, whose end the connection waits for
)

// connPhases are what a connection has gone through, besides its state. They are changed and read under Conn.mu.
type connPhases uint8

const (
	isSettled connPhases = 1 << iota // no message handler runs any more, and none will
	isEndTold                        // the binding was told of the end
	isUnbound                        // the session is over: seam.Conn.Unbind was called
	isLetIn                          // Admit was called: the answer to the Logon is in the queue
)

// has reports whether the connection has gone through p. c.mu is held on entry.
func (c *Conn) has(p connPhases) bool { return c.phases&p != 0 }

func (c *Conn) is(f connFlags) bool { return c.flags&f != 0 }

// lazyFields are the fields that few connections need, or for a short time. They are allocated on demand, so that an idle connection
// is small.
type lazyFields struct {
	origin     *origin // where the connection comes from, when that is counted
	ctx        context.Context
	cancel     context.CancelCauseFunc
	values     map[any]any
	requests   map[uint32]*request
	lastID     uint32
	whenQuiet  []func()
	whenClosed []func(protocol.CloseOutcome)
	timer      *clock.Timer         // the close timeout; nil before
	closeBegan int64                // by the loop's clock; set before the loop is told to close
	why        *protocol.CloseError // of a closing connection
	noticed    bool                 // a Close notice is queued, or was sent
	overBudget bool                 // closed for Limits.MaxMemory: the waiting bytes are given up
	usage      *usage
	backlog    *backlog
	drops      *drops
	gathering  *gathering
	unbound    *protocol.CloseError // why the session was over before the connection was let in; nil: it was not
	path       *udpPath
}

// needLazy returns the connection's lazyFields, and allocates them if need be. c.mu is held on entry.
func (c *Conn) needLazy() *lazyFields {
	if c.lazy == nil {
		c.lazy = new(lazyFields)
	}
	return c.lazy
}

// origin returns where the connection comes from, nil when that is not counted.
func (c *Conn) origin() *origin {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lazy == nil {
		return nil
	}
	return c.lazy.origin
}

// ID returns the connection's number. It is never reused by this process.
func (c *Conn) ID() uint64 { return c.id }

// UserID returns the user that is bound to the connection, or "" if no user is bound yet.
func (c *Conn) UserID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.userID
}

// Context returns a context that ends when the connection begins to close. Its cause is a *protocol.CloseError.
func (c *Conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.needLazy()
	if x.ctx == nil {
		x.ctx, x.cancel = context.WithCancelCause(context.Background())
		if c.state.Load() >= stateClosing {
			x.cancel(&protocol.CloseError{Code: c.code})
		}
	}
	return x.ctx
}

// SetValue attaches a value to the connection; a nil value removes it.
func (c *Conn) SetValue(key, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.needLazy()
	if value == nil {
		delete(x.values, key)
		return
	}
	if x.values == nil {
		x.values = make(map[any]any)
	}
	x.values[key] = value
}

// Value returns the value that SetValue attached under key, or nil.
func (c *Conn) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lazy == nil {
		return nil
	}
	return c.lazy.values[key]
}

// letInAs is Control.Admit.
func (c *Conn) letInAs(a *Admitted) {
	c.mu.Lock()
	if c.state.Load() == stateVerifying {
		c.phases |= isLetIn
		if a.Binding != nil {
			c.binding = a.Binding // it must be told of the end from now on; the loop uses it when it has let the connection in
		}
		if own := c.ownCodec(); own != nil {
			own.user = a.UserID
		}
		c.forgetRequest()
		if a.Reply != nil {
			c.putFirst(a.Reply) // here, not on the loop, so that a Close in between sends it too
		}
		c.encodeEarly()
	}
	c.mu.Unlock()
	c.loop.postTask(task{conn: c, admitted: a})
}

// admit runs on the loop.
func (c *Conn) admit(a *Admitted) {
	c.mu.Lock()
	if c.state.Load() != stateVerifying {
		c.mu.Unlock()
		return
	}
	c.userID, c.userBound = a.UserID, true
	if a.StrictUserID {
		c.flags |= isStrict
	}
	half := c.is(isPeerEnded)
	if half {
		c.setState(stateHalfClosed)
	} else {
		c.setState(stateBound)
	}
	c.mu.Unlock()
	if half {
		c.halfClosed()
	} else {
		c.output()
	}
	c.loop.process(c, a.Deliver)
	c.noteInbound()
	if half {
		c.drain()
	}
}

// putFirst puts a message in front of what is queued. c.mu is held on entry.
func (c *Conn) putFirst(m *protocol.Message) {
	later := c.out
	c.out = nil
	if err := c.enqueue(m, queueing{Policy: mustGo}); err != nil {
		c.engine.log.Error("a reply cannot be encoded", zapConn(c), zapError(err))
	}
	if later != nil {
		c.takeBuf().append(later)
		later.release()
	}
}

// Close ends the connection gracefully: messages queued before go out, then a notice with the code and text of why. The connection closes
// when the peer has received the notice, or when Timeouts.Close has passed.
//
// why is a protocol.CloseCode, or a *protocol.CloseError, whose Info can say how long the client is to wait before it reconnects, or to
// which address (protocol.FieldRetryMS, protocol.FieldAddress). Any other error becomes InternalError without a text. Nil, ClientClosed
// and NetworkError send no notice.
//
// Close returns at once. From then on no message is delivered, and sending returns ErrClosed. Only the first Close counts.
func (c *Conn) Close(why error) {
	c.close(nil, c.closeError(why))
}

// refuse is Control.Refuse.
func (c *Conn) refuse(reply *protocol.Message, why error) { c.close(reply, c.closeError(why)) }

// closeError returns what Close makes of an error.
func (c *Conn) closeError(why error) *protocol.CloseError {
	if why == nil {
		why = protocol.ClientClosed
	}
	var ce *protocol.CloseError
	if !codes.As(why, &ce) || ce == nil {
		c.engine.log.Info("a connection is closed", zapConn(c), zapError(why))
		ce = &protocol.CloseError{Code: protocol.InternalError}
	}
	return ce
}

func (c *Conn) closeBy(code protocol.CloseCode, text string) {
	c.close(nil, &protocol.CloseError{Code: code, Text: text})
}

// quiesce is Control.Quiesce.
func (c *Conn) quiesce(done func()) {
	if c.box != nil {
		c.box.quiesce(c, func() {
			c.loop.post(func() {
				c.flushBound()
				c.call(done)
			})
		})
		return
	}
	c.mu.Lock()
	c.quiet.Store(true)
	if c.has(isSettled) {
		c.mu.Unlock()
		done()
		return
	}
	c.needLazy().whenQuiet = append(c.needLazy().whenQuiet, done)
	c.mu.Unlock()
	c.loop.post(func() { // a task runs between two dispatches: no handler is running then
		c.flushBound()
		c.becomeQuiet()
	})
}

// flushBound writes the queue, as far as the socket takes it, unless the queue waits for the admission.
func (c *Conn) flushBound() {
	if c.state.Load() >= stateBound {
		c.guardOnLoop(func() { c.flushUpTo(noLimit) })
	}
}

// becomeQuiet calls the functions that wait until no message handler runs.
func (c *Conn) becomeQuiet() {
	var waiting []func()
	c.mu.Lock()
	if x := c.lazy; x != nil {
		waiting, x.whenQuiet = x.whenQuiet, nil
	}
	c.mu.Unlock()
	for _, done := range waiting {
		c.call(done)
	}
}

// stopTimer ends the current timeout. c.mu is held on entry.
func (c *Conn) stopTimer() {
	if c.firstDue != 0 {
		c.loop.firsts.Remove(c.firstDue)
		c.firstDue = 0
	}
	if x := c.lazy; x != nil && x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
}

// settle records that no handler runs any more, and that none will.
func (c *Conn) settle() {
	c.mu.Lock()
	c.phases |= isSettled
	c.mu.Unlock()
	c.becomeQuiet()
}

package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// handshakes runs the stages that come before an event loop and may take long. It uses a limited number of goroutines,
// which end when no connection waits. Connections wait for their turn unread, first come first served.
type handshakes struct {
	engine *Engine
	limit  int
	ctx    context.Context // ends when the engine stops
	cancel context.CancelFunc

	mu      sync.Mutex
	running int
	waiting []*arrival
	peers   map[*handshakeConn]*arrival // those that are in TLS
	stopped bool
	look    *time.Timer // runs while connections wait
}

const (
	// lookInterval is the interval between looks at the connections that wait and at those that they wait for.
	lookInterval = 50 * time.Millisecond
	// slowHandshake limits the time that a client keeps its TLS handshake waiting, in total, while others wait for its
	// place. Without it a few silent clients would keep all others out. A client has two flights to send, and the first
	// one has come while the client waited for its own turn.
	slowHandshake = time.Second
)

func (h *handshakes) init(e *Engine) {
	h.engine, h.limit = e, e.cfg.Accept.MaxHandshakes
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.peers = make(map[*handshakeConn]*arrival)
}

// add queues a connection for its handshake. e.accepting waits for the calling goroutine.
func (h *handshakes) add(a *arrival) {
	a.peer = newHandshakeConn(a.nc, &h.engine.clock)
	h.mu.Lock()
	switch {
	case h.stopped:
		h.mu.Unlock()
		a.refuse(refusedStopping, nil)
		return
	case h.running < h.limit:
		h.running++
		h.engine.accepting.Add(1)
		go h.work(a)
	default:
		a.since = h.engine.clock.Now()
		h.waiting = append(h.waiting, a)
		if len(h.waiting) == 1 {
			h.lookLater()
		}
	}
	h.mu.Unlock()
}

// host watches a client's TLS handshake until the function that it returns is called.
func (h *handshakes) host(g *handshakeConn, a *arrival) (done func()) {
	h.mu.Lock()
	h.peers[g] = a
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		delete(h.peers, g)
		h.mu.Unlock()
	}
}

func (h *handshakes) work(a *arrival) {
	defer h.engine.accepting.Done()
	for ; a != nil; a = h.next() {
		h.run(a)
	}
}

// next returns the connection whose turn it is, or nil when the goroutine is no longer needed.
func (h *handshakes) next() *arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.first(); a != nil {
		return a
	}
	h.running--
	return nil
}

// first takes the first connection that waits. h.mu is held on entry.
func (h *handshakes) first() *arrival {
	if len(h.waiting) == 0 {
		return nil
	}
	a := h.waiting[0]
	h.waiting[0] = nil
	if h.waiting = h.waiting[1:]; len(h.waiting) == 0 {
		h.waiting = nil
		h.look.Stop()
	}
	return a
}

// lookLater schedules a look at the connections that wait. h.mu is held on entry.
func (h *handshakes) lookLater() {
	if h.look == nil {
		h.look = time.AfterFunc(lookInterval, h.lookAfter)
		return
	}
	h.look.Reset(lookInterval)
}

// lookAfter refuses connections that have waited too long. To make room for each of the others it gives up on one
// client whose handshake is slow.
func (h *handshakes) lookAfter() {
	h.mu.Lock()
	var late, slow []*arrival
	for len(h.waiting) > 0 && h.engine.clock.Now()-h.waiting[0].since >= int64(h.engine.cfg.Timeouts.Handshake) {
		late = append(late, h.first())
	}
	if len(h.waiting) > 0 {
		for g, a := range h.peers {
			if len(slow) < len(h.waiting) && g.awaited() >= slowHandshake {
				slow = append(slow, a)
			}
		}
		h.lookLater()
	}
	if len(late)+len(slow) > 0 { // while connections wait, every goroutine of the handshakes is busy: the engine waits for those goroutines, and so for this one
		h.engine.accepting.Add(1)
		defer h.engine.accepting.Done()
	}
	h.mu.Unlock()
	for _, a := range late {
		a.refuse(refusedHandshake, refusedHandshake.notice(a.at))
	}
	for _, a := range slow {
		a.refuse(refusedHandshake, nil)
	}
}

// stop closes the connections that wait and the connections in a handshake.
func (h *handshakes) stop() {
	h.mu.Lock()
	h.stopped = true
	waiting := h.waiting
	h.waiting = nil
	if h.look != nil {
		h.look.Stop()
	}
	h.mu.Unlock()
	h.cancel()
	for _, a := range waiting {
		a.refuse(refusedStopping, nil)
	}
}

// counts returns how many connections are in a handshake, including refused ones that get their notice in TLS, and how
// many wait for their turn.
func (h *handshakes) counts() (running, waiting int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running + len(h.engine.telling), len(h.waiting)
}

// run takes a connection through its stages to its event loop, within Timeouts.Handshake.
func (h *handshakes) run(a *arrival) {
	ctx, cancel := h.engine.clock.WithTimeout(h.ctx, h.engine.cfg.Timeouts.Handshake)
	defer cancel()
	closed := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() { // also while OnAccept ignores ctx
		defer close(closed)
		a.giveUp(h.ctx)
	})
	done := h.host(a.peer, a)
	ok := a.shakeHands(ctx)
	done()
	if !inTime() {
		<-closed
		return
	}
	if !ok || ctx.Err() != nil {
		a.giveUp(h.ctx) // unless it has been refused
		return
	}
	a.enroll()
}

const (
	// maxHandshake is how many bytes a client may send in its handshake. A tls.Conn never shrinks the buffers that its
	// handshake needed, and Limits.MaxMemory does not count them. A hello has some 2 KB.
	maxHandshake = 16 << 10
	// maxHandshakeCerts is that for clients that may send certificates.
	maxHandshakeCerts = 64 << 10
)

var errHandshakeTooLarge = errors.New("rollcall: the client sends too much in its handshake")

// handshakeConn is the net.Conn that the stages of an arrival read from, TLS included. It knows how many bytes the peer
// may still send in the current stage, and how long the peer has kept all stages waiting.
type handshakeConn struct {
	net.Conn
	clock *clock.Clock
	most  int // bytes that may be read in the stage
	left  int // how many of them may still be read

	mu      sync.Mutex // a leaf
	waited  time.Duration
	waiting bool  // it is the client's turn
	since   int64 // when the client's turn began, by the clock
	wrong   bool  // the client has left, kept the handshake waiting too long, does not speak TLS, or has sent an alert
}

func newHandshakeConn(nc net.Conn, clock *clock.Clock) *handshakeConn {
	return &handshakeConn{Conn: nc, clock: clock}
}

// allow begins a stage in which so many bytes may come.
func (g *handshakeConn) allow(most int) { g.most, g.left = most, most }

// allowTLS begins TLS.
func (g *handshakeConn) allowTLS(cfg *tls.Config) {
	if cfg.ClientAuth != tls.NoClientCert || cfg.GetConfigForClient != nil {
		g.allow(maxHandshakeCerts)
		return
	}
	g.allow(maxHandshake)
}

// Read may return more bytes than are left, when they came together: messages may follow the handshake's last byte.
func (g *handshakeConn) Read(p []byte) (int, error) {
	if g.left <= 0 {
		g.blame()
		return 0, errHandshakeTooLarge
	}
	g.mu.Lock()
	g.waiting, g.since = true, g.clock.Now()
	g.mu.Unlock()
	n, err := g.Conn.Read(p)
	g.left -= n
	g.mu.Lock()
	g.waited += g.sofar()
	g.waiting = false
	g.wrong = g.wrong || err != nil
	g.mu.Unlock()
	return n, err
}

// blame records that the handshake failed by the client's fault.
func (g *handshakeConn) blame() {
	g.mu.Lock()
	g.wrong = true
	g.mu.Unlock()
}

// silent reports whether the client has ended its side, or the connection, before it sent a byte. Only the handshake's
// goroutine may call it, after the handshake.
func (g *handshakeConn) silent() bool { return g.left == g.most && g.atFault() }

// atFault reports whether the handshake failed by the client's fault, and not because of the server's settings. Any
// goroutine may call it.
func (g *handshakeConn) atFault() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wrong || g.waiting
}

// awaited returns how long the client has kept the handshake waiting in total, if it keeps it waiting now, and
// otherwise 0. Any goroutine may call it.
func (g *handshakeConn) awaited() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.waiting {
		return 0
	}
	return g.waited + g.sofar()
}

// sofar returns how long the client's current turn has lasted. g.mu is held on entry.
func (g *handshakeConn) sofar() time.Duration { return time.Duration(g.clock.Now() - g.since) }

package engine

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/internal/udpwire"
)

// Errors that only their texts tell outside this package.
var (
	ErrRunning    = errRunning
	ErrNotRunning = errNotRunning
	ErrNotLetIn   = errNotLetIn
)

// Places returns how many origins and subnets the engine counts connections of, for tests that want all places to have
// been given back.
func (e *Engine) Places() (origins, subnets int) {
	e.gate.mu.Lock()
	defer e.gate.mu.Unlock()
	return len(e.gate.origins), len(e.gate.subnets)
}

// Fail has the engine stop without being asked, because of an error.
func (e *Engine) Fail(why error) { e.askToStop(why) }

// ControlOf returns what an Admission is given for a connection.
func ControlOf(c *Conn) Control { return Control{c} }

// Held returns the length of the connection's backlog. It is for the loop.
func (c *Conn) Held() int { return int(c.unsent) }

// LoopNumber returns the number of the connection's event loop.
func (c *Conn) LoopNumber() int { return slices.Index(*c.engine.started.Load(), c.loop) }

// WrapListener replaces the engine's first listener, which must be open.
func (e *Engine) WrapListener(wrap func(net.Listener) net.Listener) {
	e.listeners[0] = wrap(e.listeners[0])
}

// ListenOn has the engine's first listener be of another kind. It is called before Listen.
func (e *Engine) ListenOn(network, addr string, secure *tls.Config, web *WebSocket) {
	l := &e.cfg.Listeners[0]
	l.Network, l.Addr, l.TLS, l.WebSocket = network, addr, secure, web
}

// WatchTurns has f called, on the event loop, for each turn of one: it runs the turn, and then left tells how many connections that
// a broadcast went to are still to be written to. A turn that took less than turn goes on. It is called before Run.
func (e *Engine) WatchTurns(turn time.Duration, f func(run func(), left func() int)) {
	e.observe = func(l *loop) {
		l.turn = turn
		f(l.run, l.bulkLeft)
	}
}

// TurnTime is how long the engine's turns go on.
const TurnTime = turnTime

// PieceSize is how many bytes a socket is offered at a time.
const PieceSize = pieceSize

// OutputsATime is how many connections a turn writes to before it looks at the time.
const OutputsATime = outputsATime

func (l *loop) bulkLeft() int { return len(l.taken.bulk.items) - l.taken.bulk.head }

// WithConns returns an engine that has n connections without sockets.
func WithConns(n int) *Engine {
	e := testkit.Must(New(Config{}))
	loops := []*loop{{engine: e}, {engine: e}}
	e.started.Store(&loops)
	for i := range n {
		c := &Conn{setup: e.newSetup(nil), id: lastConnID.Add(1), loop: loops[i%len(loops)]}
		c.state.Store(stateBound)
		e.conns.add(c)
	}
	return e
}

// BudgetLooks returns how many looks at the memory budget have begun.
func (e *Engine) BudgetLooks() uint32 { return e.budget.looks.Load() }

// OldCookie returns the cookie that the engine's listener for datagrams would have made for a client some time ago.
func (e *Engine) OldCookie(age time.Duration, from netip.AddrPort, nonce uint64) (proof [udpwire.ProofSize]byte) {
	e.eachUDP(func(u *udpListener) { proof = u.prover.Cookie(time.Now().Add(-age), from, nonce) })
	return proof
}

package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// Incoming is a connection that wants to come in.
type Incoming struct {
	// Remote is the client's address; behind a load balancer, what the PROXY header says.
	Remote netip.AddrPort
	// Local is the address of this server that it came to.
	Local netip.AddrPort
	// Proxy is the load balancer's address; invalid without one (Listener.ProxyProtocol). When the load balancer
	// connects on its own account, to see whether the server lives, Remote is the same.
	Proxy netip.AddrPort
	// Listener is the listener's index in Config.Listeners.
	Listener int
}

// entrance is a listener with what its connections go through.
type entrance struct {
	index int
	ln    net.Listener
	codec protocol.Codec
	// newCodec, when set, makes a codec for each connection instead.
	newCodec func() protocol.Codec
	proxies  []netip.Prefix // nil for no PROXY protocol
	tls      *tls.Config    // nil for plain TCP
	staged   bool           // connections have a handshake before they come to an event loop
}

// arrival is a connection on its way from accept to its event loop. It holds a place among all connections, and one among
// its origin's once that is known.
type arrival struct {
	Incoming
	engine *Engine
	at     *entrance
	nc     net.Conn
	remote string // what Conn.RemoteAddr will say
	since  int64  // when it began to wait for its turn, by the engine's clock
	tls    *tlsStream

	mu     sync.Mutex
	origin *origin
	guest  *guest // in its TLS handshake, once that has begun
	over   bool   // it has been given to an event loop, or refused: what it holds is settled
}

// settle reports whether it is up to the caller to pass the connection and its places on, or to give them up.
func (a *arrival) settle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !a.over
	a.over = true
	return first
}

// takeOrigin takes a place among the connections of the client's address.
func (a *arrival) takeOrigin(client netip.Addr) refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return letIn
	}
	var r refusal
	a.origin, r = a.engine.gate.enter(client)
	return r
}

// turnedDown counts a connection that is not let in and gives its places back, and leaves closing it to the caller. It
// reports false when the connection is settled already. A client that has left its TLS handshake, or was waited for in vain,
// has come and gone, like one that leaves with half a frame; other refusals are no fault of its own.
func (a *arrival) turnedDown(r refusal) bool {
	if !a.settle() {
		return false
	}
	if r != refusedStopping {
		a.engine.refused[r].Add(1)
	}
	a.givePlacesBack(r == refusedHandshake && a.guest != nil && a.guest.atFault() && !byPause(&a.engine.clock, 0))
	return true
}

// givePlacesBack gives back the connection's place, and that of its origin, whom it counts against when flapped is true.
func (a *arrival) givePlacesBack(flapped bool) {
	a.engine.conns.open.Add(-1)
	a.engine.gate.leave(a.origin, flapped)
}

// refuse closes a connection that has its place, and gives that back. why is what it is told; nil for nothing.
func (a *arrival) refuse(r refusal, why *protocol.CloseError) {
	if a.turnedDown(r) {
		a.engine.turnAway(a.nc, a.at, why)
	}
}

// enroll gives the connection to an event loop.
func (a *arrival) enroll() {
	e := a.engine
	select {
	case <-e.stopping:
		a.refuse(refusedStopping, nil)
		return
	default:
	}
	codec, err := a.at.codecFor(e)
	if err != nil {
		a.refuse(refusedFailed, nil)
		return
	}
	if !a.settle() {
		return
	}
	c := &Conn{id: lastConnID.Add(1), engine: e, codec: codec, remote: a.remote}
	if a.origin != nil {
		c.extra = &extra{origin: a.origin}
	}
	if a.tls != nil {
		a.tls.join(c)
	}
	e.keepAwake(a.nc)
	err = e.client.enroll(a.nc, c)
	if err != nil || c.loop == nil {
		e.refused[refusedFailed].Add(1)
		a.givePlacesBack(false)
		e.log.Debug("a connection could not be given to an event loop", zapConn(c), zap.Error(err))
	}
}

// handshakes runs what comes before an event loop and may take its time, on a bounded number of goroutines, which live
// while there are connections for them. Connections wait for their turn unread, first come first served.
type handshakes struct {
	engine *Engine
	limit  int
	ctx    context.Context // ends when the engine stops
	cancel context.CancelFunc

	mu      sync.Mutex
	running int
	waiting []*arrival
	guests  map[*guest]*arrival // those that are in TLS
	stopped bool
	look    *time.Timer // runs while connections wait
}

const (
	// lookInterval is how often those who wait, and those they wait for, are looked at.
	lookInterval = 50 * time.Millisecond
	// hurry is how long a client may be waited for in its TLS handshake, in all, while others wait for its place: otherwise a
	// few clients that say nothing would keep everybody out. A client has two flights to send, and the first one has come
	// while it waited itself.
	hurry = time.Second
)

func (h *handshakes) init(e *Engine) {
	h.engine, h.limit = e, e.cfg.MaxHandshakes
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.guests = make(map[*guest]*arrival)
}

// add is called by a goroutine that e.accepting waits for.
func (h *handshakes) add(a *arrival) {
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

// host keeps watch over a client's TLS handshake until the function that it returns is called.
func (h *handshakes) host(g *guest, a *arrival) (done func()) {
	h.mu.Lock()
	h.guests[g] = a
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		delete(h.guests, g)
		h.mu.Unlock()
	}
}

func (h *handshakes) work(a *arrival) {
	defer h.engine.accepting.Done()
	for ; a != nil; a = h.next() {
		h.run(a)
	}
}

// next returns the connection whose turn it is, or nil when the goroutine is not needed any more.
func (h *handshakes) next() *arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.first(); a != nil {
		return a
	}
	h.running--
	return nil
}

// first takes the first one that waits. h.mu is held on entry.
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

// lookLater has those who wait looked at. h.mu is held on entry.
func (h *handshakes) lookLater() {
	if h.look == nil {
		h.look = time.AfterFunc(lookInterval, h.lookAfter)
		return
	}
	h.look.Reset(lookInterval)
}

// lookAfter refuses those who have waited too long, and makes room for the others: for each of them it gives up on one client
// that is slow in its handshake.
func (h *handshakes) lookAfter() {
	h.mu.Lock()
	var late, slow []*arrival
	for len(h.waiting) > 0 && h.engine.clock.Now()-h.waiting[0].since >= int64(h.engine.cfg.HandshakeTimeout) {
		late = append(late, h.first())
	}
	if len(h.waiting) > 0 {
		for g, a := range h.guests {
			if len(slow) < len(h.waiting) && g.awaited() >= hurry {
				slow = append(slow, a)
			}
		}
		h.lookLater()
	}
	if len(late)+len(slow) > 0 { // while others wait, every goroutine is at work: the engine waits for them, and so for this one
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

// stop closes the connections that wait and those that are in a handshake.
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

// counts returns how many connections are in a handshake, strangers that are told something in TLS among them, and how many
// wait for their turn.
func (h *handshakes) counts() (running, waiting int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running + len(h.engine.telling), len(h.waiting)
}

// run takes a connection from accept to its event loop, within HandshakeTimeout.
func (h *handshakes) run(a *arrival) {
	ctx, cancel := h.engine.clock.WithTimeout(h.ctx, h.engine.cfg.HandshakeTimeout)
	defer cancel()
	closed := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() { // also while the hook pays no heed to ctx
		defer close(closed)
		a.giveUp(h.ctx)
	})
	ok := a.shakeHands(ctx)
	if !inTime() {
		<-closed
		return
	}
	if !ok || ctx.Err() != nil {
		a.giveUp(h.ctx) // unless it has been refused
		return
	}
	_ = a.nc.SetDeadline(time.Time{})
	a.enroll()
}

// giveUp closes a connection whose time is up, or whose engine is stopping.
func (a *arrival) giveUp(engine context.Context) {
	if engine.Err() != nil {
		a.refuse(refusedStopping, nil)
		return
	}
	a.refuse(refusedHandshake, nil)
}

// shakeHands does what comes before an event loop: the PROXY header, the application's word, TLS. It reports whether the
// connection may come in; if not it has refused it, or ctx has ended.
func (a *arrival) shakeHands(ctx context.Context) bool {
	e := a.engine
	if a.at.proxies != nil {
		client, err := a.awaitProxyHeader()
		if err != nil {
			if ctx.Err() == nil {
				if errors.Is(err, errNoByte) {
					e.probes.Add(1)
				}
				e.log.Debug("no PROXY header", zap.Stringer("from", a.Proxy), zap.Error(err))
				a.refuse(refusedProxy, nil)
			}
			return false
		}
		if client.IsValid() {
			a.Remote, a.remote = client, client.String()
			if r := a.takeOrigin(client.Addr()); r != letIn {
				a.refuse(r, r.notice(a.at))
				return false
			}
		}
	}
	if e.cfg.OnAccept != nil {
		if err := a.askHook(ctx); err != nil {
			if ctx.Err() == nil {
				var why *protocol.CloseError
				errors.As(err, &why)
				a.refuse(refusedByHook, why)
			}
			return false
		}
	}
	return a.at.tls == nil || a.secure(ctx)
}

// askHook asks the application.
func (a *arrival) askHook(ctx context.Context) (err error) {
	contain.Apart(func() { err = a.engine.cfg.OnAccept(ctx, a.Incoming) }, func(v any) {
		a.engine.panicked("OnAccept", v)
		err = contain.Error("OnAccept", v)
	})
	return err
}

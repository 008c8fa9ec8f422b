package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/udpwire"
	"github.com/rollcall-go/rollcall/protocol"
)

// Incoming describes a connection that has not been let in yet, for Config.OnAccept.
type Incoming struct {
	// Remote is the client's address; behind a load balancer, the address in the PROXY header.
	Remote netip.AddrPort
	// Local is the address of this server that the client connected to.
	Local netip.AddrPort
	// Proxy is the load balancer's address; it is invalid without one (Listener.ProxyProtocol). When the load balancer connects
	// for itself, to probe the server, Remote is the same.
	Proxy netip.AddrPort
	// Listener is the listener's index in Config.Listeners; -1 for a connection that was given to Engine.ServeConn.
	Listener int
}

// servedConns is Incoming.Listener of ServeConn's connections.
const servedConns = -1

// entrance is a listener with the stages of its connections.
type entrance struct {
	index int
	ln    net.Listener
	codec protocol.Codec
	setup *setup // shared by connections that have no setup of their own
	// newCodec, when set, makes a codec for each connection instead.
	newCodec func() protocol.Codec
	proxies  []netip.Prefix // nil for no PROXY protocol
	tls      *tls.Config    // nil for plain TCP
	web      *webListener   // nil without WebSocket
	stages   []stage        // in order, before a connection is given to an event loop
}

// stage is a part of a handshake. It reports whether the connection goes on. If not, the stage has refused the
// connection, or ctx has ended. Every stage reads from arrival.peer, which limits the bytes that a peer may send and
// measures how long the peer keeps the server waiting.
type stage func(ctx context.Context, a *arrival) bool

// newEntrance returns the entrance of a listener.
func (e *Engine) newEntrance(index int, ln net.Listener, l Listener) *entrance {
	at := &entrance{index: index, ln: ln, codec: l.Codec, newCodec: l.NewCodec, tls: l.TLS, setup: e.newSetup(l.Codec)}
	if l.Network == "udp" {
		at.setup.maxBody, at.setup.maxFrame = min(e.maxBody, udpwire.MaxBody), min(at.setup.maxFrame, udpwire.MaxFrame)
	}
	if l.Network == "unix" {
		at.setup.rare = &rareAddr{text: l.Network}
	}
	if len(l.ProxyProtocol) > 0 {
		at.proxies = unmapped(l.ProxyProtocol)
		at.stages = append(at.stages, proxyHeader)
	}
	if e.cfg.OnAccept != nil {
		at.stages = append(at.stages, askHook)
	}
	if l.TLS != nil {
		at.stages = append(at.stages, secure)
	}
	if l.WebSocket != nil {
		at.web = e.newWebListener(l)
		at.setup.web = at.web
		if at.stages = append(at.stages, upgrade); l.TLS != nil {
			at.tls = forHTTP(l.TLS)
		}
	}
	return at
}

// arrival is a connection on its way from accept to its event loop. It holds a place among all connections, and one
// among those of its origin as soon as the origin is known.
type arrival struct {
	Incoming
	engine  *Engine
	at      *entrance
	nc      net.Conn
	remote  string // names the peer in logs, where it has no IP address
	since   int64  // when it began to wait for its turn, by the engine's clock
	tls     *tlsStream
	web     *wsStream // once its request was accepted
	asked   bool      // its request was read: an answer goes the way that the request has come
	request *http.Request
	// forwards says that it is from a trusted HTTP proxy: the client's address is in the request.
	forwards bool
	feed     *feedSocket // of ServeConn's connection; nil for a listener's
	served   chan error  // tells ServeConn, once, whether the connection came in
	reason   error       // what OnAccept has returned

	mu     sync.Mutex
	origin *origin
	peer   *handshakeConn // in its TLS handshake, once that has begun
	over   bool           // it was given to an event loop, or refused: its places are passed on or given back
}

// settle reports true to the first caller only. That caller must pass the connection and its places on, or give them
// back.
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

// turnedDown counts a connection that is not let in and gives its places back. The caller closes the connection.
// turnedDown reports false when the connection is settled already. A client that left its TLS handshake, or kept it
// waiting too long, counts as flapped, like a client that leaves with half a frame. Other refusals are not the client's
// fault.
func (a *arrival) turnedDown(r refusal) bool {
	if !a.settle() {
		return false
	}
	if r != refusedStopping {
		a.engine.refused[r].Add(1)
	}
	a.givePlacesBack(r == refusedHandshake && a.peer != nil && a.peer.atFault() && !byPause(&a.engine.clock, 0))
	return true
}

// givePlacesBack gives back the connection's place and that of its origin. When flapped is true the end counts against
// the origin.
func (a *arrival) givePlacesBack(flapped bool) {
	a.engine.conns.open.Add(-1)
	a.engine.gate.leave(a.origin, flapped)
}

// refuse closes a connection that has its place, and gives the place back. The connection is told why; nil means no
// notice.
func (a *arrival) refuse(r refusal, why *protocol.CloseError) {
	if a.turnedDown(r) {
		if a.asked && why != nil {
			a.answer(busyAnswer(why))
		} else {
			a.engine.turnAway(a.nc, a.at, why)
		}
		a.tellServed(r, why)
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
	c := &Conn{setup: a.setupFor(codec), id: lastConnID.Add(1), peer: packAddr(a.Remote)}
	if a.origin != nil {
		c.lazy = &lazyFields{origin: a.origin}
	}
	switch {
	case a.web != nil:
		a.web.join(c, a.tls)
		e.requests.Store(c, a.request)
	case a.tls != nil:
		a.tls.join(c)
	}
	if p, ok := a.nc.(*udpPeer); ok {
		err = p.open(c)
	} else if a.feed != nil {
		err = a.feed.open(c)
	} else {
		e.keepAwake(a.nc)
		err = e.client.enroll(a.nc, c)
	}
	if err != nil || c.loop == nil {
		_ = a.nc.Close()
		c.forgetRequest()
		e.refused[refusedFailed].Add(1)
		a.givePlacesBack(false)
		e.log.Debug("a connection could not be given to an event loop", zapConn(c), zap.Error(err))
		a.tellServed(refusedFailed, nil)
		return
	}
	a.tellServed(letIn, nil)
}

// giveUp closes a connection whose time is up, or whose engine is stopping.
func (a *arrival) giveUp(engine context.Context) {
	if engine.Err() != nil {
		a.refuse(refusedStopping, nil)
		return
	}
	a.refuse(refusedHandshake, nil)
}

// shakeHands goes through the stages. It reports whether the connection may come in; if not it was refused, or ctx has ended.
func (a *arrival) shakeHands(ctx context.Context) bool {
	for _, s := range a.at.stages {
		if !s(ctx, a) {
			return false
		}
	}
	return true
}

// proxyHeader is the stage that reads the load balancer's PROXY header.
func proxyHeader(ctx context.Context, a *arrival) bool {
	e := a.engine
	client, err := a.awaitProxyHeader()
	if err != nil {
		if ctx.Err() == nil && a.turnedDown(refusedProxy) { // otherwise giveUp has closed it, or it was dropped because it kept others waiting
			if errors.Is(err, errNoByte) {
				e.probes.Add(1)
			}
			e.log.Debug("no PROXY header", zap.Stringer("from", a.Proxy), zap.Error(err))
			e.turnAway(a.nc, a.at, nil)
		}
		return false
	}
	if client.IsValid() {
		a.Remote = client
		if r := a.takeOrigin(client.Addr()); r != letIn {
			a.refuse(r, r.notice(a.at))
			return false
		}
	}
	return true
}

// askHook is the stage that calls Config.OnAccept.
func askHook(ctx context.Context, a *arrival) bool {
	if a.forwards && !a.asked { // the client is not known yet
		return true
	}
	err := a.askHook(ctx)
	if err != nil && ctx.Err() == nil {
		var why *protocol.CloseError
		codes.As(err, &why)
		a.reason = err
		a.refuse(refusedByHook, why)
	}
	return err == nil
}

// askHook calls Config.OnAccept.
func (a *arrival) askHook(ctx context.Context) (err error) {
	contain.Apart(func() { err = a.engine.cfg.OnAccept(ctx, a.Incoming) }, func(v any) {
		a.engine.panicked("OnAccept", v)
		err = contain.Error("OnAccept", v)
	})
	return err
}

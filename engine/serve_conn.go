package engine

import (
	"context"
	"fmt"
	"net"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/protocol"
)

// ServeConn takes in a connection of any kind, as a listener's is taken in: an end of net.Pipe, a Unix socket, a QUIC stream, what
// a proxy or a test hands over. It returns when the connection is over and nc closed; ServeConn closes nc in any case. Call it on
// a goroutine of its own for each connection.
//
// All that holds for connections holds for this one: the same handlers run on one of the event loops, or with Config.Workers;
// Config.Accept, OnAccept (Incoming.Listener is ServedConn), Timeouts, Limits, SlowPolicy and the stop; MaxPerAddress, MaxPerSubnet
// and bans where nc.RemoteAddr is an IP address: has a method AddrPort, as *net.TCPAddr and
// *net.UDPAddr have. The wire format is that of the first listener, its NewCodec too; its TLS and ProxyProtocol are not. To speak
// TLS, hand over a tls.Server: its handshake counts as one. A peer that ends its sending side gets its answers, and the peer sees
// the end of ours before the end of the whole, where nc has a method CloseWrite, as *net.TCPConn, *net.UnixConn and *tls.Conn have.
//
// It costs two goroutines, the caller's among them, and some 15 KB while the connection is idle. One of them reads the next bytes
// when the event loop has taken the last, so that a client that sends faster than handlers run has to wait. Up to 64 KiB wait to
// be written, as in a kernel's buffer, before they count as what a slow client lets gather (Limits.MaxOutbound); Timeouts.Write
// looks at how far nc.Write gets, in steps of 16 KiB. Close must make a Read and a Write that are under way return, as net.Conn says:
// it is called when the connection is over, so that a Write that never returns is ended after Timeouts.Close. No deadline of nc is set.
//
// The error is nil where the client has left, or was told why it had to go. Otherwise it is a *protocol.CloseError with the
// code, and in it what nc has returned; ErrStopTimeout where the engine gave up on a handler that blocks the connection's event
// loop. It wraps ErrNotLetIn for a connection that was turned away, with the *protocol.CloseError that it was told, or what
// OnAccept has returned. It is ErrNotRunning before Listen and Run, when the engine is stopping and when it has ended. Between
// Listen and Run it waits for Run, as the connections of listeners do. Any goroutine may call it.
func (e *Engine) ServeConn(nc net.Conn) error {
	if nc == nil {
		panic("rollcall: ServeConn needs a connection")
	}
	if err := e.mayServe(); err != nil {
		_ = nc.Close()
		return err
	}
	s := newFeedSocket(nc)
	at := e.served
	if _, ok := nc.(shaker); ok {
		at = e.servedShaking
	}
	a := e.newArrival(at, servedConn{nc, s})
	a.feed, a.served = s, make(chan error, 1)
	e.arrive(a)
	e.accepting.Done()
	if err := <-a.served; err != nil {
		<-s.closed // when it has been told why
		return err
	}
	go s.writeAll()
	s.readAll()
	<-s.closed
	<-s.written
	return s.outcome()
}

// mayServe waits until the engine runs. When it does, ServeConn is one of those that e.accepting waits for.
func (e *Engine) mayServe() error {
	e.mu.Lock()
	begun := e.running || e.listeners != nil
	e.mu.Unlock()
	if !begun {
		return fmt.Errorf("%w: call Listen or Run before ServeConn", ErrNotRunning)
	}
	select {
	case <-e.ready:
	case <-e.stopping:
	case <-e.ended:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.stopping:
		return ErrNotRunning
	case <-e.ended:
		return ErrNotRunning
	default:
	}
	e.accepting.Add(1)
	return nil
}

// servedConn is ServeConn's net.Conn until it comes in.
type servedConn struct {
	net.Conn
	feed *feedSocket
}

// Close implements net.Conn.
func (c servedConn) Close() error { return c.feed.hangUp() }

// CloseWrite ends our side, where that is possible.
func (c servedConn) CloseWrite() error { return closeWrite(c.Conn) }

// tellServed tells ServeConn whether its connection came in.
func (a *arrival) tellServed(r refusal, why *protocol.CloseError) {
	switch {
	case a.served == nil:
	case r == letIn:
		a.served <- nil
	case r == refusedStopping:
		a.served <- ErrNotRunning
	case a.reason != nil:
		a.served <- fmt.Errorf("%w: %w", ErrNotLetIn, a.reason)
	case why != nil:
		a.served <- fmt.Errorf("%w: %w", ErrNotLetIn, why)
	default:
		a.served <- fmt.Errorf("%w: %s", ErrNotLetIn, r)
	}
}

// ownHandshake is the stage of a connection that has a handshake of its own, as a *tls.Conn has. It must end with ctx.
func ownHandshake(ctx context.Context, a *arrival) bool {
	err := a.engine.handshake(ctx, a.feed.nc.(shaker))
	if err == nil {
		return true
	}
	a.engine.log.Debug("a handshake failed", zap.String("remote", a.remote), zapError(err))
	if ctx.Err() == nil { // or else giveUp does it
		a.refuse(refusedHandshake, nil)
	}
	return false
}

// outcome returns what ServeConn does, when all is over.
func (s *feedSocket) outcome() error {
	c := s.conn
	c.mu.Lock()
	code, outcome := c.code, c.outcome
	c.mu.Unlock()
	s.mu.Lock()
	failure := s.failure
	s.mu.Unlock()
	switch {
	case outcome == protocol.OutcomePending: // its loop is stuck in a handler
		return ErrStopTimeout
	case outcome == protocol.OutcomeTold, code == protocol.ClientClosed:
		return nil
	case code == protocol.NetworkError && failure != nil:
		return fmt.Errorf("%w: %w", &protocol.CloseError{Code: code}, failure)
	}
	return &protocol.CloseError{Code: code}
}

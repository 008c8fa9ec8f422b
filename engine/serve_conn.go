package engine

import (
	"context"
	"fmt"
	"net"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// ServeConn serves a connection of any kind like a listener's connection: an end of net.Pipe, a Unix socket, a QUIC stream, or one
// from a proxy or a test. It returns when the connection is over; it always closes nc. Call it on a goroutine of its own for each
// connection.
//
// The connection is treated like any other. The same handlers run, on an event loop or with Config.Workers. Config.Accept, OnAccept
// (Incoming.Listener is -1), Timeouts, Limits, SlowPolicy and a stop apply. MaxPerAddress, MaxPerSubnet and bans apply if
// nc.RemoteAddr is an IP address with a port: it has a method AddrPort, as *net.TCPAddr and *net.UDPAddr have, or its text is such
// an address. Conn.RemoteAddr then returns that address. Conn.Transport returns nc.LocalAddr's network, or "tls". The codec is the
// first listener's Codec or NewCodec; its TLS and ProxyProtocol do not apply. For TLS pass a tls.Server: its handshake counts as a
// handshake of the engine. Where nc has a method CloseWrite, as *net.TCPConn, *net.UnixConn and *tls.Conn have, the sides can end
// separately: a peer that has ended its sending side still gets its answers, and the peer sees the end of the server's side first.
//
// It costs two goroutines, including the caller's, and some 15 KB while the connection is idle. The reading goroutine reads the next
// bytes when the event loop has taken the last bytes, so that a client that sends faster than handlers run has to wait. Up to 64 KiB
// that wait to be written do not count towards Limits.MaxOutbound, like the bytes in a kernel's buffer. Timeouts.Write measures the
// progress of nc.Write in steps of 16 KiB. nc.Close must make a running Read and Write return, as net.Conn requires: it ends a Write
// that never returns, at Timeouts.Close. ServeConn sets no deadline on nc. A panic or runtime.Goexit in a method of nc ends the
// connection; it is logged and counted (Stats.HandlerPanics).
//
// The error is nil when the client has left or has received a notice. Otherwise it is a *protocol.CloseError with the code, which
// wraps the error of nc, or ErrStopTimeout when the engine stopped while a handler blocked the connection's event loop. For a
// connection that was turned away it says so, and wraps the *protocol.CloseError that the client was told or the error of
// OnAccept. Before Listen and Run, while the engine stops, and afterwards it says that the engine does not run. Between Listen and Run
// ServeConn waits for Run, as the connections of listeners do. Any goroutine may call it.
func (e *Engine) ServeConn(nc net.Conn) error {
	if nc == nil {
		panic("rollcall: ServeConn needs a connection")
	}
	if err := e.mayServe(); err != nil {
		_ = nc.Close()
		return err
	}
	s := newFeedSocket(e, nc)
	at := e.served
	if _, ok := nc.(shaker); ok {
		at = e.servedShaking
	}
	a := &arrival{engine: e, at: at, nc: servedConn{nc, s}, feed: s, served: make(chan error, 1)}
	contain.Apart(a.askAddresses, func(v any) {
		s.panicked("address", v)
		a.reason = contain.Error("a connection's address", v)
	})
	return a.serve()
}

// serve is ServeConn for an arrival that has its addresses, or a reason for being turned away.
func (a *arrival) serve() error {
	e, s := a.engine, a.feed
	if a.reason == nil {
		e.arrive(a)
	} else {
		e.accepted.Add(1)
		a.turnAway(refusedFailed, nil)
	}
	e.accepting.Done()
	if err := <-a.served; err != nil {
		<-s.closed // when it has got its notice
		return err
	}
	go s.writeAll()
	s.readAll()
	<-s.closed
	<-s.written
	return s.outcome()
}

// mayServe waits until the engine runs. Then e.accepting waits for ServeConn.
func (e *Engine) mayServe() error {
	e.mu.Lock()
	begun := e.running || e.listeners != nil
	e.mu.Unlock()
	if !begun {
		return fmt.Errorf("%w: call Listen or Run before ServeConn", errNotRunning)
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
		return errNotRunning
	case <-e.ended:
		return errNotRunning
	default:
	}
	e.accepting.Add(1)
	return nil
}

// servedConn is ServeConn's net.Conn until it is let in.
type servedConn struct {
	net.Conn
	feed *feedSocket
}

// Close implements net.Conn.
func (c servedConn) Close() error { return c.feed.hangUp() }

// CloseWrite ends our side, where nc can do that.
func (c servedConn) CloseWrite() error { return closeWrite(c.Conn) }

// tellServed tells ServeConn whether its connection was let in.
func (a *arrival) tellServed(r refusal, why *protocol.CloseError) {
	switch {
	case a.served == nil:
	case r == letIn:
		a.served <- nil
	case r == refusedStopping:
		a.served <- errNotRunning
	case a.reason != nil:
		a.served <- fmt.Errorf("%w: %w", errNotLetIn, a.reason)
	case why != nil:
		a.served <- fmt.Errorf("%w: %w", errNotLetIn, why)
	default:
		a.served <- fmt.Errorf("%w: %s", errNotLetIn, r)
	}
}

// ownHandshake is the stage of a connection that has a handshake of its own, as a *tls.Conn has. It must end with ctx.
func ownHandshake(ctx context.Context, a *arrival) bool {
	err := a.engine.handshake(ctx, a.feed.nc.(shaker))
	if err == nil {
		return true
	}
	a.engine.log.Debug("a handshake failed", zapArrival(a), zapError(err))
	if ctx.Err() == nil { // otherwise giveUp does it
		a.refuse(refusedHandshake, nil)
	}
	return false
}

// outcome returns the result of ServeConn, when the connection is over.
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

// contain calls a function that calls a method of nc. A method that panics, or ends the goroutine, ends the connection.
func (s *feedSocket) contain(method string, f func()) {
	contain.Call(f, func(v any) {
		s.panicked(method, v)
		s.ended(contain.Error("a connection's "+method, v))
	})
}

func (s *feedSocket) panicked(method string, v any) {
	var of []zap.Field
	if s.conn != nil { // it was let in
		of = append(of, zapConn(s.conn))
	}
	s.engine.panicked("a connection's "+method, v, of...)
}

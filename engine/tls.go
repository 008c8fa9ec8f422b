package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// The handshake of a TLS connection runs on a goroutine, on the accepted net.Conn. Then the event loop gets the
// descriptor, and the tls.Conn works between two buffers that the loop fills and empties, so that no goroutine reads
// for it.

// startTLS returns the server's side of a TLS connection, before its handshake.
func startTLS(nc *handshakeConn, cfg *tls.Config) *tlsStream {
	nc.allowTLS(cfg)
	s := &tlsStream{wire: wire{nc: nc, local: nc.LocalAddr(), remote: nc.RemoteAddr()}}
	s.tls = tls.Server(&s.wire, cfg)
	return s
}

// secure is the stage of the TLS handshake, which must end with ctx.
func secure(ctx context.Context, a *arrival) bool {
	if ctx.Err() != nil { // OnAccept has taken all the time
		return false
	}
	e, g := a.engine, a.peer
	s := startTLS(g, a.at.tls)
	if err := e.handshake(ctx, s.tls); err != nil {
		e.log.Debug("a TLS handshake failed", zapArrival(a), zapError(err))
		var notTLS tls.RecordHeaderError
		var alert *net.OpError // "remote error", as crypto/tls calls it
		if errors.As(err, &notTLS) || errors.As(err, &alert) {
			g.blame()
		}
		if ctx.Err() == nil && g.silent() {
			e.probes.Add(1)
		}
		if ctx.Err() == nil && a.turnedDown(refusedHandshake) { // otherwise giveUp closes it
			e.rejectWithNotice(a.nc, lingerTime, func() error { return nil }) // the alert was the notice
		}
		return false
	}
	if a.at.web == nil {
		s.wire.nc = nil
	}
	a.tls = s
	return true
}

// shaker is a connection with a handshake, as *tls.Conn is.
type shaker interface {
	HandshakeContext(ctx context.Context) error
}

// handshake ends with the handshake or with ctx. The application's part in it, such as tls.Config.GetCertificate, may panic.
func (e *Engine) handshake(ctx context.Context, tc shaker) (err error) {
	contain.Apart(func() { err = tc.HandshakeContext(ctx) }, func(v any) {
		e.panicked("a TLS handshake", v)
		err = contain.Error("the handshake", v)
	})
	return err
}

// maxTelling limits the TLS handshakes that run only to tell connections why they are refused.
const maxTelling = 8

var errTooManyToTell = errors.New("rollcall: too many connections are told something at the moment")

// tellSecurely sends a refused connection its notice in TLS, if its handshake is quick.
func (e *Engine) tellSecurely(nc net.Conn, cfg *tls.Config, notice []byte, code protocol.CloseCode) error {
	select {
	case e.telling <- struct{}{}:
		defer func() { <-e.telling }()
	default:
		return errTooManyToTell
	}
	peer := newHandshakeConn(nc, &e.clock)
	peer.allowTLS(cfg)
	tc := tls.Server(peer, cfg)
	ctx, cancel := context.WithTimeout(e.untilStop, slowHandshake)
	defer cancel()
	if err := e.handshake(ctx, tc); err != nil {
		return err
	}
	e.closed.Add(code)
	if _, err := tc.Write(notice); err != nil {
		return err
	}
	return tc.CloseWrite()
}

// checkTLS returns an error for TLS settings of a listener that would make every handshake fail, or accept every client
// certificate.
func checkTLS(l Listener) error {
	c := l.TLS
	switch {
	case c == nil || c.GetConfigForClient != nil:
		return nil
	case len(c.Certificates) == 0 && c.GetCertificate == nil:
		return fmt.Errorf("rollcall: the TLS of listener %q has no certificate", l.Addr)
	case c.ClientAuth >= tls.VerifyClientCertIfGiven && c.ClientCAs == nil: // without ClientCAs the certificates of every authority that the system trusts would be accepted
		return fmt.Errorf("rollcall: the TLS of listener %q verifies client certificates, but has no ClientCAs", l.Addr)
	}
	return nil
}

// TLS returns the result of the handshake: version, protocol, the client's certificates. It works for a tls.Conn that was given
// to ServeConn too, and for other connections that have its method ConnectionState, as those of examples/quic do. Nil means that
// the connection does not speak TLS. Any goroutine may call it.
func (c *Conn) TLS() *tls.ConnectionState {
	if s := c.stream(); s != nil {
		return s.security()
	}
	if s, ok := c.sock().(*feedSocket); ok {
		return s.security()
	}
	return nil
}

// PeerCertificate returns the client's TLS certificate, verified against tls.Config.ClientCAs. Nil means plain TCP, no
// certificate, or a certificate that was not verified (tls.RequestClientCert and tls.RequireAnyClientCert verify nothing). TLS
// also has certificates that only tls.Config.VerifyConnection has checked. Do not change the certificate. Any goroutine may call
// it.
func (c *Conn) PeerCertificate() *x509.Certificate {
	state := c.TLS()
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}

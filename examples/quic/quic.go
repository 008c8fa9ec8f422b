package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
)

// settings are for both ends: a connection has one stream. The engine and its heartbeat decide who has been silent for too long, so that
// the client is told why; QUIC only notices much later. 0-RTT stays off, because what comes by it can be sent again by an attacker.
var settings = &quic.Config{
	MaxIncomingStreams: 1, MaxIncomingUniStreams: -1,
	HandshakeIdleTimeout: 5 * time.Second, MaxIdleTimeout: 3 * time.Minute,
	InitialStreamReceiveWindow: 64 << 10, MaxStreamReceiveWindow: 512 << 10, // what a client may send before the engine has read it
	InitialConnectionReceiveWindow: 64 << 10, MaxConnectionReceiveWindow: 512 << 10,
}

// streamTimeout is how long a client may take to open its stream, after the handshake; waiting is how many clients may at a time. The
// engine's own limits begin when it is given the stream.
const streamTimeout, waiting = 5 * time.Second, 256

// serve gives the stream of each client that comes by QUIC to the engine. When ctx ends it takes no more, and returns when the engine has
// stopped.
func serve(ctx context.Context, pc net.PacketConn, secure *tls.Config, e *engine.Engine) error {
	secure = secure.Clone()
	secure.NextProtos = []string{"rollcall"}
	// A client must prove its address, at the price of a round trip, before the server keeps anything for it. Otherwise packets with
	// forged addresses would make it compute and remember, and send three times as many bytes to the addresses' owners.
	t := &quic.Transport{Conn: pc, VerifySourceAddress: func(net.Addr) bool { return true }}
	defer func() { _ = t.Close() }()
	l, err := t.Listen(secure, settings)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	places := make(chan struct{}, waiting)
	for {
		qc, err := l.Accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case places <- struct{}{}:
		default:
			_ = qc.CloseWithError(1, "too many clients")
			continue
		}
		all.Go(func() {
			opening, cancel := context.WithTimeout(ctx, streamTimeout)
			s, err := qc.AcceptStream(opening)
			cancel()
			<-places
			if err != nil {
				_ = qc.CloseWithError(1, "no stream")
				return
			}
			_ = e.ServeConn(conn{s, qc}) // the engine counts how connections end: Stats
		})
	}
}

// byQUIC returns settings of a client that goes by QUIC, and trusts the servers that secure does.
func byQUIC(user string, secure *tls.Config) client.Config {
	secure = secure.Clone()
	secure.NextProtos = []string{"rollcall"}
	return client.Config{UserID: user, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		qc, err := quic.DialAddr(ctx, addr, secure, settings)
		if err != nil {
			return nil, err
		}
		s, err := qc.OpenStreamSync(ctx)
		if err != nil {
			_ = qc.CloseWithError(1, "no stream")
			return nil, err
		}
		return conn{s, qc}, nil
	}}
}

// conn is a QUIC connection with its stream as a net.Conn.
type conn struct {
	*quic.Stream
	of *quic.Conn
}

// Read takes the end of the whole connection, by the peer's Close, for the end of the stream.
func (c conn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	var ended *quic.ApplicationError
	if errors.As(err, &ended) && ended.Remote && ended.ErrorCode == 0 {
		err = io.EOF
	}
	return n, err
}

// CloseWrite ends this side: the engine calls it behind the notice, and waits for the peer's end before it closes.
func (c conn) CloseWrite() error { return c.Stream.Close() }

// Close ends the connection at once. What the peer has not taken yet is lost.
func (c conn) Close() error { return c.of.CloseWithError(0, "") }

// LocalAddr names the network, for Conn.Transport: QUIC itself says "udp".
func (c conn) LocalAddr() net.Addr { return named{c.of.LocalAddr()} }

// RemoteAddr is the peer's address, for the engine's limits and bans. A client that goes to another address keeps the first one there.
func (c conn) RemoteAddr() net.Addr { return c.of.RemoteAddr() }

// ConnectionState is for Conn.TLS and Conn.PeerCertificate.
func (c conn) ConnectionState() tls.ConnectionState { return c.of.ConnectionState().TLS }

// named is an address on a network of the name "quic".
type named struct{ net.Addr }

func (named) Network() string { return "quic" }

package main

import (
	"context"
	"crypto/sha256"
	"net"
	"sync"
	"time"

	"github.com/xtaci/kcp-go/v5"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
)

// linger is how long a KCP session lives on when its connection is closed. KCP has no end of a connection: for this time the last bytes,
// such as the notice why a client is closed, are sent again if they were lost, and what the peer still acknowledges does not make a
// session anew.
const linger = time.Second

// serve gives each client that comes by KCP to the engine. When ctx ends it takes no more, and returns when the engine has stopped.
//
// kcp-go makes a session of some 25 KB out of the first packet of any address, without a proof that the address is the sender's. With the
// secret, packets of strangers make none; but a packet that was overheard does, from any address, as often as it is sent again. So this
// is for networks that strangers can neither send to nor listen to. On the internet use QUIC: see examples/quic.
func serve(ctx context.Context, pc net.PacketConn, secret string, e *engine.Engine) error {
	l, err := kcp.ServeConn(cipherOf(secret), 0, 0, pc)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	defer context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Now()) })()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		s, err := l.AcceptKCP()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		all.Go(func() {
			_ = e.ServeConn(tuned(s)) // the engine counts how connections end: Stats
			time.Sleep(linger)
			_ = s.Close()
		})
	}
}

// byKCP returns settings of a client that goes by KCP.
func byKCP(user, secret string) client.Config {
	dial := func(_ context.Context, _, addr string) (net.Conn, error) {
		s, err := kcp.DialWithOptions(addr, cipherOf(secret), 0, 0)
		if err != nil {
			return nil, err
		}
		return dialed{tuned(s)}, nil
	}
	return client.Config{UserID: user, DialContext: dial, Timeouts: client.Timeouts{Close: linger / 2}} // the server's end is not told
}

// cipherOf makes a key for AES-GCM of a secret that the server and all clients share.
func cipherOf(secret string) kcp.BlockCrypt {
	key := sha256.Sum256([]byte(secret))
	block, _ := kcp.NewAESGCMCrypt(key[:]) // fails for a key of another length alone
	return block
}

// conn is a KCP session as a net.Conn.
type conn struct{ *kcp.UDPSession }

// tuned sets a session for what KCP is used for: little delay, at the price of more packets and no congestion control.
func tuned(s *kcp.UDPSession) conn {
	s.SetNoDelay(1, 10, 2, 1)
	s.SetACKNoDelay(true)
	s.SetWindowSize(256, 256)
	return conn{s}
}

// Close ends calls of Read and Write. The session lingers: see serve.
func (c conn) Close() error { return c.SetDeadline(time.Now()) }

// LocalAddr names the network, for Conn.Transport: KCP itself says "udp".
func (c conn) LocalAddr() net.Addr { return named{c.UDPSession.LocalAddr()} }

// named is an address on a network of the name "kcp".
type named struct{ net.Addr }

func (named) Network() string { return "kcp" }

// dialed is a client's session, which ends itself.
type dialed struct{ conn }

func (d dialed) Close() error {
	time.AfterFunc(linger, func() { _ = d.UDPSession.Close() })
	return d.conn.Close()
}

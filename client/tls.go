package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// dialler makes a connection, as net.Dialer.DialContext does.
type dialler = func(ctx context.Context, network, addr string) (net.Conn, error)

// secured returns a dialler that uses TLS on the connections of dial.
func secured(dial dialler, cfg *tls.Config) dialler {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		to := cfg
		if to.ServerName == "" {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				host = addr
			}
			to = to.Clone()
			to.ServerName = host
		}
		tc := tls.Client(nc, to)
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, fmt.Errorf("TLS with %s: %w", addr, err)
		}
		return tc, nil
	}
}

// closeAtOnce closes a connection without a close_notify, because a tls.Conn would wait for a network that takes
// nothing.
func closeAtOnce(nc net.Conn) {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	_ = nc.Close()
}

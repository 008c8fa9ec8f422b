package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// secure makes a connection to addr one of TLS. It does not close nc.
func secure(ctx context.Context, nc net.Conn, to *tls.Config, addr string) (net.Conn, error) {
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
		return nil, fmt.Errorf("TLS with %s: %w", addr, err)
	}
	return tc, nil
}

// closeAtOnce closes a connection without a close_notify, because a tls.Conn would wait for a network that takes
// nothing.
func closeAtOnce(nc net.Conn) {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	_ = nc.Close()
}

package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// The client speaks TLS by itself, over the program's own connections, or those of a tls.Dialer; and when it reconnects.
func TestTheClientSpeaksTLS(t *testing.T) {
	ca := testca.New(t)
	server := &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}
	trusts := &tls.Config{RootCAs: ca.Pool}
	var dialled atomic.Int64
	own := func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	for name, cfg := range map[string]client.Config{
		"by itself":              {TLS: trusts},
		"on own connections":     {TLS: trusts, DialContext: own},
		"by a tls.Dialer":        {DialContext: (&tls.Dialer{Config: trusts}).DialContext},
		"with TLS 1.2":           {TLS: &tls.Config{RootCAs: ca.Pool, MaxVersion: tls.VersionTLS12}},
		"with a name of its own": {TLS: &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := rollcalltest.NewServer(t, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{{TLS: server}}}}, nil)
			cfg.Reconnect.Min = -1
			changes := watch(&cfg)
			c := srv.Client(t, "ann", cfg)
			expect(t, changes, client.Online)
			if _, err := c.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			for conn := range srv.Engine.Conns() {
				if conn.TLS() == nil {
					t.Error("the connection is plain")
				}
				conn.Close(protocol.RateLimited) // the client may come back
			}
			expect(t, changes, client.Reconnecting)
			expect(t, changes, client.Online)
			if _, err := c.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
	if dialled.Load() != 2 {
		t.Errorf("its own dialler was called %d times, want twice", dialled.Load())
	}
}

// A client refuses a server whose certificate is for another host, or from an unknown authority.
func TestTheClientDoesNotTrustAnybody(t *testing.T) {
	ca := testca.New(t)
	srv := rollcalltest.NewServer(t, rollcall.Config{Engine: engine.Config{
		Listeners: []engine.Listener{{TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}}}}}, nil)
	for name, cfg := range map[string]*tls.Config{
		"nobody's":     {RootCAs: testca.New(t).Pool},
		"another host": {RootCAs: ca.Pool, ServerName: "elsewhere.example"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := client.Dial(ctx, srv.Addr, client.Config{UserID: "ann", TLS: cfg})
		cancel()
		var bad *tls.CertificateVerificationError
		if !errors.As(err, &bad) {
			t.Errorf("%s: Dial ended with %v", name, err)
		}
	}
	if srv.Users.IsOnline("ann") {
		t.Error("ann is online")
	}
}

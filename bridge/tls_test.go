package bridge_test

import (
	"context"
	"crypto/tls"
	"net/netip"
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// byCertificate lets clients in under the names in their certificates.
func byCertificate(_ context.Context, c *engine.Conn, _ usermgr.Logon) (bridge.Identity, error) {
	cert := c.PeerCertificate()
	if cert == nil {
		return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "no certificate"}
	}
	return bridge.Identity{UserID: cert.Subject.CommonName}, nil
}

// Rule 1: the authenticator may know a client by its certificate, when that was verified.
func TestAVerifiedCertificateReachesTheAuthenticator(t *testing.T) {
	ca := testca.New(t)
	for _, c := range []struct {
		name    string
		auth    tls.ClientAuthType
		with    bool // a certificate
		allowed bool
	}{
		{"required", tls.RequireAndVerifyClientCert, true, true},
		{"verified if given", tls.VerifyClientCertIfGiven, true, true},
		{"not given", tls.VerifyClientCertIfGiven, false, false},
		{"not verified", tls.RequireAnyClientCert, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, options{auth: byCertificate, engine: engine.Config{Listeners: []engine.Listener{{TLS: &tls.Config{
				Certificates: []tls.Certificate{ca.Issue("server")}, ClientAuth: c.auth, ClientCAs: ca.Pool}}}}})
			cfg := client.Config{TLS: &tls.Config{RootCAs: ca.Pool}}
			if c.with {
				cfg.TLS.Certificates = []tls.Certificate{ca.Issue("ann")}
			}
			cl, err := client.Dial(t.Context(), s.engine.Addrs()[0].String(), cfg)
			if err == nil {
				defer cl.Close()
			}
			if allowed := err == nil; allowed != c.allowed {
				t.Fatalf("logging on ended with %v", err)
			}
			if c.allowed && (cl.UserID() != "ann" || !s.users.IsOnline("ann")) {
				t.Errorf("the client is %q", cl.UserID())
			}
			if over := slices.Collect(s.users.Sessions(usermgr.Filter{Via: "tls"})); c.allowed && (len(over) != 1 || !over[0].Remote.IsValid()) {
				t.Errorf("over TLS there are %v", over)
			}
		})
	}
}

// An authenticator may look at the connection that the logon comes from.
func TestAnAuthenticatorMayLookAtTheConnection(t *testing.T) {
	seen := make(chan netip.AddrPort, 1)
	s := serve(t, options{auth: func(_ context.Context, c *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		if c.ID() != l.Address.Conn || c.TLS() != nil || c.PeerCertificate() != nil {
			t.Errorf("got the connection %d, want %d", c.ID(), l.Address.Conn)
		}
		seen <- c.RemoteAddr()
		return bridge.Identity{UserID: "ann"}, nil
	}})
	cl, err := client.Dial(t.Context(), s.engine.Addrs()[0].String(), client.Config{UserID: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if remote := <-seen; !remote.IsValid() {
		t.Error("the connection has no address")
	}
}

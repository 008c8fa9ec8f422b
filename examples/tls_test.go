package examples_test

import (
	"crypto/tls"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testca"
)

// Echo with -tls-cert, -tls-key and -tls-client-ca: who has no certificate stays out, and a new one of the server's is used
// without a restart.
func TestEchoSpeaksTLS(t *testing.T) {
	ca := testca.New(t)
	cert, key := ca.Files(ca.Issue("first"))
	echo := start(t, "echo", "-addr", "127.0.0.1:0", "-tls-cert", cert, "-tls-key", key, "-tls-client-ca", ca.File())
	addr := echo.address(t)
	cfg := client.Config{UserID: "ann", Reconnect: client.Reconnect{Max: -1}, TLS: &tls.Config{RootCAs: ca.Pool}}
	if c, err := client.Dial(t.Context(), addr, cfg); err == nil {
		c.Close()
		t.Error("a client without a certificate came in")
	}
	var served string
	cfg.TLS = &tls.Config{RootCAs: ca.Pool, Certificates: []tls.Certificate{ca.Issue("ann")},
		VerifyConnection: func(s tls.ConnectionState) error {
			served = s.PeerCertificates[0].Subject.CommonName
			return nil
		}}
	ask := func() string {
		c, err := client.Dial(t.Context(), addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		m, err := c.Request(t.Context(), 7, []byte("hello"))
		if err != nil || string(m.Body) != "hello" {
			t.Fatalf("got %v, %v", m, err)
		}
		return served
	}
	if got := ask(); got != "first" {
		t.Errorf("the certificate is %q", got)
	}
	newCert, newKey := ca.Files(ca.Issue("second"))
	later := time.Now().Add(time.Second) // file systems may be coarse
	for from, to := range map[string]string{newCert: cert, newKey: key} {
		if err := os.Chtimes(from, later, later); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the new certificate is served", func() bool { return ask() == "second" })
	echo.end(t, syscall.SIGTERM)
}

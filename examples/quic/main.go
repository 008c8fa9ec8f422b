// Quic is an echo server whose clients come by QUIC, or by TCP with TLS, and such a client. It is a module of its own, since quic-go, on
// which it stands, needs Go 1.26.
//
//	cd examples/quic
//	go run . -cert cert.pem -key key.pem -listen :9000
//	go run . -ca cert.pem -connect localhost:9000 -user ann
//
// On a development machine "go run $(go env GOROOT)/src/crypto/tls/generate_cert.go -host localhost -ca" makes the two files.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
)

const echo = 1 // the type of messages

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "UDP address of the server")
	tcp := flag.String("tcp", "127.0.0.1:0", "TCP address of the server")
	cert := flag.String("cert", "", "file with the server's certificate, in PEM")
	key := flag.String("key", "", "file with the certificate's key, in PEM")
	connect := flag.String("connect", "", "UDP address of a server: be a client")
	user := flag.String("user", "ann", "the client's user")
	ca := flag.String("ca", "", "file with the certificate that the client trusts, in PEM; without it those that the system does")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	be := func() error { return beServer(ctx, *listen, *tcp, *cert, *key) }
	if *connect != "" {
		be = func() error { return beClient(ctx, *connect, *user, *ca) }
	}
	if err := be(); err != nil {
		fmt.Fprintln(os.Stderr, "quic:", err)
		os.Exit(1)
	}
}

func beServer(ctx context.Context, listen, tcp, cert, key string) error {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	secure := &tls.Config{Certificates: []tls.Certificate{pair}}
	srv, err := newServer(tcp, secure)
	if err != nil {
		return err
	}
	pc, err := net.ListenPacket("udp", listen)
	if err != nil {
		return err
	}
	defer func() { _ = pc.Close() }()
	if err := srv.Listen(); err != nil {
		return err
	}
	fmt.Printf("listening on %v by QUIC, and on %v by TCP with TLS\n", pc.LocalAddr(), srv.Addrs()[0])
	return run(ctx, srv, pc, secure)
}

// run runs a server that listens, with clients of both kinds, until ctx ends.
func run(ctx context.Context, srv *rollcall.Server, pc net.PacketConn, secure *tls.Config) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- serve(ctx, pc, secure, srv.Engine)
	}()
	err := srv.Run(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// newServer returns a server that sends messages back.
func newServer(tcp string, secure *tls.Config) (*rollcall.Server, error) {
	srv, err := rollcall.New(rollcall.Config{Engine: engine.Config{
		Listeners: []engine.Listener{{Addr: tcp, TLS: secure}},
		Accept:    engine.Accept{MaxConnections: 10_000, MaxPerAddress: 100}, // of QUIC and TCP together
	}})
	if err == nil {
		srv.Handle(echo, func(c *rollcall.Conn, m *rollcall.Message) error { return c.Reply(m, m.Body) })
	}
	return srv, err
}

// beClient sends lines to the server, and prints what comes back.
func beClient(ctx context.Context, addr, user, ca string) error {
	secure := new(tls.Config)
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		secure.RootCAs = x509.NewCertPool()
		secure.RootCAs.AppendCertsFromPEM(pem)
	}
	c, err := client.Dial(ctx, addr, byQUIC(user, secure))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		m, err := c.Request(ctx, echo, lines.Bytes())
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", m.Body)
	}
	return nil
}

// Kcp is an echo server whose clients come by KCP, a reliable stream over UDP, or by TCP, and such a client. It is a module of its own,
// since kcp-go, on which it stands, needs Go 1.26.
//
//	cd examples/kcp
//	go run . -secret "a long one" -listen 127.0.0.1:9000
//	go run . -secret "a long one" -connect 127.0.0.1:9000 -user ann
//
// Do not let it face the internet: serve, in kcp.go, says why.
package main

import (
	"bufio"
	"context"
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
	connect := flag.String("connect", "", "UDP address of a server: be a client")
	user := flag.String("user", "ann", "the client's user")
	secret := flag.String("secret", "", "which the server and its clients share; required")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *secret == "":
		err = errors.New("-secret is missing")
	case *connect != "":
		err = beClient(ctx, *connect, *user, *secret)
	default:
		err = beServer(ctx, *listen, *tcp, *secret)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kcp:", err)
		os.Exit(1)
	}
}

func beServer(ctx context.Context, listen, tcp, secret string) error {
	srv, err := newServer(tcp)
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
	fmt.Printf("listening on %v by KCP, and on %v by TCP\n", pc.LocalAddr(), srv.Addrs()[0])
	return run(ctx, srv, pc, secret)
}

// run runs a server that listens, with clients of both kinds, until ctx ends.
func run(ctx context.Context, srv *rollcall.Server, pc net.PacketConn, secret string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- serve(ctx, pc, secret, srv.Engine)
	}()
	err := srv.Run(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// newServer returns a server that sends messages back.
func newServer(tcp string) (*rollcall.Server, error) {
	srv, err := rollcall.New(rollcall.Config{
		Addr:   tcp,
		Engine: engine.Config{Accept: engine.Accept{MaxConnections: 1000, MaxPerAddress: 100}}, // of KCP and TCP together
	})
	if err == nil {
		srv.Handle(echo, func(c *rollcall.Conn, m *rollcall.Message) error { return c.Reply(m, m.Body) })
	}
	return srv, err
}

// beClient sends lines to the server, and prints what comes back.
func beClient(ctx context.Context, addr, user, secret string) error {
	c, err := client.Dial(ctx, addr, byKCP(user, secret))
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

// Slow is a server with one slow request and one fast request:
//
//	go run ./examples/recipes/slow -addr 127.0.0.1:9000
//	go run ./examples/recipes/slow -addr 127.0.0.1:9000 -workers 64
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

const report, ping = 1, 2 // requests

// makeReport stands for a database, which takes as long as the query says. It gives up when ctx ends.
func makeReport(ctx context.Context, query string) ([]byte, error) {
	takes, err := time.ParseDuration(query)
	if err != nil {
		return nil, protocol.Errorf(protocol.Refused, "%v", err)
	}
	select {
	case <-time.After(takes):
		return []byte("it took " + query), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// handleReport blocks, so it needs a worker, or a goroutine of its own.
func handleReport(c *engine.Conn, m *protocol.Message) error {
	body, err := makeReport(c.Context(), string(m.Body)) // the context ends when the client leaves
	if err != nil {
		return err
	}
	return c.Reply(m, body)
}

// atMost returns a handler of which at most places calls run at a time. It refuses more.
func atMost(places int, h engine.Handler) engine.Handler {
	free := make(chan struct{}, places)
	apart := engine.Async(func(c *engine.Conn, m *protocol.Message) error {
		defer func() { <-free }()
		return h(c, m)
	})
	return func(c *engine.Conn, m *protocol.Message) error {
		select {
		case free <- struct{}{}:
			return apart(c, m)
		default:
			return protocol.Errorf(protocol.Refused, "too many reports are being made")
		}
	}
}

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "TCP address to listen on")
	workers := flag.Int("workers", 0, "goroutines for handlers; 0 runs them on the event loops, and reports on goroutines of their own")
	flag.Parse()
	srv, err := rollcall.New(rollcall.Config{Addr: *addr, Engine: engine.Config{Workers: *workers}})
	if err != nil {
		log.Fatal(err)
	}
	if *workers > 0 {
		srv.Handle(report, handleReport)
	} else {
		srv.Handle(report, atMost(100, handleReport))
	}
	srv.Handle(ping, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", srv.Addrs()[0])
	if err := srv.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// Slow is a server with a request that takes its time, and one that does not:
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
	"sync"
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

// handleReport blocks: it is for a worker, or a goroutine of its own.
func handleReport(c *engine.Conn, m *protocol.Message) {
	body, err := makeReport(c.Context(), string(m.Body)) // the context ends when the client leaves
	if err != nil {
		_ = c.ReplyError(m, err)
		return
	}
	_ = c.Reply(m, body)
}

// jobs runs handlers on goroutines, at most as many at a time as places has room for.
type jobs struct {
	places  chan struct{}
	running sync.WaitGroup
}

// run answers later: requests of one client go on side by side, and each reply has its request's ID.
func (j *jobs) run(h engine.Handler) engine.Handler {
	return func(c *engine.Conn, m *protocol.Message) {
		select {
		case j.places <- struct{}{}:
		default:
			_ = c.ReplyError(m, protocol.Errorf(protocol.Refused, "too many reports are being made"))
			return
		}
		m = m.Clone() // what the handler was given is lent until it returns
		j.running.Go(func() {
			defer func() {
				<-j.places
				if p := recover(); p != nil { // on a goroutine of ours it would end the program
					log.Print("a report panicked: ", p)
					c.Close(protocol.InternalError, "")
				}
			}()
			h(c, m)
		})
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
	j := &jobs{places: make(chan struct{}, 100)}
	if *workers > 0 {
		srv.Handle(report, handleReport)
	} else {
		srv.Handle(report, j.run(handleReport))
	}
	srv.Handle(ping, func(c *engine.Conn, m *protocol.Message) { _ = c.Reply(m, m.Body) })

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", srv.Addrs()[0])
	if err := srv.Run(ctx); err != nil {
		log.Fatal(err)
	}
	j.running.Wait()
}

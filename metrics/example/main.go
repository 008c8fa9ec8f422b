// Example is an echo server with a page of metrics for Prometheus:
//
//	go run ./example -addr 127.0.0.1:9000 -metrics 127.0.0.1:9100
//
// See the metrics with curl http://127.0.0.1:9100/metrics, and the sessions that ended last with curl
// http://127.0.0.1:9100/closed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/metrics"
	"github.com/rollcall-go/rollcall/protocol"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:9000", "TCP address to listen on")
	page := flag.String("metrics", "127.0.0.1:9100", "TCP address of the metrics")
	window := flag.Duration("stop-window", 0, "over which time clients are told that the server stops")
	flag.Parse()

	srv, err := rollcall.New(rollcall.Config{Addr: *addr, Engine: engine.Config{Timeouts: engine.Timeouts{StopWindow: *window}}})
	if err != nil {
		return err
	}
	srv.HandleDefault(func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })

	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.New(metrics.Config{Engine: srv.Engine, Users: srv.Users, Bridge: srv.Bridge}), collectors.NewGoCollector())
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/closed", func(w http.ResponseWriter, _ *http.Request) {
		for _, s := range srv.Users.Closed() {
			fmt.Fprintf(w, "%s %s from %s: %s, %d messages in, %d out\n",
				s.At.Format(time.RFC3339), s.UserID, s.Address, s.Code, s.In.Messages, s.Out.Messages)
		}
	})
	ln, err := net.Listen("tcp", *page)
	if err != nil {
		return err
	}
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := web.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Print(err)
		}
	}()

	if err := srv.Listen(); err != nil {
		return err
	}
	log.Printf("listening on %s; metrics on http://%s/metrics", srv.Addrs()[0], ln.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = srv.Run(ctx) // the page of metrics stays up meanwhile
	log.Print("stopped: ", srv.Stats().Stop)
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, web.Shutdown(closing))
}

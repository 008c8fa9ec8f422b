// Balancer is a server behind a load balancer that writes PROXY headers, and probes whether the server is up:
//
//	go run ./examples/recipes/balancer -addr 127.0.0.1:9000 -health 127.0.0.1:9001 -balancers 127.0.0.1/32
package main

import (
	"context"
	"flag"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

const whereFrom = 1 // a request: the reply is the client's address

// config trusts the load balancers with their clients' addresses, and bans none of them for its probes.
func config(clients, health string, balancers []netip.Prefix) engine.Config {
	return engine.Config{
		Listeners: []engine.Listener{
			{Addr: clients, ProxyProtocol: balancers}, // closed to all others
			{Addr: health}, // for probes, which have no PROXY header: open it to the balancers alone
		},
		Accept: engine.Accept{MaxPerAddress: 100},         // of clients: their addresses are those in the headers
		Bans:   engine.Bans{Flaps: 20, Exempt: balancers}, // a probe comes and goes, as flapping clients do
	}
}

func main() {
	clients := flag.String("addr", "127.0.0.1:9000", "TCP address to listen on for clients, by way of a load balancer")
	health := flag.String("health", "127.0.0.1:9001", "TCP address to listen on for the load balancers' probes")
	trusted := flag.String("balancers", "127.0.0.1/32", "networks of the load balancers, with commas")
	flag.Parse()
	var balancers []netip.Prefix
	for s := range strings.SplitSeq(*trusted, ",") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			log.Fatal(err)
		}
		balancers = append(balancers, p)
	}
	srv, err := rollcall.New(rollcall.Config{Engine: config(*clients, *health, balancers)})
	if err != nil {
		log.Fatal(err)
	}
	srv.Handle(whereFrom, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte(c.RemoteAddr().String())) })

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", srv.Addrs()[0])
	log.Print("probes on ", srv.Addrs()[1])
	if err := srv.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

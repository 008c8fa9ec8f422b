//go:build linux

// Server is every server of the benchmark that is not examples/echo or epoll.c, one kind per
// process:
//
//	server KIND [-addr 127.0.0.1:9000] [-loops 1] …
//
// It prints "listening on ADDRESS" to standard error when clients can connect.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/rollcall-go/rollcall/bench/internal/freemem"
)

// options are what the command line says.
type options struct {
	addr  string
	loops int
	conns int    // connections to wait for before a push
	size  int    // of a message that is pushed, header included
	check bool   // record everything and check it against the contract
	by    string // how Rollcall is told the receiver of a message
	alone bool   // not in a cluster, and without presence

	web       bool // Rollcall speaks WebSocket
	broadcast bool // a WebSocket server of another library is to broadcast
	blocking  bool // nbio has a goroutine a connection
}

// kinds are the servers by name. Each returns when it cannot go on.
var kinds = map[string]func(options) error{
	"raw":                rawEcho,
	"byhand":             byHand,
	"net":                plainNet,
	"nbio":               nbioEcho,
	"zinx":               zinxEcho,
	"rollcall-clustered": rollcallClustered,
	"rollcall-push":      rollcallPush,
	"rollcall-broadcast": rollcallBroadcast,
	"gnet-push":          gnetPush,
	"minimal":            minimalEcho,
	"minimal-push":       minimalPush,
	"minimal-broadcast":  minimalBroadcast,
	"write-broadcast":    writeBroadcast,
	"relogon":            relogon,
	"rollcall-presence":  rollcallPresence,
	"gws":                gwsEcho,
	"nbio-web":           nbioWeb,
}

func main() {
	if len(os.Args) < 2 || kinds[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "server: no such kind of server")
		os.Exit(2)
	}
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.addr, "addr", "127.0.0.1:9000", "where to listen")
	flags.IntVar(&o.loops, "loops", 1, "event loops")
	flags.IntVar(&o.conns, "conns", 1000, "connections to wait for before a push")
	flags.IntVar(&o.size, "size", 64, "bytes of a message that is pushed, header included")
	flags.StringVar(&o.by, "by", "conn", "what a push calls: conn (Conn.Send, Engine.Broadcast), user (Bridge.Send) or service (push.Service, of a broadcast)")
	flags.BoolVar(&o.alone, "alone", false, "leave the cluster, or presence, away")
	flags.BoolVar(&o.web, "web", false, "have Rollcall speak WebSocket")
	flags.BoolVar(&o.broadcast, "broadcast", false, "have gws and nbio broadcast as standard input says")
	flags.BoolVar(&o.blocking, "blocking", false, "have nbio start a goroutine a connection")
	flags.BoolVar(&o.check, "check", false, "hold what happens against the contract")
	_ = flags.Parse(os.Args[2:])

	go func() { // for servers without a shutdown
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
		<-asked
		os.Exit(0)
	}()
	if err := kinds[os.Args[1]](o); err != nil {
		fmt.Fprintf(os.Stderr, "server %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func listening(addr string) { fmt.Fprintln(os.Stderr, "listening on", addr) }

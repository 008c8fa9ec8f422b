// Example is a node of a cluster on Redis or Valkey. Start as many as you like, each with a name and an address of its own:
//
//	go run ./example -redis 127.0.0.1:6379 -node a -addr 127.0.0.1:9001 -events
//	go run ./example -redis 127.0.0.1:6379 -node b -addr 127.0.0.1:9002 -events
//
// It answers every application message with the same type, ID and body, passes messages on from user to user, and answers the queries of
// queries.go. With -demo it starts a redis-server, three nodes and some clients, and tells what happens to them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run() error {
	var n nodeConfig
	demo := flag.Bool("demo", false, "start a redis-server, nodes and clients, and tell what happens; it takes half a minute")
	n.store.flags()
	clientFlags(&n)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *demo {
		return runDemo(ctx)
	}
	if err := n.finish(); err != nil {
		return err
	}
	return n.run(ctx)
}

// nodeConfig has the settings of a node.
type nodeConfig struct {
	store  storeConfig
	engine engine.Config
	users  usermgr.Config
	bridge bridge.Config
	auth   bridge.Authenticator
	events bool

	frames           engine.Listener
	relogon, devices string
	timeout          time.Duration
	interval         time.Duration
	token, lines     string
	web, unix, udp   string
	cert, key        string
	clientCA         string
}

// clientFlags are those of examples/echo but for its page of live users, and -devices and -idle. What -relay does there is always on here.
func clientFlags(n *nodeConfig) {
	flag.StringVar(&n.frames.Addr, "addr", "127.0.0.1:9000", "TCP address to listen on")
	flag.StringVar(&n.relogon, "relogon", "replace-old", "what a second logon of a user does: replace-old or ignore-new")
	flag.StringVar(&n.devices, "devices", "one", "how many sessions a user may have: one, one per-device class, or a number")
	flag.DurationVar(&n.users.IdleTimeout, "idle", 0, "the time after which a session that sends nothing but heartbeats ends; 0 for never")
	flag.DurationVar(&n.interval, "heartbeat-interval", time.Second, "how often silence is looked for")
	flag.DurationVar(&n.timeout, "heartbeat-timeout", 30*time.Second, "how long a client may be silent; 0 for ever")
	flag.DurationVar(&n.engine.Timeouts.FirstMessage, "logon-timeout", 15*time.Second, "how long the first message may take")
	flag.StringVar(&n.token, "token", "", "when set, a Logon must carry it; a user then has one session, because the same token is one session")
	flag.BoolVar(&n.bridge.StrictUserID, "strict-user-id", false, "close on a message under another user's ID")
	flag.IntVar(&n.engine.Accept.MaxConnections, "max-connections", 0, "connections at a time; 0 for what the open files leave")
	flag.IntVar(&n.engine.Limits.MaxBody, "max-body", protocol.DefaultMaxBody, "largest body in bytes")
	flag.IntVar(&n.engine.Limits.MaxOutbound, "outbound-limit", 8<<20, "bytes that may wait for a client")
	flag.IntVar(&n.engine.Loops, "loops", 0, "event loops; 0 for one a processor")
	flag.IntVar(&n.engine.Workers, "workers", 0, "goroutines for handlers; 0 runs them on the loops")
	flag.StringVar(&n.cert, "tls-cert", "", "file with the certificate, in PEM: speak TLS")
	flag.StringVar(&n.key, "tls-key", "", "file with the certificate's key, in PEM")
	flag.StringVar(&n.clientCA, "tls-client-ca", "", "file with the authorities, in PEM, of which one must have issued a client's certificate")
	flag.StringVar(&n.lines, "line", "", "another TCP address, for lines in the place of frames: for nc and telnet")
	flag.StringVar(&n.web, "websocket", "", "another TCP address, for WebSockets: ws://, or wss:// with -tls-cert")
	flag.StringVar(&n.unix, "unix", "", "path of a Unix socket to listen on too, without TLS")
	flag.StringVar(&n.udp, "udp", "", "address for datagrams too; they are not encrypted")
	flag.DurationVar(&n.engine.Timeouts.KeepAlive, "keepalive", 0, "how long a connection is quiet before TCP asks for its peer; 0 for the engine's choice, negative for never")
	flag.DurationVar(&n.engine.Timeouts.StopWindow, "stop-window", 0, "over which time clients are told that the server stops, or has lost its cluster")
	flag.BoolVar(&n.events, "events", false, "print each event as a line of JSON")
}

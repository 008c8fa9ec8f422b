// Echo answers every application message with the same type, ID and body. It is the server that tests and benchmarks
// drive:
//
//	go run ./examples/echo -addr 127.0.0.1:9000 -events
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		cfg          engine.Config
		frames       engine.Listener
		bridgeCfg    bridge.Config
		authenticate bridge.Authenticator
	)
	flag.StringVar(&frames.Addr, "addr", "127.0.0.1:9000", "TCP address to listen on")
	relogon := flag.String("relogon", "replace-old", "what a second logon of a user does: replace-old or ignore-new")
	interval := flag.Duration("heartbeat-interval", time.Second, "how often silence is looked for")
	timeout := flag.Duration("heartbeat-timeout", 30*time.Second, "how long a client may be silent; 0 for ever")
	flag.DurationVar(&cfg.Timeouts.FirstMessage, "logon-timeout", 15*time.Second, "how long the first message may take")
	token := flag.String("token", "", "when set, a Logon must carry it")
	flag.BoolVar(&bridgeCfg.StrictUserID, "strict-user-id", false, "close on a message under another user's ID")
	flag.IntVar(&cfg.Accept.MaxConnections, "max-connections", 0, "connections at a time; 0 for what the open files leave")
	flag.IntVar(&cfg.Limits.MaxBody, "max-body", protocol.DefaultMaxBody, "largest body in bytes")
	flag.IntVar(&cfg.Limits.MaxOutbound, "outbound-limit", 8<<20, "bytes that may wait for a client")
	flag.IntVar(&cfg.Loops, "loops", 0, "event loops; 0 for one a processor")
	flag.IntVar(&cfg.Workers, "workers", 0, "goroutines for handlers; 0 runs them on the loops")
	tlsCert := flag.String("tls-cert", "", "file with the certificate, in PEM: speak TLS; read again when it changes")
	tlsKey := flag.String("tls-key", "", "file with the certificate's key, in PEM")
	tlsClientCA := flag.String("tls-client-ca", "", "file with the authorities, in PEM, of which one must have issued a client's certificate")
	lines := flag.String("line", "", "another TCP address, for lines in the place of frames: for nc and telnet")
	web := flag.String("websocket", "", "another TCP address, for WebSockets: ws://, or wss:// with -tls-cert")
	relay := flag.Bool("relay", false, "pass messages on to the users that they name, and tell clients who is online")
	unix := flag.String("unix", "", "path of a Unix socket to listen on too, without TLS")
	udp := flag.String("udp", "", "address for datagrams too; they are not encrypted")
	flag.DurationVar(&cfg.Timeouts.KeepAlive, "keepalive", 0, "how long a connection is quiet before TCP asks for its peer; 0 for the engine's choice, negative for never")
	flag.DurationVar(&cfg.Timeouts.StopWindow, "stop-window", 0, "over which time clients are told that the server stops")
	adminAddr := flag.String("admin", "", "another TCP address, for a page of live users, with HTTP; on this machine unless there is a password")
	adminPassword := flag.String("admin-password", "", "file with the password of that page; the user is admin")
	events := flag.Bool("events", false, "print each event as a line of JSON")
	flag.Parse()

	if *relay {
		bridgeCfg.Relay = new(bridge.Relay)
		bridgeCfg.MayAskWhoIsOnline = func(string, []string) bool { return true }
	}
	users := usermgr.Config{HeartbeatTimeout: -1}
	switch *relogon {
	case "replace-old":
	case "ignore-new":
		users.RelogonMode = usermgr.IgnoreNew
	default:
		return fmt.Errorf("-relogon %s: must be replace-old or ignore-new", *relogon)
	}
	if *timeout > 0 {
		users.HeartbeatTimeout, users.HeartbeatCheckInterval = *timeout, *interval
	}
	if *token != "" {
		authenticate = func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
			if l.Fields[protocol.FieldToken] != *token {
				return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "wrong token"}
			}
			return bridge.Identity{UserID: l.UserID}, nil
		}
	}

	var err error
	if frames.TLS, err = tlsConfig(*tlsCert, *tlsKey, *tlsClientCA); err != nil {
		return err
	}
	cfg.Listeners = []engine.Listener{frames}
	if *lines != "" {
		cfg.Listeners = append(cfg.Listeners, engine.Listener{Addr: *lines, Codec: protocol.Line})
	}
	if *web != "" {
		cfg.Listeners = append(cfg.Listeners, engine.Listener{Addr: *web, TLS: frames.TLS, WebSocket: new(engine.WebSocket)})
	}
	if *unix != "" {
		cfg.Listeners = append(cfg.Listeners, engine.Listener{Network: "unix", Addr: *unix})
	}
	if *udp != "" {
		cfg.Listeners = append(cfg.Listeners, engine.Listener{Network: "udp", Addr: *udp, Cleartext: true})
	}
	srv, err := rollcall.New(rollcall.Config{Engine: cfg, Users: users, Bridge: bridgeCfg, Authenticate: authenticate})
	if err != nil {
		return err
	}
	srv.Users.Subscribe(eventPrinter(*events))
	srv.HandleDefault(func(c *engine.Conn, msg *protocol.Message) error { return c.Reply(msg, msg.Body) })

	if err := srv.Listen(); err != nil {
		return err
	}
	for i, l := range cfg.Listeners {
		fmt.Fprintf(os.Stderr, "%s%s\n", announcement(l), srv.Addrs()[i])
	}
	if *adminAddr != "" {
		stop, err := serveAdmin(srv, *adminAddr, *adminPassword, frames.TLS)
		if err != nil {
			return err
		}
		defer stop()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = srv.Run(ctx)
	fmt.Fprintln(os.Stderr, "stopped:", srv.Stats().Stop)
	return err
}

// announcement is what is printed before a listener's address. For a WebSocket it begins the URL for client.Dial.
func announcement(l engine.Listener) string {
	switch {
	case l.Codec != nil:
		return "lines on "
	case l.WebSocket != nil && l.TLS != nil:
		return "listening on wss://"
	case l.WebSocket != nil:
		return "listening on ws://"
	case l.Network == "udp":
		return "listening, without encryption, on udp://"
	case l.Network != "":
		return "listening on " + l.Network + ":"
	}
	return "listening on "
}

// eventPrinter subscribes to every event, and prints them when asked to.
func eventPrinter(enabled bool) usermgr.Events {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	show := func(event map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(event)
	}
	session := func(event string, s *usermgr.SessionInfo, key string, value any) {
		if !enabled {
			return
		}
		e := map[string]any{"event": event, "user": s.UserID, "connection": s.Conn, "address": s.Address.String()}
		if key != "" {
			e[key] = value
		}
		show(e)
	}
	return usermgr.Events{
		Connected: func(s usermgr.SessionInfo) { session("connected", &s, "", nil) },
		PushedOut: func(s usermgr.SessionInfo, by usermgr.Address) { session("pushed_out", &s, "by", by.String()) },
		Ignored: func(userID string, by usermgr.Address) {
			if enabled {
				show(map[string]any{"event": "ignored", "user": userID, "by": by.String()})
			}
		},
		TimedOut:     func(s usermgr.SessionInfo) { session("timed_out", &s, "", nil) },
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) { session("disconnected", &s, "cause", why) },
		UserCountChanged: func(n int) {
			if enabled {
				show(map[string]any{"event": "user_count", "count": n})
			}
		},
	}
}

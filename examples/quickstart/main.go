// Quickstart starts a server and real clients, and prints what happens between them:
//
//	go run ./examples/quickstart
//
// It ends by itself; with -listen :9000 the server stays up for other clients, and serves a page of its users.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/admin"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const echo, chat = 1, 2 // the application's message types

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "TCP address; when given, the server stays up for other clients")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	srv, err := rollcall.New(rollcall.Config{
		Addr:  *listen,
		Users: usermgr.Config{HeartbeatTimeout: time.Second, HeartbeatCheckInterval: 200 * time.Millisecond},
	})
	must(err)
	users := srv.Users
	users.Subscribe(events)
	srv.Handle(echo, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
	srv.Handle(chat, func(c *engine.Conn, m *protocol.Message) error {
		passedOn := &protocol.Message{Type: chat, UserID: m.UserID, Body: m.Body}
		if err := srv.SendMessage(m.DestUserID, passedOn, nil); err != nil {
			return err
		}
		return c.Reply(m, []byte("delivered"))
	})
	must(srv.Listen())
	addr := srv.Addrs()[0].String()
	stopped := make(chan error)
	go func() { stopped <- srv.Run(ctx) }()

	story(addr, users)
	if *listen == "127.0.0.1:0" {
		stop()
	} else {
		url, token, end := servePage(srv)
		defer end()
		say("The server stays up on %s. Stop it with Ctrl-C.", addr)
		note("page", "who is online: %s", url)
		note("page", "to throw users out there, give it the token %s", token)
	}
	must(<-stopped)
	say("The server has stopped: everybody was told, and nobody is online (%d).", users.Count())
}

// servePage serves a page of the users who are online, for browsers on this machine.
func servePage(srv *rollcall.Server) (url, token string, end func()) {
	authorize, token := admin.Loopback()
	pages, err := admin.New(admin.Config{Users: srv.Users, Engines: []admin.Engine{{Engine: srv.Engine, Bridge: srv.Bridge}}, Authorize: authorize})
	must(err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := &http.Server{Handler: pages, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(ln) }()
	return "http://" + ln.Addr().String() + "/", token, func() { _, _ = pages.Close(), server.Close() }
}

// events prints the user manager's events.
var events = usermgr.Events{
	Connected: func(s usermgr.SessionInfo) { note("server", "%s is online, from %s", s.UserID, s.Address) },
	PushedOut: func(old usermgr.SessionInfo, by usermgr.Address) {
		note("server", "%s logged on again from %s and pushes out %s", old.UserID, by, old.Address)
	},
	TimedOut: func(s usermgr.SessionInfo) { note("server", "%s fell silent", s.UserID) },
	Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
		note("server", "%s at %s has left: %s", s.UserID, s.Address, why)
	},
}

func story(addr string, users *usermgr.Manager) {
	ctx := context.Background()
	say("A server listens on %s. Two users log on.", addr)
	alice := logOn(ctx, addr, "alice", "alice", 0)
	bob := logOn(ctx, addr, "bob", "bob", 0)

	say("Alice asks the server, and gets her words back.")
	reply, err := alice.Request(ctx, echo, []byte("is anybody there?"))
	must(err)
	note("alice", "the server answers %q", reply.Body)

	say("Alice writes to Bob, by way of the server; and to Zoe, who is not there.")
	for _, to := range []string{"bob", "zoe"} {
		if reply, err = alice.RequestTo(ctx, to, chat, []byte("lunch at noon?")); err != nil {
			note("alice", "my message to %s: %v", to, err)
		} else {
			note("alice", "my message to %s: %s", to, reply.Body)
		}
	}

	say("Alice logs on again, with her phone. One user has one session: the new one pushes out the old one.")
	phone := logOn(ctx, addr, "alice's phone", "alice", 0)
	defer phone.Close()
	<-alice.Done()

	say("Carol logs on and then says nothing at all, not even a heartbeat. After a second she is thrown out.")
	carol := logOn(ctx, addr, "carol", "carol", -1)
	<-carol.Done()

	say("Who is online, and what have they sent and received?")
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "    USER\tADDRESS\tMESSAGES IN\tBYTES IN\tMESSAGES OUT\tBYTES OUT")
	for id := range users.Users() {
		if u, ok := users.User(id); ok {
			fmt.Fprintf(table, "    %s\t%s\t%d\t%d\t%d\t%d\n", id, u.Sessions[0].Address,
				u.In.Messages, u.In.Bytes, u.Out.Messages, u.Out.Bytes)
		}
	}
	table.Flush()

	say("The server throws Bob out.")
	_, _ = users.Kick("bob", &usermgr.KickOptions{Text: "too many puns"})
	<-bob.Done()
}

// logOn connects a client that prints what it gets, and how it ends.
func logOn(ctx context.Context, addr, name, user string, beat time.Duration) *client.Client {
	c, err := client.Dial(ctx, addr, client.Config{
		UserID:    user,
		Timeouts:  client.Timeouts{Heartbeat: beat},
		Reconnect: client.Reconnect{Max: -1}, // here we want to see the end of each
		Handle: map[uint16]client.Handler{
			chat: func(_ *client.Client, m *protocol.Message) error {
				note(name, "%s writes %q", m.UserID, m.Body)
				return nil
			},
		},
		OnState: func(_ *client.Client, s client.State, err error) {
			if s == client.Closed {
				note(name, "it's over: %v", err)
			}
		},
	})
	must(err)
	return c
}

func say(format string, a ...any) { fmt.Printf("\n"+format+"\n", a...) }
func note(who, format string, a ...any) {
	fmt.Printf("    %-15s"+format+"\n", append([]any{who + ":"}, a...)...)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

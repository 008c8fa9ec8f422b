// Rooms is a server with rooms. Users join as many rooms as they like, and all members of a room get what its members say, in
// one order:
//
//	go run ./examples/recipes/rooms -addr 127.0.0.1:9000
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

const (
	join  = 1 // the body is the room's name
	say   = 2 // the room's name, a space and a text; the reply says to how many connections it went
	leave = 3 // the room's name
)

// speak sends what a member says to all members of the room.
func speak(srv *rollcall.Server, m *protocol.Message) (n int, err error) {
	name, _, _ := strings.Cut(string(m.Body), " ")
	room := srv.Group(name)
	if !slices.Contains(room.Members(), bridge.Member{UserID: m.UserID}) {
		return 0, protocol.Errorf(protocol.Refused, "join the room first")
	}
	return room.SendMessage(&protocol.Message{Type: say, UserID: m.UserID, Body: m.Body}, nil)
}

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "TCP address to listen on")
	flag.Parse()
	srv, err := rollcall.New(rollcall.Config{Addr: *addr})
	if err != nil {
		log.Fatal(err)
	}
	srv.Handle(join, func(c *engine.Conn, m *protocol.Message) error {
		if err := srv.Group(string(m.Body)).Join(bridge.Member{UserID: m.UserID}); err != nil {
			return err
		}
		return c.Reply(m, nil)
	})
	srv.Handle(leave, func(c *engine.Conn, m *protocol.Message) error {
		srv.Group(string(m.Body)).Leave(bridge.Member{UserID: m.UserID})
		return c.Reply(m, nil)
	})
	srv.Handle(say, func(c *engine.Conn, m *protocol.Message) error {
		n, err := speak(srv, m)
		if err != nil {
			return err
		}
		return c.Reply(m, strconv.AppendInt(nil, int64(n), 10))
	})

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

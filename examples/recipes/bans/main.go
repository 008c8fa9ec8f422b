// Bans is a server whose users have a password, several devices, and an admin who may ban them:
//
//	go run ./examples/recipes/bans -addr 127.0.0.1:9000
package main

import (
	"context"
	"crypto/subtle"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const (
	ban, unban, logOut = 1, 2, 3 // requests of the admin's; the body is a user ID

	desktop, phone = 1, 2 // device classes
)

var passwords = map[string]string{"admin": "root", "alice": "wonder", "bob": "builder"}

func authenticate(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
	password, known := passwords[l.UserID]
	if !known || subtle.ConstantTimeCompare([]byte(password), []byte(l.Token)) == 0 {
		return bridge.Identity{}, protocol.Unauthorized
	}
	return bridge.Identity{UserID: l.UserID, Token: fmt.Sprintf("%s on %d", l.UserID, l.Device)}, nil
}

// admins returns h for the admin alone.
func admins(h engine.Handler) engine.Handler {
	return func(c *engine.Conn, m *protocol.Message) error {
		if c.UserID() != "admin" {
			return protocol.Errorf(protocol.Refused, "that is the admin's to do")
		}
		return h(c, m)
	}
}

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "TCP address to listen on")
	flag.Parse()
	devices := usermgr.Devices{OnePerClass: true, Known: []uint16{desktop, phone}}
	srv, err := rollcall.New(rollcall.Config{Addr: *addr, Authenticate: authenticate, Users: usermgr.Config{Devices: devices}})
	if err != nil {
		log.Fatal(err)
	}
	users := srv.Users
	answer := func(c *engine.Conn, m *protocol.Message, err error) error {
		if err != nil {
			return protocol.Errorf(protocol.Refused, "%v", err)
		}
		return c.Reply(m, nil)
	}
	srv.Handle(ban, admins(func(c *engine.Conn, m *protocol.Message) error {
		_, err := users.Kick(string(m.Body), &usermgr.KickOptions{Text: "you are banned", BanFor: 24 * time.Hour})
		return answer(c, m, err) // the kick goes on by itself; to wait for it here would block the event loop
	}))
	srv.Handle(unban, admins(func(c *engine.Conn, m *protocol.Message) error {
		users.Unban(string(m.Body))
		return c.Reply(m, nil)
	}))
	srv.Handle(logOut, admins(func(c *engine.Conn, m *protocol.Message) error { // a phone that was lost
		_, err := users.Kick(string(m.Body), &usermgr.KickOptions{Devices: []uint16{phone}, Text: "logged out", RevokeFor: 24 * time.Hour})
		return answer(c, m, err)
	}))

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

package client_test

import (
	"context"
	"fmt"
	"log"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// chat is a message type of the application's.
const chat = 1

// relay starts a server that passes chat messages on, and returns its address and what stops it.
func relay() (addr string, stop func()) {
	users, err := usermgr.New(usermgr.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := bridge.Attach(srv, users, nil, bridge.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv.Handle(chat, func(c *engine.Conn, m *protocol.Message) error {
		err := b.SendMessage(m.DestUserID, &protocol.Message{Type: m.Type, UserID: m.UserID, Body: m.Body}, nil)
		if err != nil {
			return c.ReplyError(m, err)
		}
		return c.Reply(m, []byte("sent"))
	})
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Run(ctx)
		_ = users.Close(context.Background())
	}()
	return srv.Addrs()[0].String(), func() { cancel(); <-ended }
}

func Example() {
	addr, stop := relay()
	defer stop()
	ctx := context.Background()

	heard := make(chan string, 1)
	bob, err := client.Dial(ctx, addr, client.Config{
		UserID: "bob",
		Handle: map[uint16]client.Handler{
			chat: func(_ *client.Client, m *protocol.Message) error {
				heard <- fmt.Sprintf("%s: %s", m.UserID, m.Body)
				return nil
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Close()

	alice, err := client.Dial(ctx, addr, client.Config{UserID: "alice"})
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()

	reply, err := alice.RequestTo(ctx, "bob", chat, []byte("are you there?"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", reply.Body)
	fmt.Println(<-heard)

	_, err = alice.RequestTo(ctx, "carol", chat, []byte("and you?"))
	fmt.Println(err)

	// Output:
	// sent
	// alice: are you there?
	// rollcall: UserOffline: the user is offline
}

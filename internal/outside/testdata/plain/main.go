// Plain is a server and a client of the server. It requires only the main module.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
)

func main() {
	srv, err := rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	srv.HandleDefault(func(c *rollcall.Conn, m *rollcall.Message) error { return c.Reply(m, m.Body) })
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- srv.Run(ctx) }()

	c, err := client.Dial(ctx, srv.Addrs()[0].String(), client.Config{UserID: "alice"})
	if err != nil {
		log.Fatal(err)
	}
	answer, err := c.Request(ctx, 1, []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", answer.Body)
}

package rollcall_test

import (
	"context"
	"fmt"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
)

func Example() {
	const echo = 1
	srv, err := rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"}) // lets everybody in: see Authenticate
	if err != nil {
		fmt.Println(err)
		return
	}
	srv.Users.Subscribe(rollcall.Events{
		Connected:    func(s rollcall.SessionInfo) { fmt.Println(s.UserID, "is online") },
		Disconnected: func(s rollcall.SessionInfo, why rollcall.CloseCode) { fmt.Println(s.UserID, "left:", why) },
	})
	srv.Handle(echo, func(c *rollcall.Conn, m *rollcall.Message) error { return c.Reply(m, m.Body) })
	if err := srv.Listen(); err != nil { // so that Addrs can tell the port; Run does it otherwise
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- srv.Run(ctx) }()

	alice, err := client.Dial(ctx, srv.Addrs()[0].String(), client.Config{UserID: "alice"})
	if err != nil {
		fmt.Println(err)
		return
	}
	reply, err := alice.Request(ctx, echo, []byte("hello"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("the server answers %q\n", reply.Body)
	_ = alice.Close()
	stop()
	if err := <-ran; err != nil { // when Run has returned, every event has been told
		fmt.Println(err)
	}
	// Output:
	// alice is online
	// the server answers "hello"
	// alice left: ClientClosed
}

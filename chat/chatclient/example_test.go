package chatclient_test

import (
	"context"
	"fmt"
	"log"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/client"
)

func Example() {
	srv, err := rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	service, err := chat.New(srv.Bridge, chat.Config{Store: chat.NewMemory(), Strangers: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	addr := srv.Addrs()[0].String()

	const text = 1 // a message type of the application's
	came := make(chan *chatclient.Message, 10)
	dial := func(user string, cfg chatclient.Config) *chatclient.Client {
		c, err := chatclient.Dial(ctx, addr, client.Config{UserID: user}, cfg)
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	receive := chatclient.Config{OnMessage: func(_ *chatclient.Client, m *chatclient.Message) { came <- m }}

	ann, bob := dial("ann", chatclient.Config{}), dial("bob", receive)
	send := func(words string) {
		if _, err := ann.Send(ctx, chatclient.ToUser("bob"), text, []byte(words), chatclient.SendOptions{}); err != nil {
			log.Fatal(err)
		}
	}
	send("hello")
	m := <-came
	fmt.Printf("%s, %d: %s\n", m.From, m.Seq, m.Content)

	_ = bob.Close()
	<-bob.Done()
	send("are you there?")
	receive.Known = bob.Marks() // a program keeps it in a file
	bob = dial("bob", receive)
	m = <-came
	fmt.Printf("%s, %d: %s\n", m.From, m.Seq, m.Content)

	_, _ = ann.Close(), bob.Close()
	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	if err := service.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// ann, 1: hello
	// ann, 2: are you there?
}

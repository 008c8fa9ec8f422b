package chat_test

import (
	"context"
	"fmt"
	"log"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/chat"
)

func ExampleKeyOf() {
	fmt.Println(chat.KeyOf("bob", chat.ToUser("ann")) == chat.KeyOf("ann", chat.ToUser("bob")))
	fmt.Println(chat.KeyOf("bob", chat.ToGroup(7)))
	// Output:
	// true
	// {7  }
}

func Example() {
	srv, err := rollcall.New(rollcall.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	messages, err := chat.New(srv.Bridge, chat.Config{Store: chat.NewMemory()})
	if err != nil {
		log.Fatal(err)
	}
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()

	group, err := messages.CreateGroup(ctx, "ann", chat.Group{Name: "climbing", Open: true})
	if err != nil {
		log.Fatal(err)
	}
	m, err := messages.Send(ctx, "ann", chat.ToGroup(group), 1, []byte("who is coming?"), chat.SendOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("message", m.Seq, "is stored")
	page, err := messages.Join(ctx, group, "bob")
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range page.Messages {
		fmt.Printf("bob reads that %s wrote: %s\n", m.From, m.Content)
	}
	_, err = messages.Send(ctx, "bob", chat.ToUser("ann"), 1, []byte("I am"), chat.SendOptions{})
	fmt.Println(err)

	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	if err := messages.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// message 1 is stored
	// bob reads that ann wrote: who is coming?
	// rollcall: NoSuchUser: there is no such user
}

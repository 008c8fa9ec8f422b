package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
)

// A server without users: it answers each line with the same in capitals. The wire format is Line, so that telnet and nc
// will do for a client.
func Example() {
	srv, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0", Codec: protocol.Line}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv.Handle(1, func(c *engine.Conn, m *protocol.Message) error {
		return c.Reply(m, []byte(strings.ToUpper(string(m.Body))))
	})
	srv.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil }) // the first line of a Line client is its name

	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- srv.Run(ctx) }()

	client, err := net.Dial("tcp", srv.Addrs()[0].String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprintln(client, "ann")
	fmt.Fprintln(client, "/1:7 hello")
	answers := bufio.NewReader(client)
	line, _ := answers.ReadString('\n')
	fmt.Print(line)

	stop()
	line, _ = answers.ReadString('\n')
	fmt.Print(line)
	_ = client.Close()
	fmt.Println("Run returned", <-ended)
	// Output:
	// = /1:7 HELLO
	// * close 1004 ServerStopping the server is stopping
	// Run returned <nil>
}

// Typed makes a handler of a function from a request to a response, here as JSON.
func ExampleTyped() {
	type sum struct{ A, B int }
	type total struct{ Total int }
	srv, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0", Codec: protocol.Line}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv.Handle(1, engine.Typed(engine.JSON, func(_ *engine.Conn, _ *protocol.Message, s sum) (total, error) {
		if s.A < 0 || s.B < 0 {
			return total{}, &protocol.CloseError{Code: protocol.Refused, Text: "no debts here"}
		}
		return total{s.A + s.B}, nil
	}))
	srv.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- srv.Run(ctx) }()

	client, err := net.Dial("tcp", srv.Addrs()[0].String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(client, "ann\n"+`/1:7 {"A":2,"B":3}`+"\n"+`/1:8 {"A":-2}`+"\n")
	answers := bufio.NewReader(client)
	for range 2 {
		line, _ := answers.ReadString('\n')
		fmt.Print(line)
	}
	_ = client.Close()
	stop()
	<-ended
	// Output:
	// = /1:7 {"Total":5}
	// ! /1:8 5003 Refused no debts here
}

// A connection of any kind, here an end of a pipe, is served as one that a listener accepts.
func ExampleEngine_ServeConn() {
	srv, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0", Codec: protocol.Line}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, []byte("hello")) })
	srv.HandleDefault(func(*engine.Conn, *protocol.Message) error { return nil })
	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- srv.Run(ctx) }()

	client, theirs := net.Pipe()
	served := make(chan error)
	go func() { served <- srv.ServeConn(theirs) }()
	fmt.Fprintln(client, "ann")
	fmt.Fprintln(client, "/1:7")
	line, _ := bufio.NewReader(client).ReadString('\n')
	fmt.Print(line)
	_ = client.Close()
	fmt.Println("ServeConn returned", <-served)
	stop()
	<-ended
	// Output:
	// = /1:7 hello
	// ServeConn returned <nil>
}

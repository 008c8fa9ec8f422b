// Chat is a chat for the terminal, with friends, rooms and history:
//
//	go run ./examples/chat server
//	go run ./examples/chat client -user ann
//	go run ./examples/chat client -user ann -device phone
//
// The server is package server, with any chat.Store. The one here, in openStore, forgets when the program ends. With two lines it is a file:
//
//	import "github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
//
//	return sqlite.Open("chat.db")
//
// The client is a terminal on package chatclient: session.go has what it knows, commands.go what a person may type, screen.go how lines are
// read and written.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/examples/chat/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch what := append(os.Args, "")[1]; what {
	case "server":
		err = serve(ctx, os.Args[2:])
	case "client":
		err = join(ctx, os.Args[2:])
	default:
		err = errors.New("usage: chat server [-addr 127.0.0.1:9000], or chat client -user ann [-device phone] [-server localhost:9000]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve runs the server.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("chat server", flag.ExitOnError)
	options := server.Flags(flags)
	kind := flags.String("store", "memory", "where messages are kept: memory, until the server ends")
	_ = flags.Parse(args)
	if *kind != "memory" {
		return fmt.Errorf("-store %s: this server keeps all in memory; chat/sqlstore/example has -db FILE and -postgres DSN", *kind)
	}
	store, err := openStore()
	if err != nil {
		return err
	}
	err = server.Run(ctx, options, store)
	if c, ok := store.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}

// openStore says where users, rooms and messages are kept.
func openStore() (chat.Store, error) {
	return chat.NewMemory(), nil
}

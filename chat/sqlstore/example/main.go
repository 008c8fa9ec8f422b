// The server of examples/chat, with messages in a file or in PostgreSQL. On PostgreSQL it makes the users that an application announces in the
// table user_events (outbox.go):
//
//	go run ./example -db chat.db
//	go run ./example -postgres postgres://user@localhost/chat
//
// go run ./examples/chat client, in the main module, is its client.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/postgres"
	"github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
	"github.com/rollcall-go/rollcall/examples/chat/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("chat", flag.ExitOnError)
	options := server.Flags(flags)
	file := flags.String("db", "", "SQLite's file, which is made where it is missing")
	dsn := flags.String("postgres", "", "PostgreSQL's address, such as postgres://user@localhost/chat")
	_ = flags.Parse(args)

	store, err := open(ctx, *file, *dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if *dsn != "" {
		options.Beside = func(ctx context.Context, messages *chat.Service) {
			o := outbox{dsn: *dsn, create: messages.CreateUser, poll: 10 * time.Second, retry: 10 * time.Second}
			o.run(ctx)
		}
	}
	return server.Run(ctx, options, store)
}

func open(ctx context.Context, file, dsn string) (*sqlstore.Store, error) {
	switch {
	case (file == "") == (dsn == ""):
		return nil, errors.New("say where messages are kept, with -db chat.db or with -postgres postgres://user@localhost/chat")
	case file != "":
		return sqlite.Open(file)
	}
	return postgres.Open(ctx, dsn)
}

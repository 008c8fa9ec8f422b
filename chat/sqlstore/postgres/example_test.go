package postgres_test

import (
	"context"
	"log"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore/postgres"
)

// A server's settings of package chat, with the store in a schema of its own.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := postgres.Open(ctx, "postgres://rollcall@db/app?search_path=chat")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	_ = chat.Config{Store: store}
}

package sqlstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
)

// A program may read what its users have written without a server.
func ExampleStore_History() {
	folder, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	store := exampleStore(folder)
	defer store.Close()
	page, err := store.History(context.Background(), chat.Key{Group: 7}, "ann", chat.Range{Limit: 10})
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range page.Messages {
		fmt.Printf("%d of %d, from %s: %s\n", m.Seq, page.Last, m.From, m.Content)
	}
	// Output:
	// 1 of 2, from ann: hello
	// 2 of 2, from ann: anybody here?
}

// exampleStore is a store with a group and two messages.
func exampleStore(folder string) *sqlstore.Store {
	store, err := sqlite.Open(filepath.Join(folder, "chat.db"))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := store.CreateGroup(ctx, chat.Group{ID: 7, Owner: "ann"}, func(int) error { return nil }); err != nil {
		log.Fatal(err)
	}
	err = store.Append(ctx, []*chat.Post{
		{Group: 7, From: "ann", ID: uuid.New(), Content: []byte("hello"), Time: time.Now()},
		{Group: 7, From: "ann", ID: uuid.New(), Content: []byte("anybody here?"), Time: time.Now()},
	}, func(*chat.Post, *chat.Standing) error { return nil })
	if err != nil {
		log.Fatal(err)
	}
	return store
}

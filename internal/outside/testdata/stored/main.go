// Stored keeps a user's settings in a file, or in PostgreSQL when it is given an address. Of this repository it requires the main module and
// chat/sqlstore.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/postgres"
	"github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
)

func main() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "stored")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	var store *sqlstore.Store
	if len(os.Args) > 1 {
		store, err = postgres.Open(ctx, os.Args[1])
	} else {
		store, err = sqlite.Open(filepath.Join(folder, "chat.db"))
	}
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if err := store.UpdateUser(ctx, "ann", func(u *chat.User) error { u.Exists = true; return nil }); err != nil {
		log.Fatal(err)
	}
	users, err := store.Users(ctx, []string{"ann"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ann exists:", users[0].Exists)
}

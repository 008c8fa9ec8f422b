package sqlite_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
)

// What is stored is there when the program starts again.
func Example() {
	folder, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	ctx := context.Background()
	for range 2 {
		store, err := sqlite.Open(filepath.Join(folder, "chat.db"))
		if err != nil {
			log.Fatal(err)
		}
		err = store.UpdateUser(ctx, "ann", func(u *chat.User) error {
			fmt.Println("ann exists:", u.Exists)
			u.Exists, u.Created = true, time.Now()
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
		if err := store.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// ann exists: false
	// ann exists: true
}

//go:build unix

package sqlstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/chat/sqlstore/postgres"
	"github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var databases = map[string]func(t *testing.T) *sqlstore.Store{
	"SQLite": func(t *testing.T) *sqlstore.Store {
		return testkit.Must(sqlite.Open(filepath.Join(t.TempDir(), "chat.db")))
	},
	"PostgreSQL": func(t *testing.T) *sqlstore.Store {
		return testkit.Must(postgres.Open(t.Context(), pgtest.Shared(t).Schema(t)))
	},
}

// Rule P29: new pairs that draw the number of another conversation draw again, so that no message goes to another one's conversation, and none is lost.
func TestPairsThatDrawOneNumber(t *testing.T) {
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			store := open(t)
			defer store.Close()
			if err := store.CreateGroup(t.Context(), chat.Group{ID: 7, Owner: "ann", MaxMembers: 5}, func(int) error { return nil }); err != nil {
				t.Fatal(err)
			}
			var drawn atomic.Int64
			defer sqlstore.Draw(func() int64 { // the group's, and then one for two pairs
				switch n := drawn.Add(1); {
				case n <= 3:
					return 7
				case n <= 5:
					return 100
				default:
					return 100 + n
				}
			})()
			var posts []*chat.Post
			for i := range 3 {
				posts = append(posts, &chat.Post{From: "ann", To: fmt.Sprint("user", i), ID: uuid.New(), Type: 1, Content: fmt.Append(nil, i), Time: time.UnixMilli(1)})
			}
			if err := store.Append(context.Background(), posts, func(*chat.Post, *chat.Standing) error { return nil }); err != nil {
				t.Fatal(err)
			}
			for i, p := range posts {
				page := testkit.Must(store.History(t.Context(), p.Key(), "ann", chat.Range{Limit: 10}))
				if p.Seq != 1 || len(page.Messages) != 1 || string(page.Messages[0].Content) != fmt.Sprint(i) {
					t.Errorf("rule P29: message %d has the number %d, and its conversation is %+v", i, p.Seq, page)
				}
			}
			if page := testkit.Must(store.History(t.Context(), chat.Key{Group: 7}, "ann", chat.Range{Limit: 10})); len(page.Messages) != 0 {
				t.Errorf("rule P31: the group has %+v", page.Messages)
			}
			if drawn.Load() < 7 {
				t.Errorf("%d numbers were drawn", drawn.Load())
			}
		})
	}
}

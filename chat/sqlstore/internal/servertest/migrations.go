package servertest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
)

// What a database of the first version has, in SQL. %s stands for two IDs and two contents of messages.
const firstVersion = `
	INSERT INTO account VALUES ('ann', TRUE, TRUE, FALSE, 1, 1000, TRUE), ('bob', FALSE, TRUE, TRUE, 2, 2000, FALSE);
	INSERT INTO presence VALUES ('ann', 2, 1000, 2000);
	INSERT INTO contact VALUES ('ann', 'bob', 4, FALSE, FALSE, 1000, '', 0), ('bob', 'ann', 4, FALSE, FALSE, 1000, '', 0), ('cid', 'ann', 0, TRUE, FALSE, 3000, '', 0);
	INSERT INTO conversation (id, last_seq, last_time, oldest, version, name, owner, max_members, members, open)
		VALUES (7, 2, 5000, 4000, 3, 'climbing', 'ann', 50, 2, TRUE);
	INSERT INTO member VALUES (7, 'ann', FALSE, 2, 0), (7, 'bob', FALSE, 0, 1);
	INSERT INTO ban VALUES (7, 'eve', 'ann', 9000);
	INSERT INTO message VALUES (7, 1, %s, 'ann', 4000, 0, 1, %s), (7, 2, %s, 'bob', 5000, 1, 2, %s);
`

// Migrations holds that a database of each earlier version is brought up to date when it is opened, and has what it had. It runs in a folder beside
// migrations. change is what package sqlstore makes of a file there. database returns a connection to an empty database, and opens the store in it.
func Migrations(t *testing.T, dialect goose.Dialect, change func(text string) string, database func(t *testing.T) (db *sql.DB, open func() Store)) {
	files, err := filepath.Glob("../migrations/*.sql")
	if err != nil || len(files) < 2 {
		t.Fatalf("the migrations are %q, %v", files, err)
	}
	slices.Sort(files)
	for version := 1; version < len(files); version++ {
		t.Run(fmt.Sprint("from version ", version), func(t *testing.T) {
			db, open := database(t)
			upTo := func(version int) {
				t.Helper()
				folder := t.TempDir()
				for _, file := range files[:version] {
					text := change(string(testkit.Must(os.ReadFile(file))))
					if err := os.WriteFile(filepath.Join(folder, filepath.Base(file)), []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				p, err := goose.NewProvider(dialect, db, os.DirFS(folder), goose.WithTableName("chat_version"), goose.WithDisableGlobalRegistry(true))
				if err == nil {
					_, err = p.Up(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			upTo(1)
			bytes := func(b []byte) string {
				if dialect == goose.DialectPostgres {
					return fmt.Sprintf(`'\x%x'`, b)
				}
				return fmt.Sprintf("x'%x'", b)
			}
			one, two := uuid.UUID{1}, uuid.UUID{2}
			if _, err := db.Exec(fmt.Sprintf(firstVersion, bytes(one[:]), bytes([]byte("hello")), bytes(two[:]), bytes([]byte("psst")))); err != nil {
				t.Fatal(err)
			}
			upTo(version)
			store := open()
			hasAll(t, store, one)
			var now int
			if err := db.QueryRow("SELECT max(version_id) FROM chat_version").Scan(&now); err != nil || now != len(files) {
				t.Errorf("the database has version %d, %v, and not %d", now, err, len(files))
			}
		})
	}
}

// hasAll wants a store to have what firstVersion has, and to go on from there.
func hasAll(t *testing.T, store chat.Store, one uuid.UUID) {
	t.Helper()
	ctx := context.Background()
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	same := func(what string, got, want any) {
		t.Helper()
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
			t.Errorf("%s: %s, not %s", what, g, w)
		}
	}
	users := testkit.Must(store.Users(ctx, []string{"ann", "bob"}))
	for i := range users {
		users[i].Created = users[i].Created.UTC()
	}
	same("the users", users, []chat.User{
		{UserID: "ann", Exists: true, Created: at(1000), SetUp: true, Settings: chat.Settings{Receive: true, Send: true, Requests: chat.Ask}},
		{UserID: "bob", Exists: true, Created: at(2000), Settings: chat.Settings{Send: true, Anonymous: true, Requests: chat.Off}},
	})
	records := testkit.Must(store.LoadPresence(ctx, []string{"ann", "bob"}))
	for i := range records {
		records[i].LastOnline, records[i].LastSeen = records[i].LastOnline.UTC(), records[i].LastSeen.UTC()
	}
	same("the records", records, []presence.Record{{UserID: "ann", Wanted: presence.Busy, LastOnline: at(1000), LastSeen: at(2000)}})
	contacts := testkit.Must(store.ContactsWith(ctx, "ann", []string{"bob", "cid"}))
	same("the contacts", []any{contacts[0].State, contacts[0].BlockedBy, contacts[1].State, contacts[1].BlockedBy}, []any{chat.Friend, false, chat.ContactState(0), true})
	group, eve, err := store.Group(ctx, 7, "eve")
	if err != nil {
		t.Fatal(err)
	}
	same("the group", group, chat.Group{ID: 7, Name: "climbing", Owner: "ann", MaxMembers: 50, Members: 2, Open: true, LastSeq: 2, Version: 3})
	same("eve", []any{eve.In, eve.BannedBy, eve.MutedUntil.UnixMilli()}, []any{false, "ann", 9000})
	_, members, err := store.Members(ctx, 7, "", 0)
	if err != nil || len(members) != 2 {
		t.Fatalf("the members are %+v, %v", members, err)
	}
	same("the members", []any{members[0].UserID, members[0].Role, members[1].UserID, members[1].Joined}, []any{"ann", chat.Owner, "bob", 1})
	posts := []*chat.Post{ // a repeat, and a new message
		{Group: 7, From: "ann", ID: one, Type: 1, Content: []byte("hello?"), Time: at(6000)},
		{Group: 7, From: "ann", ID: uuid.New(), Type: 1, Content: []byte("again"), Time: at(6000)},
	}
	if err := store.Append(ctx, posts, func(*chat.Post, *chat.Standing) error { return nil }); err != nil {
		t.Fatal(err)
	}
	same("the posts", []any{posts[0].Seq, posts[0].Dup, posts[1].Seq, posts[1].Dup}, []any{1, true, 3, false})
	page := testkit.Must(store.History(ctx, chat.Key{Group: 7}, "ann", chat.Range{FromStart: true, Limit: 10}))
	var lines []string
	for _, m := range page.Messages {
		lines = append(lines, fmt.Sprintf("%d %s %v %d %d %s", m.Seq, m.From, m.Anonymous, m.Type, m.Time.UnixMilli(), m.Content))
	}
	same("the messages", lines, []string{"1 ann false 1 4000 hello", "2 bob true 2 5000 psst", "3 ann false 1 6000 again"})
	same("what is old", testkit.Must(store.Prune(ctx, at(5500), 10)), 2)
}

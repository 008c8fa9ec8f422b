//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/load"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/chat/sqlstore/postgres"
	"github.com/rollcall-go/rollcall/chat/storetest"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/presence"
)

func TestMain(m *testing.M) {
	os.Exit(load.Main(func() int { return pgtest.Main(m) }))
}

// open opens a store until the end of the test.
func open(t testing.TB, dsn string) *sqlstore.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := postgres.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	server := pgtest.Shared(t)
	storetest.Run(t, func(t *testing.T) chat.Store {
		t.Parallel()
		dsn := server.Lend(t)
		return &reopener{open(t, dsn), dsn}
	})
}

// reopener is a store that the suite closes and opens again.
type reopener struct {
	*sqlstore.Store
	dsn string
}

func (r *reopener) Reopen(t *testing.T) chat.Store {
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, r.dsn)
}

// Texts are compared by their bytes, whatever the database's collation is.
func TestEveryTextIsComparedByItsBytes(t *testing.T) {
	server := pgtest.Shared(t)
	dsn := server.Schema(t)
	open(t, dsn)
	texts := server.Run(t, dsn, `SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type = 'text'`)
	bytewise := server.Run(t, dsn, `SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name = 'C'`)
	if len(texts) == 0 || len(texts) != len(bytewise) {
		t.Errorf("of the columns %v only %v have the collation C", texts, bytewise)
	}
}

// Servers that start at once bring the tables up to date once.
func TestServersMayStartAtOnce(t *testing.T) {
	server := pgtest.Shared(t)
	dsn := server.Schema(t)
	errs := make(chan error)
	const servers = 5
	for range servers {
		go func() {
			s, err := postgres.Open(context.Background(), dsn)
			if err == nil {
				err = s.Close()
			}
			errs <- err
		}()
	}
	for range servers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := server.Run(t, dsn, "SELECT count(*)::text FROM chat_version WHERE version_id > 0"); fmt.Sprint(n) != "[2]" {
		t.Errorf("%v migrations were applied, want 2", n)
	}
}

// useAll calls what load.Write does not.
func useAll(t *testing.T, store *sqlstore.Store) {
	t.Helper()
	ctx, removed := t.Context(), 0
	for what, err := range map[string]error{
		"UpdateUser":    store.UpdateUser(ctx, "ann", func(u *chat.User) error { u.Exists = true; return nil }),
		"UpdateContact": store.UpdateContact(ctx, "ann", "bob", func(r *chat.Relation) error { r.AB.State, r.BA.State = chat.Friend, chat.Friend; return nil }),
		"SavePresence":  store.SavePresence(ctx, []presence.Record{{UserID: "ann", LastOnline: time.UnixMilli(1)}}),
		"UpdateGroup": second(store.UpdateGroup(ctx, 1, []string{"bob", "cid"}, func(_ *chat.Group, users []chat.Member) error {
			users[0].In, users[1].BannedBy = true, "ann"
			return nil
		})),
		"Users":         second(store.Users(ctx, []string{"ann", "bob"})),
		"Contacts":      second(store.Contacts(ctx, "ann", "", 10)),
		"ContactsWith":  second(store.ContactsWith(ctx, "ann", []string{"bob", "cid"})),
		"LoadPresence":  second(store.LoadPresence(ctx, []string{"ann", "bob"})),
		"Groups":        second(store.Groups(ctx, "bob")),
		"ShareGroup":    second(store.ShareGroup(ctx, "ann", []string{"bob", "cid"}, 200)),
		"Conversations": second(store.Conversations(ctx, "ann", 0, 10)),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := store.Members(ctx, 1, "", 10); err != nil {
		t.Error(err)
	}
	if _, _, err := store.Group(ctx, 1, "cid"); err != nil {
		t.Error(err)
	}
	for range 3 {
		removed += testkit.Must(store.Prune(ctx, time.Now().Add(time.Hour), 20))
	}
	if removed != 60 {
		t.Errorf("%d messages are removed", removed)
	}
}

func second[T any](_ T, err error) error { return err }

// A plan is kept with its connection. One that was made for empty tables must not read all messages later, so no statement reads a whole table.
func TestNoStatementReadsAWholeTable(t *testing.T) {
	server := pgtest.Shared(t)
	dsn := server.Schema(t)
	end := func(s *sqlstore.Store) { // the server counts what a connection has read when it ends
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the connections end", func() bool {
			return len(server.Run(t, dsn, `SELECT application_name FROM pg_stat_activity WHERE application_name = 'reads'`)) == 0
		})
	}
	reads := func() []string {
		t.Helper()
		return server.Run(t, dsn, `SELECT relname || ' ' || seq_scan FROM pg_stat_user_tables
			WHERE schemaname = current_schema() AND relname <> 'chat_version' ORDER BY relname`)
	}
	end(open(t, dsn+" application_name=reads")) // makes the tables, and their indexes of what they have
	before := reads()

	store := open(t, dsn+" application_name=reads")
	ctx, enough := context.WithCancel(t.Context())
	if err := load.Prepare(ctx, store); err != nil {
		t.Fatal(err)
	}
	var all []load.Answer
	load.Write(ctx, store, func(answers []load.Answer) {
		if all = append(all, answers...); len(all) >= 500 {
			enough()
		}
	}, func(err error) { t.Error(err) })
	load.Check(t, store, all)
	useAll(t, store)
	end(store)
	if after := reads(); len(before) == 0 || !slices.Equal(after, before) {
		t.Errorf("whole tables were read so many times before and after: %v, %v", before, after)
	}
}

//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/chat/sqlstore/postgres"
	"github.com/rollcall-go/rollcall/chat/storetest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

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

package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/servertest"
	"github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
	"github.com/rollcall-go/rollcall/chat/storetest"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) chat.Store {
		path := filepath.Join(t.TempDir(), "chat.db")
		return &reopener{open(t, path), path}
	})
}

// reopener is a store that the suite closes and opens again.
type reopener struct {
	*sqlstore.Store
	path string
}

func (r *reopener) Reopen(t *testing.T) chat.Store {
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, r.path)
}

// open opens a store until the end of the test.
func open(t testing.TB, path string) *sqlstore.Store {
	t.Helper()
	s, err := sqlite.Open(path)
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

func TestAnEarlierVersionIsBroughtUpToDate(t *testing.T) {
	servertest.Migrations(t, goose.DialectSQLite3, func(text string) string { return text }, func(t *testing.T) (*sql.DB, func() servertest.Store) {
		path := filepath.Join(t.TempDir(), "chat.db")
		db := testkit.Must(sql.Open("sqlite", path))
		t.Cleanup(func() { _ = db.Close() })
		return db, func() servertest.Store { return open(t, path) }
	})
}

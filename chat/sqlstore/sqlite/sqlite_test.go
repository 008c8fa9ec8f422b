package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/sqlite"
	"github.com/rollcall-go/rollcall/chat/storetest"
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

// Package sqlite keeps what package chat must not forget in a file, by SQLite.
//
//	store, err := sqlite.Open("chat.db")
//	defer store.Close()
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/rollcall-go/rollcall/chat/sqlstore"
)

// readers is how many connections read. They go on while one writes.
const readers = 4

// Open opens the store in a file, and makes the file if there is none; only the user of the process may read it. Each commit is on the
// disk when it returns (WAL, with synchronous FULL). SQLite keeps files beside it, named path-wal and path-shm. One process at a time should have
// the file open to write; others may read it.
func Open(path string) (*sqlstore.Store, error) { return open(path) }

// open is Open with further settings of the connection that writes.
func open(path string, settings ...string) (*sqlstore.Store, error) {
	if path == "" || strings.Contains(path, ":memory:") {
		return nil, errors.New("sqlite: a store needs a file; chat.NewMemory makes one without")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite gives the files beside it the same permissions
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	write, err := connect(path, 1, settings...)
	if err != nil {
		return nil, err
	}
	read, err := connect(path, readers, "_pragma=query_only(1)")
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return sqlstore.New(context.Background(), sqlstore.Config{Dialect: sqlstore.SQLite, Write: write, Read: read, Writers: 1, BadData: badData, Again: again})
}

// connect returns so many connections. They stay open.
func connect(path string, n int, further ...string) (*sql.DB, error) {
	settings := append([]string{
		"_txlock=immediate", "_pragma=busy_timeout(5000)", "_pragma=journal_mode(WAL)", "_pragma=synchronous(FULL)", "_pragma=cache_size(-16000)",
	}, further...)
	db, err := sql.Open("sqlite", uri(path)+"?"+strings.Join(settings, "&"))
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// uri is a file's name as SQLite's URIs have it.
func uri(path string) string {
	escaped := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(path))
	if filepath.VolumeName(path) != "" {
		escaped = "/" + strings.TrimPrefix(escaped, "/")
	}
	return "file:" + escaped
}

// again reports whether a transaction may succeed when it is repeated: where a new conversation has drawn the number of another one.
func again(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == lib.SQLITE_CONSTRAINT_PRIMARYKEY
}

// badData reports whether a statement has failed because of what it was to store.
func badData(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_CONSTRAINT, lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH:
		return true
	}
	return false
}

package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/load"
)

// What each of them measures is said in package load.

func BenchmarkAppend(b *testing.B)  { load.Benchmark(b, empty(b)) }
func BenchmarkServer(b *testing.B)  { load.BenchmarkServer(b, empty(b)) }
func BenchmarkHistory(b *testing.B) { load.BenchmarkHistory(b, empty(b)) }
func BenchmarkJoin(b *testing.B)    { load.BenchmarkJoin(b, empty(b)) }

func BenchmarkWatchers(b *testing.B) {
	path := filepath.Join(b.TempDir(), "chat.db")
	if err := open(b, path).Close(); err != nil { // it has made the tables
		b.Fatal(err)
	}
	load.FillContacts(b, "sqlite", path+"?_pragma=synchronous(0)&_pragma=cache_size(-1000000)", "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)")
	load.BenchmarkWatchers(b, open(b, path))
}

func empty(b *testing.B) *sqlstore.Store { return open(b, filepath.Join(b.TempDir(), "chat.db")) }

//go:build unix

package postgres_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/chat/sqlstore"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/load"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
)

// What each of them measures is said in package load. Commits are on the disk when they return.

func BenchmarkAppend(b *testing.B)  { load.Benchmark(b, empty(b)) }
func BenchmarkServer(b *testing.B)  { load.BenchmarkServer(b, empty(b)) }
func BenchmarkHistory(b *testing.B) { load.BenchmarkHistory(b, empty(b)) }
func BenchmarkJoin(b *testing.B)    { load.BenchmarkJoin(b, empty(b)) }

// The server has the memory of one of 8 GB. It does not take care of what it writes, since it is measured when it reads.
func BenchmarkWatchers(b *testing.B) {
	dsn := schema(b, "-c", "shared_buffers=2GB", "-c", "max_wal_size=8GB", "-c", "full_page_writes=off", "-c", "fsync=off")
	store := open(b, dsn)
	load.FillContacts(b, "pgx", dsn, "VACUUM ANALYZE")
	load.BenchmarkWatchers(b, store)
}

// empty has a server with the memory and the vacuum that PostgreSQL has by default, which other tests do without.
func empty(b *testing.B) *sqlstore.Store {
	return open(b, schema(b, "-c", "shared_buffers=128MB", "-c", "autovacuum=on"))
}

// schema returns the address of a schema of a server that was started for the benchmark, with further arguments.
func schema(b *testing.B, settings ...string) (dsn string) {
	pgtest.Shared(b) // or the benchmark is left out
	server, err := pgtest.New(settings...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Remove)
	return server.Schema(b)
}

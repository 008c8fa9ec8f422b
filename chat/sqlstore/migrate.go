package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"regexp"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// versions is the table in which goose notes what was applied. It is not goose's default, which the application may use in the same database.
const versions = "chat_version"

// locks are the first 32 bits of the store's advisory locks in PostgreSQL: "chat" in ASCII.
const locks = 0x63686174

// migrationLock is the advisory lock of PostgreSQL that one program at a time has while it brings a schema's tables up to date.
func migrationLock(ctx context.Context, db *sql.DB) (int64, error) {
	var schema string
	if err := db.QueryRowContext(ctx, "SELECT COALESCE(current_schema(), '')").Scan(&schema); err != nil {
		return 0, err
	}
	h := fnv.New32a()
	h.Write([]byte(schema))
	return locks<<32 | int64(h.Sum32()), nil
}

//go:embed migrations/*.sql
var embedded embed.FS

// migrate brings the tables up to date. In PostgreSQL one program at a time does, under a lock. In SQLite a second one fails when it comes to what
// the first has just done, and looks again.
func migrate(ctx context.Context, d Dialect, db *sql.DB) error {
	var err error
	for range 3 {
		if err = migrateOnce(ctx, d, db); err == nil || d == PostgreSQL || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("sqlstore: the tables cannot be brought up to date: %w", err)
	}
	return nil
}

func migrateOnce(ctx context.Context, d Dialect, db *sql.DB) error {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	options := []goose.ProviderOption{goose.WithTableName(versions), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger())}
	if d == PostgreSQL {
		id, err := migrationLock(ctx, db)
		if err != nil {
			return err
		}
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(id), lock.WithLockTimeout(1, 300))
		if err != nil {
			return err
		}
		dialect, files, options = goose.DialectPostgres, collated{files}, append(options, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

var text = regexp.MustCompile(`\bTEXT\b`)

// collated are files for PostgreSQL, which then compares texts by their bytes, as SQLite does. No upgrade of the system's collations can break
// such an index.
type collated struct{ fs.FS }

// Open implements fs.FS.
func (c collated) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return f, err
	}
	content, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return collatedFile{f, bytes.NewReader(text.ReplaceAll(content, []byte(`TEXT COLLATE "C"`)))}, nil
}

type collatedFile struct {
	fs.File
	content io.Reader
}

// Read implements fs.File.
func (f collatedFile) Read(b []byte) (int, error) { return f.content.Read(b) }

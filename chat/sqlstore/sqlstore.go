package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"github.com/rollcall-go/rollcall/chat"
)

// Store is a chat.Store in a database. Packages sqlite and postgres open one. Any goroutine may call its methods.
type Store struct {
	cfg     Config
	closed  func() error
	writing chan struct{}            // SQLite: has an entry while a transaction writes
	writer  *sql.Conn                // SQLite: the connection that writes
	written map[*statement]*sql.Stmt // SQLite: what was prepared there; for the transaction that writes

	mu   sync.Mutex
	read map[*statement]*sql.Stmt // SQLite: what was prepared on cfg.Read
}

var _ chat.Store = (*Store)(nil)

// Config is what a package that knows a driver gives New.
type Config struct {
	// Dialect is the kind of database.
	Dialect Dialect
	// Write has the connections that write; for SQLite one. Read has those that read.
	Write, Read *sql.DB
	// Writers is the store's Writers.
	Writers int
	// BadData reports whether a statement has failed because of what it was to store.
	BadData func(error) bool
	// Ask asks questions, in their order, of which all see the database as it was at one moment: with a connection of read. For PostgreSQL alone.
	Ask func(ctx context.Context, read *sql.DB, questions []Question) error
	// Again reports whether a transaction has failed in such a way that it may succeed when it is repeated at once. nil means never.
	Again func(error) bool
}

// Question is a statement that reads, with its arguments. Each is called for every row that it finds.
type Question struct {
	Text string
	Args []any
	Each func(scan func(to ...any) error) error
}

// New returns the store on a database, after it has brought the tables up to date. When it returns an error it has closed Write and Read.
func New(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Again == nil {
		cfg.Again = func(error) bool { return false }
	}
	s := &Store{cfg: cfg, writing: make(chan struct{}, 1), written: make(map[*statement]*sql.Stmt), read: make(map[*statement]*sql.Stmt)}
	s.closed = sync.OnceValue(s.close)
	err := migrate(ctx, cfg.Dialect, cfg.Write)
	if err == nil && cfg.Dialect == SQLite {
		s.writer, err = cfg.Write.Conn(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close closes the connections. Call it when no other method runs any more. A second call returns what the first has.
func (s *Store) Close() error { return s.closed() }

func (s *Store) close() error {
	var errs []error
	for _, prepared := range []map[*statement]*sql.Stmt{s.written, s.read} {
		for _, st := range prepared {
			errs = append(errs, st.Close())
		}
		clear(prepared)
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	return errors.Join(append(errs, s.cfg.Read.Close(), s.cfg.Write.Close())...)
}

// Writers implements chat.Store.
func (s *Store) Writers() int { return s.cfg.Writers }

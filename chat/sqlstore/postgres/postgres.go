// Package postgres keeps what package chat must not forget in a PostgreSQL database. Several servers may have one.
//
//	store, err := postgres.Open(ctx, "postgres://rollcall@db/chat")
//	defer store.Close()
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/rollcall-go/rollcall/chat/sqlstore"
)

const (
	// Calls of Append at a time: one commits while another one prepares its batch. More make the batches smaller, and the messages dearer.
	writers = 2
	// Other changes run beside those of the writers.
	writing = writers + 4
	reading = 8
)

// planning has the server look rows up by an index, which each statement has. Left to itself it chooses by the size of a table, and keeps the choice
// with the connection: one that it made for empty tables reads all messages for each batch later, until the table has been analyzed. The
// compiler for long queries is off because a scan that is not wanted counts as a long one.
var planning = map[string]string{"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}

// Open opens the store in a database, which dsn names as a URL or as keywords and values ("host=db dbname=chat"; what is missing comes from the
// environment variables of libpq, such as PGHOST). The tables are made in the first schema of the search path, which should be the store's
// own (search_path=chat), as their names are plain: account, message. ctx ends the wait for the server, and for other programs that bring the
// tables up to date. The store has at most 14 connections. PostgreSQL 12 or later will do; a commit is as safe as the server's setting
// synchronous_commit makes it. Connections begin with four settings of the planner (enable_seqscan, enable_hashjoin, enable_mergejoin and jit are
// off), which a pooler between must let through or ignore.
func Open(ctx context.Context, dsn string) (*sqlstore.Store, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	for name, value := range planning {
		cfg.RuntimeParams[name] = value
	}
	return sqlstore.New(ctx, sqlstore.Config{
		Dialect: sqlstore.PostgreSQL, Write: connect(cfg, writing), Read: connect(cfg, reading), Writers: writers, BadData: badData, Ask: ask, Again: again,
	})
}

func connect(cfg *pgx.ConnConfig, n int) *sql.DB {
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db
}

// code is the server's SQLSTATE; empty where the error is another.
func code(err error) string {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

// badData reports whether a statement has failed because of what it was to store.
func badData(err error) bool {
	c := code(err)
	return len(c) == 5 && (c[:2] == "22" || c[:2] == "23")
}

// again reports whether a transaction may succeed when it is repeated: after a deadlock, a serialization failure, or where another transaction
// has used a number or an ID meanwhile.
func again(err error) bool {
	switch code(err) {
	case "40P01", "40001", "23505":
		return true
	}
	return false
}

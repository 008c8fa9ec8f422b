package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/rollcall-go/rollcall/chat/sqlstore"
)

// ask sends questions to the server at once, with the begin and the end of the transaction that gives them one moment: a single one needs none. So
// the answers take the time of one way there and back.
func ask(ctx context.Context, read *sql.DB, questions []sqlstore.Question) (err error) {
	for range reading + 1 { // each of the connections may have ended, unused: when the server has started again
		if err = askOnce(ctx, read, questions); !errors.Is(err, driver.ErrBadConn) {
			return err
		}
	}
	return err
}

func askOnce(ctx context.Context, read *sql.DB, questions []sqlstore.Question) error {
	conn, err := read.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // keeps it for the next one; package stdlib does not keep one that has ended, or is left in a transaction by an error
	return conn.Raw(func(c any) error {
		err := send(ctx, c.(*stdlib.Conn).Conn(), questions)
		if err != nil && pgconn.SafeToRetry(err) {
			return driver.ErrBadConn
		}
		return err
	})
}

func send(ctx context.Context, conn *pgx.Conn, questions []sqlstore.Question) error {
	var b pgx.Batch
	if len(questions) > 1 {
		b.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	}
	for _, q := range questions {
		b.Queue(q.Text, q.Args...).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				if err := q.Each(rows.Scan); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	}
	if len(questions) > 1 {
		b.Queue("COMMIT")
	}
	return conn.SendBatch(ctx, &b).Close()
}

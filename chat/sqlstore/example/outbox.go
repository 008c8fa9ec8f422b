package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rollcall-go/rollcall/chat"
)

//go:embed outbox.sql
var outboxTable string

// outbox reads the table user_events, in which an application announces its users: for each row the user is made, and then the row is deleted. So
// each row is handled at least once, which Service.CreateUser bears (rule P40). Several servers may read one table.
type outbox struct {
	dsn    string
	create func(ctx context.Context, u chat.NewUser) (created bool, err error) // Service.CreateUser
	poll   time.Duration                                                       // how often the table is read without a notification, which may be lost
	retry  time.Duration                                                       // when a row is tried again after an error
}

// setUpTimeout is how long a user may take.
const setUpTimeout = 30 * time.Second

// run reads until ctx ends. When the database is away it tries again.
func (o *outbox) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := o.read(ctx); ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "user_events:", err)
			pause(ctx, o.poll)
		}
	}
}

// read reads over one connection until ctx ends or the connection fails.
func (o *outbox) read(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, o.dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// It listens before it reads, so that rows that come between the two are not missed.
	for _, statement := range []string{outboxTable, "LISTEN user_events"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	for {
		for more := true; more; {
			if more, err = o.next(ctx, conn); err != nil {
				return err
			}
		}
		if err := await(ctx, conn, o.poll); err != nil {
			return err
		}
	}
}

// next handles the first row that is due and that no other server handles. It reports whether there was one.
func (o *outbox) next(ctx context.Context, conn *pgx.Conn) (more bool, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer tx.Rollback(ctx) // does nothing after Commit
	var id int64
	var user string
	err = tx.QueryRow(ctx, "SELECT id, user_id FROM user_events WHERE due <= now() ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED").Scan(&id, &user)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	creating, cancel := context.WithTimeout(ctx, setUpTimeout)
	_, failed := o.create(creating, chat.NewUser{UserID: user})
	cancel()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case failed != nil: // the other rows go on
		fmt.Fprintf(os.Stderr, "user_events: %s: %v\n", user, failed)
		_, err = tx.Exec(ctx, "UPDATE user_events SET due = clock_timestamp() + $2 WHERE id = $1", id, o.retry)
	default:
		_, err = tx.Exec(ctx, "DELETE FROM user_events WHERE id = $1", id)
	}
	return true, errors.Join(err, tx.Commit(ctx))
}

// await waits for a notification, but not longer than poll.
func await(ctx context.Context, conn *pgx.Conn, poll time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, poll)
	defer cancel()
	_, err := conn.WaitForNotification(waiting)
	if waiting.Err() != nil {
		return ctx.Err()
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

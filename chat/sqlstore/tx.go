package sqlstore

import (
	"context"
	"database/sql"
	"errors"
)

// repeats is how often a transaction that may succeed when it is repeated is repeated.
const repeats = 3

// tx is a transaction.
type tx struct {
	s     *Store
	ctx   context.Context
	query func(st *statement, args []any) (*sql.Rows, error)
	exec  func(st *statement, args []any) (sql.Result, error)
}

// refusal is the error of a function of the caller's, which is returned unchanged and ends the transaction.
type refusal struct{ error }

// write runs f in a transaction that writes, also several times; what f has returned an error for is not stored.
func (s *Store) write(ctx context.Context, f func(t *tx) error) (err error) {
	for range 1 + repeats {
		if s.cfg.Dialect == SQLite {
			err = s.writeSQLite(ctx, f)
		} else {
			err = s.writePostgres(ctx, f)
		}
		var no refusal
		if errors.As(err, &no) {
			return no.error
		}
		if err == nil || ctx.Err() != nil || !s.cfg.Again(err) {
			return err
		}
	}
	return err
}

// writePostgres runs f once, in READ COMMITTED: what f reads after it has locked a row is what the row's last holder has left.
func (s *Store) writePostgres(ctx context.Context, f func(t *tx) error) error {
	sqlTx, err := s.cfg.Write.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer sqlTx.Rollback() // without effect after Commit
	if err := f(s.postgresTx(ctx, sqlTx)); err != nil {
		return err
	}
	return sqlTx.Commit()
}

func (s *Store) postgresTx(ctx context.Context, on *sql.Tx) *tx {
	return &tx{
		s: s, ctx: ctx,
		query: func(st *statement, args []any) (*sql.Rows, error) {
			return on.QueryContext(ctx, st.text[PostgreSQL], args...)
		},
		exec: func(st *statement, args []any) (sql.Result, error) {
			return on.ExecContext(ctx, st.text[PostgreSQL], args...)
		},
	}
}

// writeSQLite runs f once, on the connection that writes. ctx ends the wait for that connection. After that only the disk is waited for, so
// that statements do without a context, whose end each of them would have to watch for.
func (s *Store) writeSQLite(ctx context.Context, f func(t *tx) error) (err error) {
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.writing }()
	if err := ctx.Err(); err != nil {
		return err
	}
	free := context.WithoutCancel(ctx)
	if _, err := s.writer.ExecContext(free, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done { // also where f has panicked. SQLite itself has rolled back after some errors, and this is one more, which says nothing
			_, _ = s.writer.ExecContext(free, "ROLLBACK")
		}
	}()
	prepare := func(st *statement) (*sql.Stmt, error) {
		p := s.written[st]
		if p != nil {
			return p, nil
		}
		p, err := s.writer.PrepareContext(free, st.text[SQLite])
		if err == nil {
			s.written[st] = p
		}
		return p, err
	}
	err = f(&tx{
		s: s, ctx: free,
		query: func(st *statement, args []any) (*sql.Rows, error) {
			p, err := prepare(st)
			if err != nil {
				return nil, err
			}
			return p.QueryContext(free, args...)
		},
		exec: func(st *statement, args []any) (sql.Result, error) {
			p, err := prepare(st)
			if err != nil {
				return nil, err
			}
			return p.ExecContext(free, args...)
		},
	})
	if err == nil {
		err = ctx.Err() // what is not stored by now will not be
	}
	if err == nil {
		_, err = s.writer.ExecContext(free, "COMMIT")
	}
	done = err == nil
	return err
}

// look asks questions, of which all see the database as it was at one moment.
func (s *Store) look(ctx context.Context, questions ...question) error {
	if s.cfg.Dialect == SQLite {
		return s.lookSQLite(ctx, questions)
	}
	var all []Question
	for _, q := range questions {
		_ = q.keys.each(PostgreSQL, q.args, func(args []any) error { // without an error of its own
			all = append(all, Question{Text: q.st.text[PostgreSQL], Args: args, Each: q.untilEnough()})
			return nil
		})
	}
	if len(all) == 0 {
		return nil
	}
	return s.cfg.Ask(ctx, s.cfg.Read, all)
}

func (s *Store) lookSQLite(ctx context.Context, questions []question) error {
	t := &tx{s: s, ctx: ctx, query: func(st *statement, args []any) (*sql.Rows, error) {
		p, err := s.reader(ctx, st)
		if err != nil {
			return nil, err
		}
		return p.QueryContext(ctx, args...)
	}}
	if len(questions) > 1 || questions[0].keys.n > 1 { // one statement sees one moment
		sqlTx, err := s.cfg.Read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		defer sqlTx.Rollback() // there is nothing to commit
		t.query = func(st *statement, args []any) (*sql.Rows, error) {
			p, err := s.reader(ctx, st)
			if err != nil {
				return nil, err
			}
			return sqlTx.StmtContext(ctx, p).QueryContext(ctx, args...)
		}
	}
	for _, q := range questions {
		if err := t.ask(q); err != nil {
			return err
		}
	}
	return nil
}

// reader returns the statement as it was prepared for the connections that read.
func (s *Store) reader(ctx context.Context, st *statement) (*sql.Stmt, error) {
	s.mu.Lock()
	p := s.read[st]
	s.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := s.cfg.Read.PrepareContext(ctx, st.text[SQLite])
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.read[st]; before != nil { // by another goroutine, meanwhile
		return before, p.Close()
	}
	s.read[st] = p
	return p, nil
}

// scan is how a row is read.
type scan = func(to ...any) error

// question is a statement that reads, with its arguments, and what is called for every row that it finds. Those of keys come before args.
type question struct {
	st   *statement
	keys keys // for a statement with KEYS, which finds the rows in no order
	args []any
	each func(scan) error
}

// errEnough is what a question's each returns when it wants no further rows.
var errEnough = errors.New("sqlstore: no further rows are wanted")

// untilEnough is each for rows that come also after enough.
func (q question) untilEnough() func(scan) error {
	over := false
	return func(row scan) error {
		if over {
			return nil
		}
		err := q.each(row)
		if err == errEnough {
			over, err = true, nil
		}
		return err
	}
}

// ask asks a question in the transaction.
func (t *tx) ask(q question) error {
	return q.keys.each(t.s.cfg.Dialect, q.args, func(args []any) error {
		rows, err := t.query(q.st, args)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := q.each(rows.Scan); err == errEnough {
				return nil
			} else if err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// rows calls each for every row that a statement without KEYS finds.
func (t *tx) rows(st *statement, args []any, each func(scan) error) error {
	return t.ask(question{st: st, args: args, each: each})
}

// run runs a statement that finds nothing, and returns how many rows it has changed.
func (t *tx) run(st *statement, args ...any) (int64, error) {
	r, err := t.exec(st, args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

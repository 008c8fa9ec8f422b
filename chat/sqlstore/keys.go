package sqlstore

// keys are the rows of arguments of a statement with KEYS: its columns.
type keys struct {
	columns []column
	n       int
}

// column is a column of keys.
type column interface {
	all() any       // an array of PostgreSQL's
	at(row int) any // an argument of SQLite's
}

type slice[T any] []T

func (s *slice[T]) all() any     { return []T(*s) }
func (s *slice[T]) at(i int) any { return (*s)[i] }

type (
	texts  = slice[string]
	ints   = slice[int64]
	bools  = slice[bool]
	blobs  = slice[[]byte]
	shorts = slice[int16]
)

// keysOf are columns of the same length.
func keysOf[T any](first *slice[T], others ...column) keys {
	return keys{columns: append([]column{first}, others...), n: len(*first)}
}

// each calls f with the arguments of each statement that is to run: one in PostgreSQL, one for each row in SQLite, none for no rows. Other
// arguments follow those of the columns. Where there are no columns it is one statement.
func (k keys) each(d Dialect, others []any, f func(args []any) error) error {
	if k.columns == nil {
		return f(others)
	}
	if k.n == 0 {
		return nil
	}
	args := make([]any, len(k.columns), len(k.columns)+len(others))
	args = append(args, others...)
	if d == PostgreSQL {
		for i, c := range k.columns {
			args[i] = c.all()
		}
		return f(args)
	}
	for row := range k.n {
		for i, c := range k.columns {
			args[i] = c.at(row)
		}
		if err := f(args); err != nil {
			return err
		}
	}
	return nil
}

// find calls each for every row that the statement finds for the keys, in no order.
func (t *tx) find(st *statement, k keys, each func(scan) error) error {
	return t.ask(question{st: st, keys: k, each: each})
}

// put runs a statement that finds nothing for the keys, and returns how many rows it has changed.
func (t *tx) put(st *statement, k keys, others ...any) (changed int64, err error) {
	err = k.each(t.s.cfg.Dialect, others, func(args []any) error {
		n, err := t.run(st, args...)
		changed += n
		return err
	})
	return changed, err
}

package sqlstore

import (
	"regexp"
	"strconv"
	"strings"
)

// Dialect is a kind of database.
type Dialect uint8

const (
	// SQLite has one writer, and a statement for each row.
	SQLite Dialect = iota
	// PostgreSQL has a statement for all rows of a batch, and locks rows.
	PostgreSQL
)

// statement is an SQL statement in both dialects.
type statement struct{ text [2]string }

var (
	keyed   = regexp.MustCompile(`KEYS\(([^)]*)\) (\w+)`)
	locking = regexp.MustCompile(`\s+FOR (UPDATE|SHARE)( OF \w+)?`)
	numbers = regexp.MustCompile(`\$(\d+)`)
)

// stmt makes a statement of PostgreSQL's text, which may have rows of arguments: KEYS(conv bigint, seq bigint) k stands for rows k with these
// columns. They are $1, $2 and so on, and other arguments follow. PostgreSQL gets them as arrays; in SQLite the statement runs for each row. SQLite
// does without FOR UPDATE and FOR SHARE, since it has one writer. A plus before its arguments keeps SQLite from looking at their values for a plan: it
// would make the plan of a statement with LIMIT anew whenever the statement runs.
func stmt(text string) *statement {
	postgres := keyed.ReplaceAllStringFunc(text, func(keys string) string {
		names, types, alias := columns(keys)
		for i, t := range types {
			types[i] = "$" + strconv.Itoa(i+1) + "::" + t + "[]"
		}
		return "unnest(" + strings.Join(types, ", ") + ") AS " + alias + "(" + strings.Join(names, ", ") + ")"
	})
	sqlite := keyed.ReplaceAllStringFunc(text, func(keys string) string {
		names, _, alias := columns(keys)
		for i, n := range names {
			names[i] = "$" + strconv.Itoa(i+1) + " AS " + n
		}
		return "(SELECT " + strings.Join(names, ", ") + ") AS " + alias
	})
	sqlite = numbers.ReplaceAllString(locking.ReplaceAllString(sqlite, ""), "+?$1")
	return &statement{[2]string{SQLite: sqlite, PostgreSQL: postgres}}
}

// columns takes the text of KEYS apart.
func columns(keys string) (names, types []string, alias string) {
	m := keyed.FindStringSubmatch(keys)
	for _, c := range strings.Split(m[1], ", ") {
		name, typ, _ := strings.Cut(c, " ")
		names, types = append(names, name), append(types, typ)
	}
	return names, types, m[2]
}

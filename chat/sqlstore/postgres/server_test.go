//go:build unix

package postgres_test

import (
	"database/sql"
	"regexp"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/servertest"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

func TestServer(t *testing.T) {
	server := pgtest.Shared(t)
	servertest.Run(t, func(t *testing.T) servertest.Store { return open(t, server.Lend(t)) })
}

func TestADatabaseThatIsSetBackIsReadFromTheStart(t *testing.T) {
	d := pgtest.Shared(t).Database(t)
	servertest.SetBack(t, func(t *testing.T) servertest.Store { return open(t, d.DSN()) }, d.Save, d.SetBack)
}

func TestAnEarlierVersionIsBroughtUpToDate(t *testing.T) {
	server := pgtest.Shared(t)
	text := regexp.MustCompile(`\bTEXT\b`)
	collated := func(file string) string { return text.ReplaceAllString(file, `TEXT COLLATE "C"`) }
	servertest.Migrations(t, goose.DialectPostgres, collated, func(t *testing.T) (*sql.DB, func() servertest.Store) {
		dsn := server.Schema(t)
		db := testkit.Must(sql.Open("pgx", dsn))
		t.Cleanup(func() { _ = db.Close() })
		return db, func() servertest.Store { return open(t, dsn) }
	})
}

//go:build unix

package postgres_test

import (
	"testing"

	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/pgtest"
	"github.com/rollcall-go/rollcall/chat/sqlstore/internal/servertest"
)

func TestServer(t *testing.T) {
	server := pgtest.Shared(t)
	servertest.Run(t, func(t *testing.T) servertest.Store { return open(t, server.Lend(t)) })
}

func TestADatabaseThatIsSetBackIsReadFromTheStart(t *testing.T) {
	d := pgtest.Shared(t).Database(t)
	servertest.SetBack(t, func(t *testing.T) servertest.Store { return open(t, d.DSN()) }, d.Save, d.SetBack)
}

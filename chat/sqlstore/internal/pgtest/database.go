//go:build unix

package pgtest

import (
	"strconv"
	"testing"
)

// Database is a database of a server's that can be set back. It ends with its test.
type Database struct {
	t      testing.TB
	server *Server
	name   string
}

// Database makes a database.
func (s *Server) Database(t testing.TB) *Database {
	t.Helper()
	d := &Database{t: t, server: s, name: "database" + strconv.Itoa(int(s.made.Add(1)))}
	d.run("CREATE DATABASE " + d.name)
	t.Cleanup(func() {
		d.run("DROP DATABASE IF EXISTS " + d.copied())
		d.run("DROP DATABASE " + d.name)
	})
	return d
}

// DSN is the address of a store in the database.
func (d *Database) DSN() string { return "host=" + d.server.folder + " user=postgres dbname=" + d.name }

// Save makes the copy that SetBack goes back to. No connection to the database may be open; the server waits some seconds for the end of those that
// were closed.
func (d *Database) Save() { d.run("CREATE DATABASE " + d.copied() + " TEMPLATE " + d.name) }

// SetBack gives the database what the copy has. No connection to it may be open.
func (d *Database) SetBack() {
	d.run("DROP DATABASE " + d.name)
	d.run("CREATE DATABASE " + d.name + " TEMPLATE " + d.copied())
}

func (d *Database) copied() string { return d.name + "_copy" }

func (d *Database) run(statement string) {
	d.t.Helper()
	d.server.Run(d.t, d.server.dsn("public"), statement)
}

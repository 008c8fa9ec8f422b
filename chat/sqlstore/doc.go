// Package sqlstore keeps what package chat must not forget in an SQL database. Packages sqlite and postgres open a store:
//
//	store, err := sqlite.Open("chat.db") // or postgres.Open(ctx, "postgres://...")
//
// All tables have the same columns in both databases, so that an operator can read them with any tool. A store that is opened brings the tables of
// an earlier version up to date; several programs may do so at once.
//
// # How it works
//
// Each statement is written once, for both databases (dialect.go says what differs). In PostgreSQL a statement has all rows of a batch, as arrays;
// in SQLite, where a statement costs no round trip, it is prepared once and runs for each row.
//
// In PostgreSQL a change locks the conversations that it is about, by their rows in the order of their numbers, and then the accounts that messages
// depend on, shared. A change of an account takes no other lock. SQLite has one connection that writes.
package sqlstore

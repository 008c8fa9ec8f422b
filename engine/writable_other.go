//go:build !linux

package engine

// writability is Linux's: elsewhere loops look for themselves whether a socket can be written to.
type writability struct{}

func newWritability() *writability { return nil }

func (*writability) watch(int, uint64) bool { return false }
func (*writability) run(*Engine)            {}
func (*writability) close()                 {}

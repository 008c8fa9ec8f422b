//go:build !linux

package engine

// writability exists on Linux only. On other systems loops look from time to time whether a socket can be written to.
type writability struct{}

func newWritability() *writability { return nil }

func (*writability) watch(int, uint64) bool { return false }
func (*writability) run(*Engine)            {}
func (*writability) close()                 {}

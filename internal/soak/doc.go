// Package soak has only tests: they put whole servers under hard conditions, and check what is left afterwards. The server is
// a process of its own, so that a test can limit its descriptors, stop and kill it, and measure its memory.
//
// go test ./... runs short versions of the tests, and `make soak` runs them at full size; docs/reliability.md has the
// figures.
package soak

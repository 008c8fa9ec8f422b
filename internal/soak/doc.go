// Package soak has no code of its own: its tests treat whole servers badly, and count what is left afterwards. The server
// is a process of its own, so that it can be starved of descriptors, stopped and killed, and so that its memory is its own.
//
// In go test ./... every test is a short one. `make soak` runs them at full size; docs/reliability.md has the figures.
package soak

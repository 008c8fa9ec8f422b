//go:build race

package testkit

// Raced reports whether the race detector runs. With it, bytes cost ten times as much.
const Raced = true

//go:build !race

package testkit

// Raced reports whether the race detector runs, with which a test that has no goroutines shows no more and takes ten times as long.
const Raced = false

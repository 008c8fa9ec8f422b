package testkit

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what must come. It is long, because the tests of several packages run at once.
const Patience = time.Minute

// Eventually waits until ok returns true, and ends the test where it does not within Patience; what says what was waited for.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	EventuallyIn(t, Patience, what, ok)
}

// EventuallyIn is Eventually for a test with a patience of its own.
func EventuallyIn(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	if !ComesTrue(patience, ok) {
		t.Fatalf("not in time: %s", what)
	}
}

// ComesTrue waits until ok returns true, and reports whether it does within patience: for a test that has more to say where it does not. It asks
// each millisecond, and after a quarter of a second less often, up to each 20 ms: in a bubble a test may wait for minutes, and what it asks may be
// a logon.
func ComesTrue(patience time.Duration, ok func() bool) bool {
	for began := time.Now(); !ok(); {
		waited := time.Since(began)
		if waited > patience {
			return false
		}
		time.Sleep(min(max(waited/256, time.Millisecond), 20*time.Millisecond))
	}
	return true
}

// BeSlow makes a handler or a peer of a test slow. Call it there alone: what has to wait for it, and does not, comes first. A test
// that waits for something itself uses Eventually.
func BeSlow() { time.Sleep(10 * time.Millisecond) }

// Receive returns what comes from ch, and ends the test where nothing comes within Patience; what says what was waited for.
func Receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(Patience):
		t.Fatalf("not in time: %s", what)
		panic("unreachable")
	}
}

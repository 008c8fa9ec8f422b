package sqlstore

import (
	"math/rand/v2"
	"time"
)

// epoch is the time that numbers of conversations begin with. They have 41 bits of milliseconds, which last until 2095, and 22 random ones.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newNumber draws a number. Tests draw others.
var newNumber = func() int64 {
	return time.Since(epoch).Milliseconds()<<22&(1<<63-1) | int64(rand.Uint32N(1<<22))
}

// millis is a time in the database.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// timeOf is a time of the database.
func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

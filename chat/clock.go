package chat

import (
	"math"
	"strconv"
	"time"
)

// The times of messages, mutes and requests are the system clock's: other processes and later ones read them.

// now is the time in milliseconds, as stores keep it.
func now() time.Time { return time.Now().Truncate(time.Millisecond).UTC() }

// epoch is when the IDs of groups begin.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// unixMS writes a time as fields have it, in milliseconds since 1970.
func unixMS(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// timeOf reads milliseconds since 1970; 0 is the zero Time.
func timeOf(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(min(ms, math.MaxInt64/2))).UTC()
}

// inMilliseconds cuts what stores do not keep.
func inMilliseconds(t time.Time) time.Time { return t.Truncate(time.Millisecond).UTC() }

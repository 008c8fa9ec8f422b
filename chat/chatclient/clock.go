package chatclient

import "time"

// timeOf returns a time of the server's, in milliseconds since 1970; the zero Time for 0.
func timeOf(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

// millisecondsOf returns a time as the server reads it; 0 for the zero Time.
func millisecondsOf(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixMilli(), 1))
}

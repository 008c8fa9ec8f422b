package cluster

import (
	"time"

	"golang.org/x/sys/unix"
)

// clockNow returns the time of a clock that cannot be set and goes on while the machine sleeps.
func clockNow() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return time.Since(began)
	}
	return time.Duration(t.Nano())
}

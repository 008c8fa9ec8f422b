package clock

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// bootOffsets relate three clocks of Linux to each other: two that are cheap to read, because that takes no system call, and one that also
// advances while the machine sleeps.
type bootOffsets struct {
	wall time.Duration // CLOCK_REALTIME minus Nanoseconds
	boot time.Duration // CLOCK_BOOTTIME minus Nanoseconds
}

var offsets atomic.Pointer[bootOffsets]

// offsetSlack is by how much wall may differ from what it was: two readings of clocks are never of one moment.
const offsetSlack = time.Millisecond

// SinceBoot returns the time of CLOCK_BOOTTIME, within 2 ms. That clock cannot be set, and goes on while the machine sleeps.
//
// A system call for each reading would take 230 ns instead of 45. So SinceBoot reads the monotonic clock, which stands still while the
// machine sleeps, and adds the difference that it knows. The kernel adds a sleep to CLOCK_BOOTTIME and to CLOCK_REALTIME together, and
// nothing else changes CLOCK_BOOTTIME's difference to the monotonic clock. So while that of CLOCK_REALTIME is the same, that of
// CLOCK_BOOTTIME is the same too; otherwise the machine has slept, or a clock was set, and SinceBoot asks the kernel.
func SinceBoot() time.Duration {
	now := time.Now()
	mono := now.Sub(began)
	if o := offsets.Load(); o != nil {
		if d := time.Duration(now.UnixNano()) - mono - o.wall; d <= offsetSlack && d >= -offsetSlack {
			return mono + o.boot
		}
	}
	return askBoot()
}

// askBoot asks the kernel, and notes the differences if the three readings are of about one moment.
func askBoot() time.Duration {
	before := time.Now()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return time.Since(began) // such a kernel is older than those that Go runs on
	}
	boot := time.Duration(t.Nano())
	after := time.Now()
	wall := time.Duration(before.UnixNano()) - before.Sub(began)
	again := time.Duration(after.UnixNano()) - after.Sub(began)
	if after.Sub(before) <= offsetSlack && max(wall-again, again-wall) <= offsetSlack/2 {
		offsets.Store(&bootOffsets{wall: wall, boot: boot - before.Sub(began)})
	}
	return boot
}

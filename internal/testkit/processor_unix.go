//go:build unix

package testkit

import (
	"syscall"
	"time"
)

// ProcessorTime returns what this process has used, the system's time for it included.
func ProcessorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

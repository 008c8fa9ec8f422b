//go:build !linux

package clock

import "time"

// SinceBoot returns the time of a clock that cannot be set.
func SinceBoot() time.Duration { return time.Since(began) }

//go:build !linux

package cluster

import "time"

// clockNow returns the time of a clock that cannot be set.
func clockNow() time.Duration { return time.Since(began) }

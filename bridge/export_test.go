package bridge

import "time"

// SetManualCloseGrace sets how long a connection may outlive its session with ManualClose, while no bridge runs.
func SetManualCloseGrace(d time.Duration) (restore func()) {
	old := manualCloseGrace
	manualCloseGrace = d
	return func() { manualCloseGrace = old }
}

package bridge

import (
	"time"

	"github.com/rollcall-go/rollcall/engine"
)

// SetManualCloseGrace sets how long a connection may outlive its session with ManualClose, while no bridge runs.
func SetManualCloseGrace(d time.Duration) (restore func()) {
	old := manualCloseGrace
	manualCloseGrace = d
	return func() { manualCloseGrace = old }
}

// Expire has the token of a connection's session expire now.
func (b *Bridge) Expire(c *engine.Conn) {
	x := b.expiries.of(c)
	x.mu.Lock()
	x.at = time.Now()
	x.mu.Unlock()
	x.passed()
}

// Expiring returns how many sessions have an expiry.
func (b *Bridge) Expiring() int {
	b.expiries.mu.Lock()
	defer b.expiries.mu.Unlock()
	return len(b.expiries.byConn)
}

package bridge

import (
	"sync/atomic"
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

// HoldRelogons has the clock of users whose logons push each other out stand still, and a logon of theirs wait no longer than
// patience, before the engine runs. It returns what turns the clock.
func (b *Bridge) HoldRelogons(patience time.Duration) (turn func(time.Duration)) {
	var now atomic.Int64
	b.relogons.now, b.relogons.patience = now.Load, patience
	return func(d time.Duration) { now.Add(int64(d)) }
}

// Relogons returns how many users are remembered whose logons have pushed each other out.
func (b *Bridge) Relogons() int {
	b.relogons.mu.Lock()
	defer b.relogons.mu.Unlock()
	return len(b.relogons.users)
}

// Groups returns how many groups, and how many members of any, are kept.
func (b *Bridge) Groups() (groups, members int) {
	s := b.groups.Load()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		groups += sh.groups.Len()
		members += sh.members.Len()
		sh.mu.Unlock()
	}
	return groups, members
}

// Sweep has the groups that have not been sent to since the last sweep give up their lists of connections. It returns how many
// groups keep theirs.
func (b *Bridge) Sweep() int {
	a := &b.groups.Load().active
	a.sweep()
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.groups)
}

// Reach is reach.
func (b *Bridge) Reach(userID string, send func(*engine.Conn) error) { b.reach(userID, send) }

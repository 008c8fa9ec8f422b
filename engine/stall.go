package engine

import "time"

// stall watches whether the peer takes the bytes that the socket holds. It is under Conn.mu.
type stall struct {
	since     time.Time // when the peer was last seen to take something
	asked     time.Time // when the kernel was last asked
	times     int       // how often it was asked since the peer last took something
	kernelHas int
	slow      bool // the peer has taken nothing for Timeouts.Write
}

// stallLooks is how often the kernel is asked within Timeouts.Write. At least half of these looks must have happened
// before a peer counts as slow, because time in which the process did not run does not count.
const stallLooks = 16

// stalled reports whether the peer has just been found to have taken nothing for Timeouts.Write. It runs on the loop; c.mu is
// held on entry.
func (c *Conn) stalled(b *backlog) bool {
	timeout := c.engine.cfg.Timeouts.Write
	if timeout == never || c.state.Load() >= stateHalfClosed {
		return false
	}
	s, now := &b.stall, time.Now()
	if now.Sub(s.asked) < timeout/stallLooks {
		return false
	}
	s.asked = now
	s.times++
	if k := c.sock().unacknowledged(); k != s.kernelHas {
		*s = stall{since: now, asked: now, kernelHas: k}
		return false
	}
	if s.slow || s.times < stallLooks/2 || now.Sub(s.since) < timeout {
		return false
	}
	s.slow = true
	return true
}

// takesNothing reports whether the peer has taken nothing for Timeouts.Write. c.mu is held on entry.
func (c *Conn) takesNothing() bool {
	return c.unsent > 0 && c.lazy != nil && c.lazy.backlog != nil && c.lazy.backlog.stall.slow
}

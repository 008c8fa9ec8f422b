package engine

import (
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/protocol"
)

// usage has a connection's share of the limits that few engines set.
type usage struct {
	// Only the loop uses these.
	messageRate, byteRate bucket
	counted               int   // bytes that were counted when they came and are not delivered yet
	waitsSince            int64 // when the first message came; reset when the bytes behind it are counted; see clock.Nanoseconds

	inFlight map[uint32]int // unanswered requests by ID; under Conn.mu
	requests int            // their number
	apart    int            // bytes of messages that Async has in hand; under Conn.mu
}

// bucket is a token bucket: it fills at a rate up to a burst.
type bucket struct {
	tokens float64
	at     int64 // the time for which tokens is right; 0: never used, and full; see clock.Nanoseconds
}

// take takes n tokens and reports whether there were enough. unread is the time in which the server did not read. The
// messages of that time come at once, so the burst is larger by that much.
func (b *bucket) take(now int64, n, rate, burst int, unread time.Duration) bool {
	if rate == noLimit {
		return true
	}
	full := float64(burst) + unread.Seconds()*float64(rate)
	if b.at == 0 {
		b.tokens = full
	} else {
		b.tokens = min(b.tokens+time.Duration(now-b.at).Seconds()*float64(rate), full)
	}
	b.at = now
	b.tokens -= float64(n)
	return b.tokens >= 0
}

// used returns the connection's usage. c.mu is held on entry.
func (c *Conn) used() *usage {
	x := c.needLazy()
	if x.usage == nil {
		x.usage = new(usage)
	}
	return x.usage
}

// readLater is called when the bytes that come from now on wait unread for the admission. It runs on the loop; c.mu is
// held on entry.
func (c *Conn) readLater() {
	if c.engine.limits&limitRate != 0 {
		c.used().waitsSince = clock.Nanoseconds()
	}
}

// checkRate counts the messages and bytes of one read, and closes a connection that sends more than it may. Bytes count
// when they come, also those of an unfinished frame. delivered is how many of the bytes were delivered. It runs on the
// loop.
func (c *Conn) checkRate(messages, delivered int) {
	c.mu.Lock()
	u := c.used()
	c.mu.Unlock()
	bytes := delivered - u.counted
	u.counted = 0
	if !c.gone {
		u.counted = c.buffered()
	}
	bytes = max(bytes+u.counted, 0)
	if messages <= 0 && bytes == 0 {
		return
	}
	cfg := &c.engine.cfg
	now, unread := clock.Nanoseconds(), c.loop.clock.Pause()
	if u.waitsSince != 0 && c.state.Load() >= stateBound {
		unread += time.Duration(now - u.waitsSince)
		u.waitsSince = 0
	}
	switch {
	case !u.messageRate.take(now, messages, cfg.Limits.MaxMessageRate, cfg.Limits.MessageBurst, unread):
		c.closeBy(protocol.RateLimited, "more messages were sent in a short time than the server allows")
	case !u.byteRate.take(now, bytes, cfg.Limits.MaxByteRate, cfg.Limits.ByteBurst, unread):
		c.closeBy(protocol.RateLimited, "more bytes were sent in a short time than the server allows")
	}
}

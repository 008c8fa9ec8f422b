package engine

import (
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// usage is how much a connection uses of those limits that few engines set.
type usage struct {
	// The loop's own.
	messageRate, byteRate bucket

	inFlight map[uint32]int // requests that are not answered, by ID; under Conn.mu
	requests int            // their number
}

// bucket is a token bucket: it fills at a rate up to a burst.
type bucket struct {
	tokens float64
	at     time.Time // when tokens was right; zero: never used, and full
}

// take takes n tokens and reports whether there were as many.
func (b *bucket) take(now time.Time, n, rate, burst int) bool {
	if rate == noLimit {
		return true
	}
	if b.at.IsZero() {
		b.tokens = float64(burst)
	} else {
		b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*float64(rate), float64(burst))
	}
	b.at = now
	b.tokens -= float64(n)
	return b.tokens >= 0
}

// used returns the connection's usage. c.mu is held on entry.
func (c *Conn) used() *usage {
	x := c.rare()
	if x.usage == nil {
		x.usage = new(usage)
	}
	return x.usage
}

// checkRate counts what one read has brought, and closes a connection that sends more than it may. It runs on the loop.
func (c *Conn) checkRate(messages, bytes int) {
	c.mu.Lock()
	u := c.used()
	c.mu.Unlock()
	cfg := &c.engine.cfg
	now := time.Now()
	switch {
	case !u.messageRate.take(now, messages, cfg.MaxMessageRate, cfg.MessageBurst):
		c.Close(protocol.RateLimited, "more messages were sent in a short time than the server allows")
	case !u.byteRate.take(now, bytes, cfg.MaxByteRate, cfg.ByteBurst):
		c.Close(protocol.RateLimited, "more bytes were sent in a short time than the server allows")
	}
}

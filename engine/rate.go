package engine

import (
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// limits is what a connection needs for those limits that few engines set.
type limits struct {
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

// limited returns the connection's limits. c.mu is held on entry.
func (c *Conn) limited() *limits {
	x := c.rare()
	if x.limits == nil {
		x.limits = new(limits)
	}
	return x.limits
}

// checkRate counts what one read has brought, and closes a connection that sends more than it may. It runs on the loop.
func (c *Conn) checkRate(messages, bytes int) {
	c.mu.Lock()
	l := c.limited()
	c.mu.Unlock()
	cfg := &c.engine.cfg
	now := time.Now()
	switch {
	case !l.messageRate.take(now, messages, cfg.MaxMessageRate, cfg.MessageBurst):
		c.Close(protocol.RateLimited, "more messages were sent in a short time than the server allows")
	case !l.byteRate.take(now, bytes, cfg.MaxByteRate, cfg.ByteBurst):
		c.Close(protocol.RateLimited, "more bytes were sent in a short time than the server allows")
	}
}

// inFlight reports whether a message counts towards MaxRequests.
func (c *Conn) inFlight(m *protocol.Message) bool {
	return m.ID != 0 && !m.IsReply() && m.Type < protocol.FirstSystemType && !c.engine.handlers.relays(m)
}

// requested counts a message that is a request of the application's. It reports whether it was one too many, and then has
// answered it. It runs on the loop.
func (c *Conn) requested(m *protocol.Message) (refused bool) {
	if !c.inFlight(m) {
		return false
	}
	c.mu.Lock()
	l := c.limited()
	if refused = l.requests >= c.engine.cfg.MaxRequests; !refused {
		if l.inFlight == nil {
			l.inFlight = make(map[uint32]int)
		}
		l.inFlight[m.ID]++ // a client may use an ID twice
		l.requests++
	}
	c.mu.Unlock()
	if refused {
		_ = c.sendReply(m, protocol.FlagReply|protocol.FlagError, protocol.AppendClose(nil,
			&protocol.CloseError{Code: protocol.Refused, Text: "too many requests wait for their answers"}))
	}
	return refused
}

// reply sends the answer to m, whose request is in flight no more.
func (c *Conn) reply(m *protocol.Message, flags protocol.Flags, body []byte) error {
	id, counts := m.ID, c.engine.cfg.MaxRequests != noLimit && c.inFlight(m) // m may be the loop's, and gone when a write has failed
	err := c.sendReply(m, flags, body)
	if err == nil && counts {
		c.mu.Lock()
		if l := c.limited(); l.inFlight[id] > 0 {
			l.requests--
			if l.inFlight[id]--; l.inFlight[id] == 0 {
				delete(l.inFlight, id)
			}
		}
		c.mu.Unlock()
	}
	return err
}

package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// stableAfter is how long a connection must last for the backoff to begin anew.
const stableAfter = time.Minute

// run serves one connection after the other, until the client ends. It is the goroutine that reads.
func (c *Client) run(cn *conn) {
	defer close(c.loopDone)
	wait := backoff{least: c.cfg.ReconnectMin, most: c.cfg.ReconnectMax, random: rand.Int64N}
	for {
		why := cn.serve()
		if cn.now() >= stableAfter {
			wait.attempt = 0
		}
		c.mu.Lock()
		c.conn, c.state = nil, Reconnecting
		c.mu.Unlock()
		next, err := c.reconnect(why, cn.ghostTimeout, &wait)
		if err != nil {
			c.ended(err)
			return
		}
		c.wentOnline(next)
		cn = next
	}
}

// reconnect makes a new connection after the last one was lost for the reason why, or returns why there will be none.
func (c *Client) reconnect(why error, ghostTimeout time.Duration, wait *backoff) (*conn, error) {
	lost := time.Now()
	err := why
	for refused := false; ; refused = true {
		var ce *protocol.CloseError
		if errors.As(err, &ce) && ce != nil && !ce.Code.MayReconnect() && // FieldsFunc may return one that is nil
			!(refused && ce.Code == protocol.AlreadyLoggedOn && time.Since(lost) < ghostTimeout) {
			return nil, err
		}
		if c.cfg.ReconnectMax < 0 || c.ctx.Err() != nil {
			return nil, err
		}
		c.aim(ce, refused)
		c.tell(Reconnecting, err)
		if !sleep(c.ctx, wait.next()+retryAfter(ce)) {
			return nil, err
		}
		cn, attempt := c.connect(c.ctx)
		if attempt == nil {
			return cn, nil
		}
		err = attempt
	}
}

// aim chooses where to connect next: where the server says, if it says so in ce, which may be nil; where the client was
// connected last; or, when an attempt has failed there, where Dial was told.
func (c *Client) aim(ce *protocol.CloseError, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed {
		c.target = c.addr
	}
	if ce != nil && ce.Info[protocol.FieldAddress] != "" {
		c.target = ce.Info[protocol.FieldAddress]
	}
}

// retryAfter is how long the server asks to wait.
func retryAfter(ce *protocol.CloseError) time.Duration {
	if ce == nil {
		return 0
	}
	return milliseconds(ce.Info[protocol.FieldRetryMS])
}

// sleep reports whether d has passed before ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// backoff is how long to wait before each attempt: exponential, with full jitter, so that the clients of a server that
// went down do not all come back in the same moment.
type backoff struct {
	least, most time.Duration
	attempt     int
	random      func(n int64) int64 // at least 0, less than n
}

func (b *backoff) next() time.Duration {
	if b.least < 0 {
		return 0
	}
	limit := min(b.least, b.most)
	for range b.attempt {
		if limit >= b.most/2 {
			limit = b.most
			break
		}
		limit *= 2
	}
	b.attempt++
	return time.Duration(b.random(int64(limit) + 1))
}

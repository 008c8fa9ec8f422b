package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// stableAfter is how long a connection must last so that the backoff begins anew.
const stableAfter = time.Minute

// run serves one connection after another, until the client ends. It is the goroutine that reads.
func (c *Client) run(cn *conn) {
	defer close(c.loopDone)
	returned := false
	defer func() {
		if v := contain.Failure(recover(), returned); v != nil { // in a net.Conn of the application's
			err := panicError("the connection", v)
			cn.end(err)
			c.ended(err)
		}
	}()
	wait := newBackoff(&c.cfg.Reconnect)
	for {
		why := cn.serve()
		if cn.now() >= stableAfter {
			wait.attempt = 0
		}
		c.mu.Lock()
		c.conn, c.state = nil, Reconnecting
		c.mu.Unlock()
		next, err := c.reconnect(why, cn.ghostTimeout, wait)
		if err != nil {
			c.ended(err)
			returned = true
			return
		}
		c.wentOnline(next)
		cn = next
	}
}

// reconnect makes a new connection after the last one was lost because of why. An error says why there will be none.
func (c *Client) reconnect(why error, ghostTimeout time.Duration, wait *backoff) (*conn, error) {
	lost := time.Now()
	err := why
	for refused := false; ; refused = true {
		var ce *protocol.CloseError
		if codes.As(err, &ce) && ce != nil && !ce.Code.MayReconnect() && // Config.Token may return one that is nil
			!(refused && ce.Code == protocol.AlreadyLoggedOn && time.Since(lost) < ghostTimeout) {
			return nil, err
		}
		if c.cfg.Reconnect.Max < 0 || c.ctx.Err() != nil {
			return nil, err
		}
		c.aim(ce, refused)
		c.tell(Reconnecting, err)
		if !c.pause(c.ctx, ce, wait) {
			return nil, err
		}
		cn, attempt := c.connect(c.ctx)
		if attempt == nil {
			return cn, nil
		}
		err = attempt
	}
}

// connectFirst makes Dial's connection. It tries again with Reconnect.First.
func (c *Client) connectFirst(ctx context.Context) (*conn, error) {
	wait := newBackoff(&c.cfg.Reconnect)
	for {
		cn, err := c.connect(ctx)
		if err == nil || !c.cfg.Reconnect.First || c.cfg.Reconnect.Max < 0 {
			return cn, err
		}
		var ce *protocol.CloseError
		if codes.As(err, &ce) && ce != nil && !ce.Code.MayReconnect() {
			return nil, err
		}
		c.aim(ce, true)
		if !c.pause(ctx, ce, wait) {
			return nil, fmt.Errorf("%w; the last attempt: %w", context.Cause(ctx), err)
		}
	}
}

// Reconnect ends the client's wait before the next attempt to reconnect, for an application that knows that the network is back. A
// wait that the server asked for (retry-ms) is not shortened, and a running attempt goes on. Later waits begin again with the
// shortest wait. Reconnect does nothing while the client is online, and after its end.
func (c *Client) Reconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == Reconnecting {
		token(c.reconnectNow)
	}
}

// aim chooses the next address: the one that the server names in ce, which may be nil, or that of the last connection.
// After a failed attempt there it goes back to Dial's addresses.
func (c *Client) aim(ce *protocol.CloseError, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed {
		c.moved = ""
	}
	if ce != nil && ce.Info[protocol.FieldAddress] != "" {
		if to := movedTo(c.tried, ce.Info[protocol.FieldAddress]); to != "" {
			c.moved = to
		}
	}
}

// targets returns the addresses to try, in order: the one that the server has named, or Dial's, beginning with that of
// the last connection.
func (c *Client) targets() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved != "" {
		return []string{c.moved}
	}
	return append(slices.Clone(c.addrs[c.at:]), c.addrs[:c.at]...)
}

// reached notes the address of the connection.
func (c *Client) reached(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.addrs, addr); i >= 0 && c.moved == "" {
		c.at = i
	}
}

// addresses splits Dial's address.
func (c *Config) addresses(addr string) ([]string, error) {
	addrs := strings.Split(addr, ",")
	for i, a := range addrs {
		if addrs[i] = strings.TrimSpace(a); addrs[i] == "" {
			return nil, fmt.Errorf("rollcall: an address is empty: %q", addr)
		}
		if _, err := c.target(addrs[i]); err != nil {
			return nil, err
		}
	}
	return addrs, nil
}

// retryAfter returns how long the server asks to wait.
func retryAfter(ce *protocol.CloseError) time.Duration {
	if ce == nil {
		return 0
	}
	return min(milliseconds(ce.Info[protocol.FieldRetryMS]), mostRetry)
}

// pause waits before an attempt: first as long as the server asks in ce, which may be nil, then for the backoff, which
// Reconnect cuts short. It reports false when ctx ended first.
func (c *Client) pause(ctx context.Context, ce *protocol.CloseError, wait *backoff) bool {
	return sleep(ctx, retryAfter(ce)) && c.backOff(ctx, wait)
}

func (c *Client) backOff(ctx context.Context, wait *backoff) bool {
	t := time.NewTimer(wait.next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.reconnectNow:
		wait.attempt = 0
		return true
	case <-ctx.Done():
		return false
	}
}

// sleep reports whether d has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// backoff is the wait before each attempt: exponential, with full jitter, so that the clients of a server that went
// down do not all come back at once.
type backoff struct {
	least, most time.Duration
	attempt     int
	random      func(n int64) int64 // at least 0, less than n
}

func newBackoff(r *Reconnect) *backoff {
	return &backoff{least: r.Min, most: r.Max, random: rand.Int64N}
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

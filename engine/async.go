package engine

import (
	"context"
	"sync"

	"github.com/rollcall-go/rollcall/protocol"
)

// Async returns a handler that runs h on a new goroutine for each message, with a copy of the message: h may block without Workers,
// and may keep its message. Messages of one connection are then handled side by side, in no order, and may still be handled after
// Disconnected. Limits.MaxInbound limits the bytes of these messages for each connection, where each message counts 150 bytes more.
// Limits.MaxRequests limits how many of them may be requests. A client that has ended its sending side still gets its answers.
// Conn.Context ends when the client leaves. Run waits for these goroutines, within Timeouts.Stop.
func Async(h Handler) Handler {
	return func(c *Conn, m *protocol.Message) error {
		size := len(m.Body) + itemCost
		if !c.beginApart(size) {
			c.closeBy(protocol.RateLimited, "more was sent than may wait for the server's handlers")
			return nil
		}
		m = m.Clone()
		c.engine.apart.begin()
		go func() {
			defer c.engine.apart.end()
			defer c.endApart(size)
			c.guard(func() {
				if err := h(c, m); err != nil {
					c.handlerFailed(m, err)
				}
			})
		}()
		return nil
	}
}

// beginApart counts a message that is to be handled on a goroutine of its own. It refuses a message over the limit.
func (c *Conn) beginApart(size int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u, most := c.used(), c.engine.cfg.Limits.MaxInbound
	if u.apart > 0 && u.apart+size > most && u.apart+size-c.piledUp() > most {
		return false
	}
	u.apart += size
	return true
}

// endApart is called when a message was handled.
func (c *Conn) endApart(size int) {
	c.mu.Lock()
	u := c.used()
	u.apart -= size
	owed := u.apart == 0 && c.state.Load() == stateHalfClosed // until now
	c.mu.Unlock()
	if owed {
		c.loop.post(func() { c.guardOnLoop(c.drain) })
	}
}

// isHandledApart reports whether a message of the connection's is handled on a goroutine of its own.
func (c *Conn) isHandledApart() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lazy != nil && c.lazy.usage != nil && c.lazy.usage.apart > 0
}

// apart counts the handlers that run on goroutines of their own.
type apart struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n has become 0; nil unless Run waits
}

func (a *apart) begin() {
	a.mu.Lock()
	a.n++
	a.mu.Unlock()
}

func (a *apart) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n--; a.n == 0 && a.none != nil {
		close(a.none)
		a.none = nil
	}
}

// wait waits until no handler runs, or until ctx ends, and reports whether all have returned. The connections are
// closed, so no further handler starts.
func (a *apart) wait(ctx context.Context) bool {
	a.mu.Lock()
	if a.n == 0 {
		a.mu.Unlock()
		return true
	}
	none := make(chan struct{})
	a.none = none
	a.mu.Unlock()
	select {
	case <-none:
		return true
	case <-ctx.Done():
		return false
	}
}

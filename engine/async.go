package engine

import (
	"context"
	"sync"

	"github.com/rollcall-go/rollcall/protocol"
)

// Async returns a handler that runs h on a new goroutine for each message, with a copy of the message: h may block without Workers,
// and may keep its message. Messages of one connection are then handled side by side, in no order, and may still be handled after
// Disconnected. Limits.MaxRequests limits their number for each connection, where messages are requests. Conn.Context ends when the
// client leaves. Run waits for these goroutines, within Timeouts.Stop.
func Async(h Handler) Handler {
	return func(c *Conn, m *protocol.Message) error {
		m = m.Clone()
		c.engine.apart.begin()
		go func() {
			defer c.engine.apart.end()
			c.guard(func() {
				if err := h(c, m); err != nil {
					c.handlerFailed(m, err)
				}
			})
		}()
		return nil
	}
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

// wait waits until none runs, or ctx ends. It reports whether none does. The connections are closed: none begins any more.
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

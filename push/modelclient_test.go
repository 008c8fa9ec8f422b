package push_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// modelClient is a client that is dropped, and comes back by itself.
type modelClient struct {
	network
	m     *model
	c     *client.Client
	name  string
	slow  bool
	stuck atomic.Pointer[chan struct{}] // for which its handler waits
	marks chan struct{}

	mu      sync.Mutex
	last    map[string]int  // the last message of each sender that was handled
	handled map[string]bool // all of them
}

func (m *model) client(user string, device uint16) *modelClient {
	c := &modelClient{m: m, name: fmt.Sprintf("%s on %d", user, device), slow: m.random.IntN(3) == 0,
		last: map[string]int{}, handled: map[string]bool{}, marks: make(chan struct{}, 1)}
	c.c = m.srv.Client(m.t, user, client.Config{Device: device, DialContext: c.dial, Reconnect: client.Reconnect{Min: -1}, OnPush: c.onPush,
		Handle: map[uint16]client.Handler{mark: func(*client.Client, *protocol.Message) error {
			select {
			case c.marks <- struct{}{}:
			default:
			}
			return nil
		}}})
	return c
}

// onPush holds the order of what is handled: each sender's messages once, and none after a later one.
func (c *modelClient) onPush(_ *client.Client, p *protocol.PushMessage) {
	text := string(p.Content)
	var from string
	var n int
	if _, err := fmt.Sscan(text, &from, &n); err != nil {
		c.m.t.Error(err)
		return
	}
	c.mu.Lock()
	if last := c.last[from]; n == last {
		c.m.broken("%s handled message %q twice", c.name, text)
	} else if n < last {
		c.m.broken("%s handled message %q after number %d", c.name, text, last)
	}
	c.last[from] = max(c.last[from], n)
	c.handled[text] = true
	c.mu.Unlock()
	if stuck := c.stuck.Load(); stuck != nil {
		<-*stuck
	}
	if c.slow && n%5 == 0 {
		takes(300)
	}
}

func (c *modelClient) has(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handled[text]
}

// drop loses the connection, for both sides or for the client alone.
func (c *modelClient) drop(random *rand.Rand) {
	if c.c.State() != client.Online {
		return
	}
	c.m.seen.drops.Add(1)
	if random.IntN(2) == 0 {
		c.lose(c.m.t)
		return
	}
	c.reset()
}

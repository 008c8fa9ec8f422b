package testkit

import (
	"net"
	"sync"
	"testing"
)

// Cable is a way over TCP to a server, through the test. It can be cut, and its connections can be held and ended.
type Cable struct {
	listener net.Listener

	mu      sync.Mutex
	changed *sync.Cond
	to      string
	cut     bool
	over    bool
	strands map[*strand]bool
}

// strand is one connection.
type strand struct {
	ends [2]net.Conn
	held bool
}

// NewCable returns a cable to an address, which may also be told later, by Lead. It ends with the test.
func NewCable(t testing.TB, to string) *Cable {
	t.Helper()
	c := &Cable{listener: Must(net.Listen("tcp", "127.0.0.1:0")), to: to, strands: make(map[*strand]bool)}
	c.changed = sync.NewCond(&c.mu)
	var all sync.WaitGroup
	all.Go(func() { c.accept(&all) })
	t.Cleanup(func() {
		c.change(func() { c.over = true })
		c.Break()
		_ = c.listener.Close()
		all.Wait()
	})
	return c
}

// Addr returns where clients reach the server.
func (c *Cable) Addr() string { return c.listener.Addr().String() }

// Lead has later connections lead to another server.
func (c *Cable) Lead(to string) { c.change(func() { c.to = to }) }

// SetCut cuts the cable, or heals it. While it is cut no bytes pass, and neither side sees an error; they pass when it is healed.
func (c *Cable) SetCut(cut bool) { c.change(func() { c.cut = cut }) }

// Hold keeps the bytes of the present connections until Release.
func (c *Cable) Hold() { c.change(func() { c.setHeld(true) }) }

// Release ends a Hold.
func (c *Cable) Release() { c.change(func() { c.setHeld(false) }) }

// Break ends the present connections.
func (c *Cable) Break() {
	c.change(func() {
		for s := range c.strands {
			s.close()
		}
	})
}

// change changes the cable, and has what waits look again.
func (c *Cable) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.changed.Broadcast()
}

func (c *Cable) setHeld(held bool) {
	for s := range c.strands {
		s.held = held
	}
}

func (c *Cable) accept(all *sync.WaitGroup) {
	for {
		from, err := c.listener.Accept()
		if err != nil {
			return
		}
		all.Go(func() { c.connect(from) })
	}
}

// connect leads a connection on, and passes its bytes until it ends.
func (c *Cable) connect(from net.Conn) {
	c.mu.Lock()
	addr := c.to
	c.mu.Unlock()
	to, err := net.Dial("tcp", addr)
	if err != nil {
		_ = from.Close()
		return
	}
	s := &strand{ends: [2]net.Conn{from, to}}
	c.change(func() {
		if c.over || c.to != addr {
			s.close()
			return
		}
		c.strands[s] = true
	})
	var both sync.WaitGroup
	both.Go(func() { c.copy(s, to, from) })
	both.Go(func() { c.copy(s, from, to) })
	both.Wait()
	c.change(func() { delete(c.strands, s) })
}

func (s *strand) close() { _, _ = s.ends[0].Close(), s.ends[1].Close() }

func (c *Cable) copy(s *strand, to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		c.mu.Lock()
		for (c.cut || s.held) && !c.over {
			c.changed.Wait()
		}
		c.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

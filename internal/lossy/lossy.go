// Package lossy is a network for tests that loses datagrams, sends them twice, and changes their order, as its seed says. A client behind
// it may move to another port at any time, as behind a router that has forgotten it.
package lossy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// Network says what happens to each datagram, in either direction. The zero value loses nothing.
type Network struct {
	Lose, Repeat, Delay float64 // probabilities, of being lost, sent twice, and sent after the next datagram
	// Move is the probability that the client is at another port from then on, before it sends a datagram.
	Move float64
	Seed uint64
}

// Dial makes a connection of datagrams through the network. n tells connections of one seed apart.
func (w Network) Dial(ctx context.Context, addr string, n uint64) (net.Conn, error) {
	c := &conn{network: w, ctx: ctx, addr: addr, in: make(chan []byte, 1024), over: make(chan struct{}),
		out: rand.New(rand.NewPCG(w.Seed, 2*n)), back: rand.New(rand.NewPCG(w.Seed, 2*n+1))}
	c.deadline.changed = make(chan struct{})
	return c, c.move()
}

// conn is a client's end. Its sockets are read by goroutines of their own, which end when they are closed.
type conn struct {
	network Network
	ctx     context.Context
	addr    string
	in      chan []byte
	over    chan struct{}
	once    sync.Once
	readers sync.WaitGroup

	mu   sync.Mutex
	nc   net.Conn   // the present socket
	late []byte     // is sent after the next datagram
	out  *rand.Rand // decides about datagrams to the server

	backMu sync.Mutex
	back   *rand.Rand // and about those from it
	held   []byte

	deadline deadline
}

// deadline is the time until which Read waits.
type deadline struct {
	mu      sync.Mutex
	at      time.Time
	changed chan struct{}
}

// move takes another port. The server's datagrams to the old one are lost. c.mu is held, or c is new.
func (c *conn) move() error {
	nc, err := (&net.Dialer{}).DialContext(context.WithoutCancel(c.ctx), "udp", c.addr)
	if err != nil {
		return err
	}
	if c.nc != nil {
		_ = c.nc.Close()
	}
	c.nc = nc
	c.readers.Add(1)
	go func() {
		defer c.readers.Done()
		for {
			b := make([]byte, 2048)
			n, err := nc.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err == nil {
				c.receive(b[:n])
			}
		}
	}()
	return nil
}

func (c *conn) receive(b []byte) {
	c.backMu.Lock()
	defer c.backMu.Unlock()
	pass := func(b []byte) {
		select {
		case c.in <- b:
		default: // what is not read in time is lost
		}
	}
	c.held = c.network.decide(c.back, b, c.held, pass)
}

// decide sends a datagram on, or does not. It returns the one that waits for the next.
func (w Network) decide(r *rand.Rand, b, held []byte, pass func([]byte)) (late []byte) {
	lose, twice, delay := r.Float64() < w.Lose, r.Float64() < w.Repeat, r.Float64() < w.Delay
	switch {
	case lose:
	case delay && held == nil:
		return append([]byte(nil), b...)
	default:
		if pass(b); twice {
			pass(b)
		}
	}
	if held != nil {
		pass(held)
	}
	return nil
}

// Write implements net.Conn: one datagram.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.over:
		return 0, net.ErrClosed
	default:
	}
	if c.out.Float64() < c.network.Move {
		if err := c.move(); err != nil {
			return 0, err
		}
	}
	c.late = c.network.decide(c.out, b, c.late, func(b []byte) { _, _ = c.nc.Write(b) })
	return len(b), nil
}

// Read implements net.Conn: one datagram.
func (c *conn) Read(b []byte) (int, error) {
	for {
		c.deadline.mu.Lock()
		at, changed := c.deadline.at, c.deadline.changed
		c.deadline.mu.Unlock()
		var ended <-chan time.Time
		if !at.IsZero() {
			t := time.NewTimer(time.Until(at))
			defer t.Stop()
			ended = t.C
		}
		select {
		case d := <-c.in:
			return copy(b, d), nil
		case <-c.over:
			return 0, net.ErrClosed
		case <-ended:
			return 0, os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.deadline.mu.Lock()
	defer c.deadline.mu.Unlock()
	c.deadline.at = t
	close(c.deadline.changed)
	c.deadline.changed = make(chan struct{})
	return nil
}

// SetDeadline implements net.Conn. A Write never waits.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.over) })
	c.mu.Lock()
	err := c.nc.Close()
	c.mu.Unlock()
	c.readers.Wait()
	return err
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

package engine

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rollcall-go/rollcall/internal/clock"
	"github.com/rollcall-go/rollcall/protocol"
)

// request is a request of the server that the client has not answered.
type request struct {
	id      uint32
	done    func(*protocol.Message, error) // called once, by the goroutine that took the request out of the connection's map
	timeout time.Duration                  // never for none
	timer   *clock.Timer
	inline  bool // done does not block and is not the application's, so it may run on the loop, also with Workers
}

func (r *request) finish(m *protocol.Message, err error) {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.done(m, err)
}

// RequestFunc sends a request to the client and returns at once. done is called once, with the reply, which is valid until done returns,
// or with an error: a *protocol.CloseError when the client answered with one, context.DeadlineExceeded after the timeout (0 means 10 s;
// negative means no timeout), ErrClosed when the connection ended first. For a reply done runs where message handlers do, on the
// connection's loop or a worker; for an error it may run on any goroutine. The body is copied. When RequestFunc itself returns an error
// (one that SendMessage can return), done is not called.
func (c *Conn) RequestFunc(typ uint16, body []byte, timeout time.Duration, done func(reply *protocol.Message, err error)) error {
	return c.request(typ, body, &request{done: done, timeout: orDefault(timeout, 10*time.Second, never)})
}

// Request sends a request to the client and waits for the reply, or until ctx ends. The caller may keep the reply. Do not call it on an
// event loop, which could then not read the reply: in a handler without Workers use RequestFunc.
func (c *Conn) Request(ctx context.Context, typ uint16, body []byte) (*protocol.Message, error) {
	type outcome struct {
		reply *protocol.Message
		err   error
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	done := make(chan outcome, 1)
	r := &request{inline: true, timeout: never, done: func(m *protocol.Message, err error) {
		if m != nil {
			m = m.Clone()
		}
		done <- outcome{m, err}
	}}
	if err := c.request(typ, body, r); err != nil {
		return nil, err
	}
	select {
	case o := <-done:
		return o.reply, o.err
	case <-ctx.Done():
		c.forget(r)
		return nil, ctx.Err()
	}
}

// request queues a request. No SlowPolicy drops it.
func (c *Conn) request(typ uint16, body []byte, r *request) error {
	return c.sendMessage(&protocol.Message{Type: typ, Body: body}, queueing{Policy: SlowClose}, r)
}

// open gives r an ID, which m gets too, and waits for the reply. m is queued under the same lock, so that a request that the end of the
// connection fails was queued before. Nil is no request. c.mu is held on entry.
func (c *Conn) open(r *request, m *protocol.Message) {
	if r == nil {
		return
	}
	x := c.needLazy()
	if x.requests == nil {
		x.requests = make(map[uint32]*request)
		if x.lastID == 0 { // IDs begin at a random number, so that a late answer on the client's next connection matches no request of that one
			x.lastID = rand.Uint32()
		}
	}
	for {
		x.lastID++
		if _, taken := x.requests[x.lastID]; x.lastID != 0 && !taken {
			break
		}
	}
	r.id, m.ID = x.lastID, x.lastID
	x.requests[r.id] = r
	if r.timeout == never {
		return
	}
	tooLate := func() {
		if c.forget(r) {
			c.guard(func() { r.done(nil, errRequestTimeout) })
		}
	}
	r.timer = c.engine.clock.AfterFunc(r.timeout, func() {
		c.lookThen(func(bool) { go tooLate() })      // the reply may wait unread
		c.engine.clock.AfterFunc(r.timeout, tooLate) // a handler that blocks the loop may wait for this
	})
}

// withdraw takes back open for a request that was not queued: done is not called. c.mu is held on entry.
func (c *Conn) withdraw(r *request) {
	if r == nil {
		return
	}
	delete(c.lazy.requests, r.id)
	if r.timer != nil {
		r.timer.Stop()
	}
}

// take removes and returns the open request with the ID, so that only one goroutine finishes it; nil when there is
// none.
func (c *Conn) take(id uint32) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lazy == nil {
		return nil
	}
	r := c.lazy.requests[id]
	delete(c.lazy.requests, id)
	return r
}

// forget removes r if it is still open, and reports whether it was. Another request may have its ID by now.
func (c *Conn) forget(r *request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lazy == nil || c.lazy.requests[r.id] != r {
		return false
	}
	delete(c.lazy.requests, r.id)
	return true
}

// answered is called on the loop with a reply. A reply without a waiting request is dropped.
func (c *Conn) answered(m *protocol.Message) {
	r := c.take(m.ID)
	if r == nil {
		return
	}
	var err error
	if m.Flags&protocol.FlagError != 0 {
		var ce *protocol.CloseError
		if ce, err = protocol.ParseClose(m.Body); err == nil {
			err = ce
		}
		m = nil
	}
	if c.box != nil && !r.inline {
		if m != nil {
			m = m.Clone()
		}
		c.box.put(c, item{message: m, request: r, err: err})
		return
	}
	r.finish(m, err)
}

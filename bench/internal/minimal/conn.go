//go:build linux

package minimal

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"
)

// outboundLimit is how many bytes may wait in a connection's queue, and as many again with gnet.
const outboundLimit = 8 << 20

// errClosed says that a message will not arrive.
var errClosed = errors.New("minimal: the connection is closed")

// Conn is a connection, and the session of the user who is bound to it.
type Conn struct {
	// What Send needs lies in one cache line.
	mu      sync.Mutex
	out     *buffer     // what waits for the loop
	loop    *loop       // never changes
	queued  atomic.Bool // out is not nil; changed under mu
	stopped atomic.Bool // no further message is handled, nothing is sent; changed under mu, or with gone
	marked  bool        // stands in the loop's list; under mu
	closing bool        // is to be closed when out is written; under mu

	// The loop's own.
	gone bool   // gnet has closed it
	need uint32 // bytes that must have come before it is read again
	gc   gnet.Conn
	user *user // nil before the first message

	server         *Server
	number         uint64
	session        sessionID
	since          int64        // of the logon, Unix nanoseconds
	active         atomic.Int64 // when something came last
	received, sent traffic
	next, prev     *Conn // other connections that are watched
}

// traffic counts messages one way.
type traffic struct {
	messages, bytes atomic.Uint64
	last            atomic.Uint32 // the type of the last one
}

func (t *traffic) add(typ uint16, messages, bytes int) {
	t.messages.Add(uint64(messages))
	t.bytes.Add(uint64(bytes))
	if t.last.Load() != uint32(typ) {
		t.last.Store(uint32(typ))
	}
}

// buffer is frames that are written together.
type buffer struct {
	b        []byte
	messages int
	typ      uint16
}

const largeBuffer = 256 << 10

func (o *buffer) reset() {
	if cap(o.b) > largeBuffer { // one large message must not be remembered for ever
		o.b = nil
	}
	o.b, o.messages = o.b[:0], 0
}

// grow makes room for n bytes more, and reports whether so many may wait.
func (o *buffer) grow(n int) bool {
	if len(o.b)+n > outboundLimit {
		return false
	}
	o.b = slices.Grow(o.b, n)
	o.b = o.b[:len(o.b):min(cap(o.b), outboundLimit)]
	return true
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// Reply answers m, of which a handler has been told. The replies to one read go out in one write.
func (c *Conn) Reply(m *Message, body []byte) error {
	if m.from != c || c.queued.Load() { // not the present message, or something must go out before
		return c.send(m.Type, FlagReply, m.ID, body)
	}
	o := &c.loop.replies
	start, n := len(o.b), headerLen+len(body)
	if n > cap(o.b)-start && !o.grow(n) {
		c.Kick(codeSlowConsumer)
		return errClosed
	}
	o.b = o.b[:start+n]
	f := o.b[start:]
	putHeader(f, m.Type, FlagReply, m.ID, len(body))
	copy(f[headerLen:], body)
	o.messages++
	o.typ = m.Type
	return nil
}

// Send sends a message, from any goroutine.
func (c *Conn) Send(typ uint16, body []byte) error { return c.send(typ, 0, 0, body) }

func (c *Conn) send(typ uint16, flags Flags, id uint32, body []byte) error {
	c.mu.Lock()
	if c.stopped.Load() {
		c.mu.Unlock()
		return errClosed
	}
	o := c.queue()
	if n := headerLen + len(body); n > cap(o.b)-len(o.b) && !o.grow(n) {
		c.mu.Unlock()
		c.Kick(codeSlowConsumer)
		return errClosed
	}
	o.b = appendFrame(o.b, typ, flags, id, body)
	o.messages++
	o.typ = typ
	mark := !c.marked
	c.marked = true
	c.mu.Unlock()
	if mark {
		c.loop.mark(c)
	}
	return nil
}

// queue returns what waits for the loop, to be added to. c.mu is held.
func (c *Conn) queue() *buffer {
	if c.out == nil {
		c.out = buffers.Get().(*buffer)
		c.queued.Store(true)
	}
	return c.out
}

// Kick ends the connection, from any goroutine: no further message is handled, what waits goes out, and a notice.
func (c *Conn) Kick(code uint16) {
	c.mu.Lock()
	if c.stopped.Load() {
		c.mu.Unlock()
		return
	}
	c.stopped.Store(true)
	c.closing = true
	if code != codeClientClosed {
		o := c.queue()
		o.b = appendClose(o.b, code)
	}
	mark := !c.marked
	c.marked = true
	c.mu.Unlock()
	if mark {
		c.loop.mark(c)
	}
}

// flush writes what waits. It runs on the loop.
func (c *Conn) flush() {
	c.mu.Lock()
	o, closing := c.out, c.closing
	c.out, c.marked = nil, false
	if o != nil {
		c.queued.Store(false)
	}
	c.mu.Unlock()
	if o != nil {
		c.write(o)
		o.reset()
		buffers.Put(o)
	}
	if closing && !c.gone {
		_ = c.loop.gnet.Close(c.gc) // which sends what the socket still takes
	}
}

// write hands frames to gnet, which sends what the socket takes and keeps the rest. It runs on the loop. A write that
// fails closes the connection, so it must not come while a message is being handled.
func (c *Conn) write(o *buffer) { c.writeFrames(o.b, o.typ, o.messages) }

func (c *Conn) writeFrames(b []byte, typ uint16, messages int) {
	if c.gone {
		return
	}
	if c.gc.OutboundBuffered()+len(b) > outboundLimit {
		c.Kick(codeSlowConsumer)
		return
	}
	if _, err := c.gc.Write(b); err == nil && messages > 0 {
		c.sent.add(typ, messages, len(b))
	}
}

package engine

import (
	"context"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// mailbox holds the messages that wait for a connection's handlers, with Workers. One worker at a time takes from it,
// to keep the connection's order.
type mailbox struct {
	pool *workerPool

	mu        sync.Mutex
	items     []item
	bytes     int  // of the messages that wait
	scheduled bool // it is in the pool's queue, or a worker takes from it
	active    bool // a handler runs
	quiet     bool // no handler starts any more
	whenQuiet []func()
}

// item is one piece of work for a connection, in the connection's order.
type item struct {
	message *protocol.Message // also the reply to request
	size    int               // the bytes that it counts towards Limits.MaxInbound
	request *request          // instead of a message for its handler: a request of the server that has ended
	err     error             // how the request ended
	end     bool              // instead of a message: the connection is over
	tellEnd bool              // and the binding was not told yet
	leave   bool              // and the connection still has its place in the table
}

// put adds an item.
func (b *mailbox) put(c *Conn, it item) {
	b.mu.Lock()
	if it.size > 0 && b.bytes > 0 && b.bytes+it.size > c.engine.cfg.Limits.MaxInbound && b.bytes+it.size-c.piledUp() > c.engine.cfg.Limits.MaxInbound {
		b.mu.Unlock()
		c.closeBy(protocol.RateLimited, "more was sent than may wait for the server's handlers")
		return
	}
	c.engine.addPending(it.size + itemCost)
	b.bytes += it.size
	c.engine.inboundQueue.Add(int64(it.size))
	b.items = append(b.items, it)
	schedule := !b.scheduled
	b.scheduled = true
	b.mu.Unlock()
	if schedule {
		b.pool.submit(c)
	}
	c.engine.keepWithinBudget()
}

// maxPiledUp is how many bytes of a connection the systems at both ends may hold, with the usual defaults.
const maxPiledUp = 16 << 20

// piledUp returns how many bytes above its limits a connection may bring after a time in which the server did not read.
// The bytes of that time come at once, faster than workers can handle them, and reading cannot be slowed down.
func (c *Conn) piledUp() int {
	if c.loop.clock.Pause() > 0 {
		return maxPiledUp
	}
	return 0
}

// end is called when gnet has closed the connection. When the peer ended it (tellEnd), the peer's messages are handled
// first, and the connection keeps its place in the table until then.
func (b *mailbox) end(c *Conn, tellEnd bool) {
	b.mu.Lock()
	keep := tellEnd && !b.quiet
	b.mu.Unlock()
	if !keep {
		c.engine.conns.remove(c)
	}
	b.put(c, item{end: true, tellEnd: tellEnd, leave: keep})
}

// dropBacklog gives up the messages that a client sent before it ended the connection.
func (b *mailbox) dropBacklog(c *Conn) {
	c.quiet.Store(true)
	b.mu.Lock()
	b.quiet = true
	b.mu.Unlock()
	c.tellEnd()
}

func (b *mailbox) quiesce(c *Conn, done func()) {
	c.quiet.Store(true)
	b.mu.Lock()
	b.quiet = true
	if b.active {
		b.whenQuiet = append(b.whenQuiet, done)
		b.mu.Unlock()
		return
	}
	b.mu.Unlock()
	done()
}

// turnLength is how many items a worker takes before other connections have their turn.
const turnLength = 64

// work takes items until none is left or the turn is over. It reports whether there are more.
func (b *mailbox) work(c *Conn) (more bool) {
	for range turnLength {
		b.mu.Lock()
		if len(b.items) == 0 {
			b.scheduled = false
			b.items = nil
			b.mu.Unlock()
			c.tellHandled()
			if c.state.Load() == stateHalfClosed {
				c.loop.post(func() { c.guardOnLoop(c.drain) })
			}
			return false
		}
		it := b.items[0]
		b.items[0] = item{}
		b.items = b.items[1:]
		b.bytes -= it.size
		c.engine.inboundQueue.Add(-int64(it.size))
		state := c.state.Load()
		b.active = !it.end && !b.quiet && (state == stateBound || state == stateHalfClosed || state == stateEnded)
		active := b.active
		b.mu.Unlock()
		if lease := c.engine.lease; active && lease != nil && lease.Over() {
			c.closePastLease()
			active = false
		}
		b.do(c, it, active)
	}
	return true
}

// do runs an item.
func (b *mailbox) do(c *Conn, it item, active bool) {
	defer b.done(c)
	switch {
	case it.end:
		if it.leave {
			c.engine.conns.remove(c)
		}
		if it.tellEnd {
			c.tellEnd()
		}
	case it.request != nil && active:
		c.guard(func() { it.request.finish(it.message, it.err) })
	case it.request != nil: // its callback must run once, but replies are not delivered any more
		c.guard(func() { it.request.finish(nil, ErrClosed) })
	case active:
		c.guard(func() { c.handle(it.message) })
	}
}

// done is called when an item is finished, whether or not its handler has returned.
func (b *mailbox) done(c *Conn) {
	b.mu.Lock()
	b.active = false
	waiting := b.whenQuiet
	b.whenQuiet = nil
	b.mu.Unlock()
	for _, done := range waiting {
		c.guard(done)
	}
}

// guard closes the connection when f panics, or ends its goroutine.
func (c *Conn) guard(f func()) { contain.Call(f, c.handlerPanicked) }

// workerPool runs message handlers on a fixed number of goroutines.
type workerPool struct {
	mu     sync.Mutex
	ready  sync.Cond
	queue  []*Conn // connections with items, first come first served
	closed bool
	wg     sync.WaitGroup
}

func newWorkerPool(workers int) *workerPool {
	p := &workerPool{}
	p.ready.L = &p.mu
	p.wg.Add(workers)
	for range workers {
		go p.run()
	}
	return p
}

func (p *workerPool) submit(c *Conn) {
	p.mu.Lock()
	p.queue = append(p.queue, c)
	p.mu.Unlock()
	p.ready.Signal()
}

// run is a worker. When a handler ends the goroutine, a new one takes its place and continues the connection's turn.
func (p *workerPool) run() {
	var c *Conn
	returned := false
	defer func() {
		if returned {
			p.wg.Done()
			return
		}
		p.submit(c)
		go p.run()
	}()
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && !p.closed {
			p.ready.Wait()
		}
		if len(p.queue) == 0 {
			p.mu.Unlock()
			returned = true
			return
		}
		c = p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.mu.Unlock()
		if c.box.work(c) {
			p.submit(c)
		}
	}
}

// stop lets the workers finish the queue, and reports whether they did before ctx ended. Idle workers end at once, also
// when ctx has ended before the call.
func (p *workerPool) stop(ctx context.Context) bool {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.ready.Broadcast()
	return waitAtLeast(ctx, 100*time.Millisecond, p.wg.Wait)
}

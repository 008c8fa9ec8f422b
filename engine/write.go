package engine

import "github.com/rollcall-go/rollcall/protocol"

// flushSize is how many bytes of replies are gathered in one read before they are written.
const flushSize = 64 << 10

// flushBatch writes the replies of the current read. It runs on the loop.
func (c *Conn) flushBatch() {
	batch := &c.loop.batch
	switch {
	case len(batch.b) == 0:
		return
	case c.gone:
		c.mu.Lock()
		c.drop(batch.tally)
		c.mu.Unlock()
	case c.unsent == 0:
		c.write(batch, true, c.loop.wrote+flushMost)
	default:
		c.queueBatch(batch)
	}
	batch.reset()
}

// queueBatch puts replies in front of the queue, because everything in the queue came after them. The peer does not
// keep up.
func (c *Conn) queueBatch(batch *outBuf) {
	c.mu.Lock()
	front := outBufs.Get().(*outBuf)
	front.append(batch)
	if c.out != nil {
		front.append(c.out)
		c.out.release()
	}
	c.out = front
	c.engine.addPending(len(batch.b))
	c.queued.Store(true)
	over := !c.makeRoom(front, 0)
	c.mu.Unlock()
	if over {
		c.closeBy(protocol.SlowConsumer, tooMuchWaits)
	}
}

// tooMuchWaits is the notice's text for a client for which too much waits.
const tooMuchWaits = "more waits to be sent than the outbound limit allows"

// flush writes the queue, as much as the socket takes and the turn allows. It runs on the loop.
func (c *Conn) flush() { c.flushUpTo(c.loop.wrote + flushMost) }

// flushUpTo is flush until the loop has written most bytes in all.
func (c *Conn) flushUpTo(most int) {
	for !c.gone && (c.unsent == 0 || c.push(most)) && c.flushPart(most) {
	}
}

// flushPart writes the queue, or a part of it, and reports whether the rest may follow. There must be no backlog.
func (c *Conn) flushPart(most int) (more bool) {
	c.mu.Lock()
	c.marked = false
	if c.out != nil && c.loop.wrote >= most {
		c.marked = true
		c.mu.Unlock()
		c.loop.markOutput(c)
		return false
	}
	o := c.out
	c.out = nil
	c.queued.Store(false)
	if o != nil && o.waiting != nil {
		o, more = c.takePart(o)
	}
	c.mu.Unlock()
	if o == nil {
		return false
	}
	c.engine.subtractQueue(o)
	if c.write(o, o.shared, most) {
		return c.unsent == 0 // the output that was queued behind the backlog was not marked
	}
	o.release()
	return more && c.unsent == 0
}

// write offers o to the socket, and keeps the bytes that the socket does not take. It reports whether o's memory is
// still needed. A write that fails closes the connection inside the call; its bytes count as sent. For replies and
// broadcasts the scheduler need not be told of the write. For output that other goroutines queue it is told, because
// they need the processor between the writes. There must be no backlog. write stops when the loop has written most
// bytes in all.
func (c *Conn) write(o *outBuf, alone bool, most int) (kept bool) {
	c.countSent(o)
	c.lastOut = c.loop.parts
	if len(o.b) == 0 {
		return false
	}
	if s := c.stream(); s != nil {
		return c.writeWrapped(s, o)
	}
	n := c.offer(o.b[:min(len(o.b), pieceSize)], alone)
	if c.gone || n == len(o.b) {
		return false
	}
	o, from := c.loop.lasting(o, n)
	c.keep(o.b[from:], nil, o)
	if n == pieceSize { // the socket may take more
		c.push(most)
	}
	return true
}

// countSent counts the messages that are handed to the network. It runs on the loop.
func (c *Conn) countSent(o *outBuf) {
	if o.messages > 0 {
		if !c.userBound && c.engine.admission != nil { // the binding may end between Admit and admit on the loop
			c.mu.Lock()
			c.userBound = c.has(isLetIn)
			c.mu.Unlock()
		}
		o.tally.addTo(&c.loop.out)
		if c.userBound {
			c.binding.Sent(o.typ, o.messages, o.bytes)
		}
	}
}

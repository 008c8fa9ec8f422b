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

// queueBatch puts replies in front of what is queued, since all of that came after them: the peer does not keep up.
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

// tooMuchWaits is what a client is told that lets more gather than it may.
const tooMuchWaits = "more waits to be sent than the outbound limit allows"

// flush writes what is queued, as far as the socket takes it and others have their turn. It runs on the loop.
func (c *Conn) flush() { c.flushUpTo(c.loop.wrote + flushMost) }

// flushUpTo is flush until the loop has written most bytes in all.
func (c *Conn) flushUpTo(most int) {
	for !c.gone && (c.unsent == 0 || c.push(most)) && c.flushPart(most) {
	}
}

// flushPart writes what is queued, or a part of it, and then reports whether the rest may follow. There is no backlog.
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
		return c.unsent == 0 // what was queued while there was a backlog was not marked
	}
	o.release()
	return more && c.unsent == 0
}

// write offers o to the socket, and keeps what that does not take; it reports whether o's memory is still needed. A write that
// fails closes the connection inside the call; what it would have sent counts as sent. Where o is not what goroutines queue
// meanwhile, but replies or a broadcast, the scheduler need not hear of the write; they, however, want the processor between
// the writes. There is no backlog. most is how much the loop may have written.
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

// countSent counts what is handed to the network. It runs on the loop.
func (c *Conn) countSent(o *outBuf) {
	if o.messages > 0 {
		if !c.userBound && c.engine.admission != nil { // it may end between Admit and the loop's hearing of it
			c.mu.Lock()
			c.userBound = c.letIn
			c.mu.Unlock()
		}
		o.tally.addTo(&c.loop.out)
		if c.userBound {
			c.binding.Sent(o.typ, o.messages, o.bytes)
		}
	}
}

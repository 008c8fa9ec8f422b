package engine

import (
	"bytes"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// backlog holds the bytes that were handed over for a connection and that its socket has not taken. Conn.unsent is its
// length. The engine keeps these bytes itself because gnet does not say when it has written: so every goroutine can see
// exactly how much waits. Only the event loop uses the bytes; the rest is under Conn.mu.
type backlog struct {
	wire  []byte  // written to the socket next, unchanged
	plain []byte  // written after wire: frames that the stream has not wrapped yet
	from  *outBuf // the queue that owns the memory of wire or plain; nil when no queue does
	wait  int8    // the wait until the next look, as a number of wheel.lists
	told  bool    // the system tells when more can be written
	shown int     // its part of the loop's sum for Stats.OutboundQueue
	stall stall
}

var backlogs = sync.Pool{New: func() any { return new(backlog) }}

const (
	// pieceSize is how many bytes a socket is offered at a time.
	pieceSize = 2 * flushSize
	// flushMost is how many bytes one flush writes before other connections have their turn.
	flushMost = 8 * flushSize
)

// offer writes b to the connection's socket, and returns how many bytes the socket took. A write that fails closes the
// connection inside the call. It runs on the loop. b must not be empty, and the socket must not be closed.
func (c *Conn) offer(b []byte, alone bool) (taken int) {
	if l := c.layers.Load(); l != nil {
		taken = l.sock.write(b, alone)
	} else {
		taken = c.tcp.write(b, alone)
	}
	c.loop.wrote += taken
	return taken
}

// keep makes a backlog of the bytes that the socket has not taken. It runs on the loop, for a connection without a
// backlog.
func (c *Conn) keep(wire, plain []byte, from *outBuf) {
	n := len(wire) + len(plain)
	b := backlogs.Get().(*backlog)
	b.wire, b.plain, b.from = wire, plain, from
	b.wait = c.loop.firstWait()
	now := time.Now()
	c.mu.Lock()
	b.stall = stall{since: now, asked: now, kernelHas: c.sock().unacknowledged()}
	c.needLazy().backlog = b
	c.unsent = uint32(n)
	c.marked = true // the loop looks at the connection anyway
	c.queued.Store(true)
	c.mu.Unlock()
	c.engine.addPending(n)
	c.loop.attend(c)
	c.engine.keepWithinBudget()
}

// behind returns the connection's backlog. It runs on the loop, for a connection that has a backlog; then no other
// goroutine changes c.lazy.
func (c *Conn) behind() *backlog { return c.lazy.backlog }

// hasBacklog reports whether there is a backlog. A backlog whose last piece is being offered is one too, although that
// piece counts as taken.
func (c *Conn) hasBacklog() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lazy != nil && c.lazy.backlog != nil
}

// setUnsent sets the length of the backlog. It runs on the loop, the only goroutine that changes the length; so the
// loop may read it without the lock.
func (c *Conn) setUnsent(n int) {
	c.mu.Lock()
	c.unsent = uint32(n)
	c.mu.Unlock()
}

// push offers the backlog to the socket, and reports whether the socket took all of it. A piece counts as taken while
// it is offered, so that a goroutine that counts the waiting bytes meanwhile does not find too many. push stops when
// the loop has written most bytes in all.
func (c *Conn) push(most int) (all bool) {
	b := c.behind()
	for c.unsent > 0 {
		if c.loop.wrote >= most {
			c.loop.markOutput(c) // goes on after other connections
			return false
		}
		if len(b.wire) == 0 && !c.wrapMore(b) {
			break
		}
		piece := b.wire[:min(len(b.wire), pieceSize)]
		left := int(c.unsent) - len(piece)
		c.setUnsent(left)
		n := c.offer(piece, true)
		if c.gone {
			return false
		}
		b.wire = b.wire[n:]
		if n > 0 {
			c.progressed(b)
		}
		if n < len(piece) {
			c.setUnsent(left + len(piece) - n)
			c.loop.attend(c)
			return false
		}
	}
	c.caughtUp()
	return true
}

// wrapMore sends the next frames of a backlog through the stream, and reports whether there is something to write.
func (c *Conn) wrapMore(b *backlog) bool {
	s := c.stream()
	if s == nil || len(b.plain) == 0 {
		return false
	}
	wire, n, err := s.wrap(b.plain)
	b.plain = b.plain[n:]
	if err != nil {
		c.unnotice()
		b.plain = nil
	}
	b.wire = append(b.wire, wire...)
	c.setUnsent(len(b.wire) + len(b.plain))
	return len(b.wire) > 0
}

// writeWrapped is write through a stream.
func (c *Conn) writeWrapped(s stream, o *outBuf) (kept bool) {
	for at := 0; at < len(o.b); {
		wire, n, err := s.wrap(o.b[at:])
		at += n
		if len(wire) > 0 {
			c.writeBetween(wire)
		}
		switch {
		case c.gone:
			return false
		case err != nil:
			c.unnotice()
			return false
		case c.unsent > 0 && at < len(o.b):
			c.keepPlain(o, at)
			return true
		}
	}
	return false
}

// writeBetween writes bytes that the stream itself has produced, after those of its kind in the backlog. They may stand
// between any two pieces.
func (c *Conn) writeBetween(wire []byte) {
	if c.unsent > 0 {
		c.keepMore(wire)
		return
	}
	for len(wire) > 0 {
		n := c.offer(wire[:min(len(wire), pieceSize)], true)
		if c.gone {
			return
		}
		if n == 0 {
			c.keep(bytes.Clone(wire), nil, nil)
			return
		}
		wire = wire[n:]
	}
}

// keepMore appends a stream's bytes to a backlog.
func (c *Conn) keepMore(wire []byte) {
	b := c.behind()
	b.wire = append(b.wire, wire...)
	c.setUnsent(int(c.unsent) + len(wire))
	c.engine.addPending(len(wire))
	c.engine.keepWithinBudget()
}

// keepPlain appends the rest of o to a new backlog; it goes through the stream later.
func (c *Conn) keepPlain(o *outBuf, from int) {
	b := c.behind()
	o, from = c.loop.lasting(o, from)
	b.plain, b.from = o.b[from:], o
	c.setUnsent(int(c.unsent) + len(b.plain))
	c.engine.addPending(len(b.plain))
	c.engine.keepWithinBudget()
}

// lasting returns the rest of o, from a position on, in memory that may be kept. The rest of a batch is copied, because
// the loop gathers the next replies in the batch's memory.
func (l *loop) lasting(o *outBuf, from int) (*outBuf, int) {
	if o != &l.batch {
		return o, from
	}
	kept := outBufs.Get().(*outBuf)
	kept.b = append(kept.b, o.b[from:]...)
	return kept, 0
}

// caughtUp is called when the socket has taken the whole backlog. The queue is written next.
func (c *Conn) caughtUp() {
	c.mu.Lock()
	b := c.lazy.backlog
	c.lazy.backlog = nil
	c.unsent = 0
	c.marked = false
	c.queued.Store(c.out != nil)
	c.mu.Unlock()
	c.loop.show(b, 0)
	if b.from != nil {
		b.from.release()
	}
	*b = backlog{}
	backlogs.Put(b)
}

// progressed is called when the peer has taken something.
func (c *Conn) progressed(b *backlog) {
	now := time.Now()
	kernel := c.sock().unacknowledged()
	c.mu.Lock()
	b.stall = stall{since: now, asked: now, kernelHas: kernel}
	c.mu.Unlock()
	b.wait = c.loop.firstWait()
}

// unnotice records that no notice can reach the peer any more.
func (c *Conn) unnotice() {
	c.mu.Lock()
	c.needLazy().noticed = false
	c.mu.Unlock()
}

// lastWords offers the waiting bytes once to a socket that is about to be closed and whose peer sends no more but may
// still read. It returns the counts of the queue that it did not write.
func (c *Conn) lastWords(o *outBuf) (lost tally) {
	if c.unsent > 0 && !c.push(c.loop.wrote+noLimit/2) || c.gone {
		if o != nil {
			lost = o.tally
		}
		return lost
	}
	if o == nil {
		return lost
	}
	o.compact()
	c.callBinding(c.binding, func() { c.countSent(o) })
	if s := c.stream(); s != nil {
		if c.writeWrapped(s, o) { // the caller keeps o
			c.behind().from = nil
		}
		return tally{}
	}
	for b := o.b; len(b) > 0 && !c.gone; {
		n := c.offer(b[:min(len(b), pieceSize)], true)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	return tally{}
}

// look examines a connection with a backlog when its wait is over. Where the system tells when the socket can be
// written to, look does not try to write.
func (c *Conn) look() {
	if c.gone || c.unsent == 0 {
		return
	}
	b := c.behind()
	if b.wait < lastWait {
		b.wait++
	}
	if !b.told {
		if c.output(); c.gone || c.unsent == 0 {
			return
		}
		b = c.behind()
	}
	c.mu.Lock()
	stalled := c.stalled(b)
	c.mu.Unlock()
	c.loop.show(b, c.waiting())
	if !c.is(isAttended) {
		c.loop.lookLater(c, b)
	}
	if stalled {
		c.writeTimedOut()
	}
}

// output writes the waiting bytes, as many as the socket takes and as the turn allows. When all is written it continues
// with the end of a connection that is ending.
func (c *Conn) output() {
	most := c.loop.wrote + flushMost
	if c.unsent > 0 && !c.push(most) || c.gone {
		return
	}
	if c.state.Load() < stateBound { // the queue waits for the admission
		return
	}
	if c.flushUpTo(most); c.isEnding() && !c.queued.Load() {
		c.drain()
	}
}

// writeTimedOut is called on the loop when the peer has taken nothing for Timeouts.Write.
func (c *Conn) writeTimedOut() {
	if c.engine.cfg.SlowPolicy == SlowClose {
		c.closeBy(protocol.SlowConsumer, "the client takes nothing")
	}
}

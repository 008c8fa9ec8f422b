package engine

import (
	"bytes"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// backlog is what was handed over for a connection and its socket has not taken. Conn.unsent is its length. The engine keeps
// it, not gnet, which does not say when it has written: so what waits for a connection is known exactly, on every goroutine.
// The bytes are the loop's own; the rest is under Conn.mu.
type backlog struct {
	wire  []byte  // goes to the socket next, as it is
	plain []byte  // comes after it: frames that have yet to go through the stream
	from  *outBuf // whose memory wire, or plain, is a part of; nil when it is not a queue's
	wait  int8    // the wait until the next look, as a number of wheel.lists
	told  bool    // the system tells when more can be written
	shown int     // what of it is in the loop's sum for Stats.OutboundQueue
	stall stall
}

var backlogs = sync.Pool{New: func() any { return new(backlog) }}

const (
	// pieceSize is how many bytes a socket is offered at a time.
	pieceSize = 2 * flushSize
	// flushMost is how many bytes one flush writes before other connections have their turn.
	flushMost = 8 * flushSize
)

// offer writes b to the connection's socket, and returns how much of it the socket took. A write that fails closes the
// connection inside the call. It runs on the loop, and never with an empty b or after the connection has gone.
func (c *Conn) offer(b []byte, alone bool) (taken int) {
	if l := c.layers.Load(); l != nil {
		taken = l.sock.write(b, alone)
	} else {
		taken = c.tcp.write(b, alone)
	}
	c.loop.wrote += taken
	return taken
}

// keep notes what the socket has not taken. It runs on the loop, for a connection without a backlog.
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

// behind returns the connection's backlog. It runs on the loop, where there is one: no other goroutine changes c.lazy then.
func (c *Conn) behind() *backlog { return c.lazy.backlog }

// hasBacklog reports whether there is a backlog, also one whose last piece is being offered, which counts as taken.
func (c *Conn) hasBacklog() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lazy != nil && c.lazy.backlog != nil
}

// setUnsent says how long the backlog is. It runs on the loop, which alone changes it, and may read it without the lock.
func (c *Conn) setUnsent(n int) {
	c.mu.Lock()
	c.unsent = uint32(n)
	c.mu.Unlock()
}

// push offers the backlog to the socket, and reports whether it took all of it. A piece counts as taken while it is offered:
// a goroutine that counts the waiting bytes meanwhile must not find too many. most is how much the loop may have written.
func (c *Conn) push(most int) (all bool) {
	b := c.behind()
	for c.unsent > 0 {
		if c.loop.wrote >= most {
			c.loop.markOutput(c) // goes on when others have had their turn
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

// writeBetween writes bytes of a stream's, behind the backlog's of the same kind: they may stand between any two pieces.
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

// keepMore puts a stream's bytes behind those of a backlog.
func (c *Conn) keepMore(wire []byte) {
	b := c.behind()
	b.wire = append(b.wire, wire...)
	c.setUnsent(int(c.unsent) + len(wire))
	c.engine.addPending(len(wire))
	c.engine.keepWithinBudget()
}

// keepPlain puts what is left of o behind a backlog that has only begun, to go through the stream when its turn comes.
func (c *Conn) keepPlain(o *outBuf, from int) {
	b := c.behind()
	o, from = c.loop.lasting(o, from)
	b.plain, b.from = o.b[from:], o
	c.setUnsent(int(c.unsent) + len(b.plain))
	c.engine.addPending(len(b.plain))
	c.engine.keepWithinBudget()
}

// lasting returns what is left of o, from a place on, in memory that may be kept: the loop gathers the next replies in that of its
// batch, so that there it is a copy.
func (l *loop) lasting(o *outBuf, from int) (*outBuf, int) {
	if o != &l.batch {
		return o, from
	}
	kept := outBufs.Get().(*outBuf)
	kept.b = append(kept.b, o.b[from:]...)
	return kept, 0
}

// caughtUp says that the socket has taken the backlog. What is queued may follow.
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

// progressed says that the peer has taken something.
func (c *Conn) progressed(b *backlog) {
	now := time.Now()
	kernel := c.sock().unacknowledged()
	c.mu.Lock()
	b.stall = stall{since: now, asked: now, kernelHas: kernel}
	c.mu.Unlock()
	b.wait = c.loop.firstWait()
}

// unnotice says that the peer cannot be told any more why its connection ends.
func (c *Conn) unnotice() {
	c.mu.Lock()
	c.needLazy().noticed = false
	c.mu.Unlock()
}

// lastWords offers what waits to a socket whose peer sends no more, but may still read, before it is closed: as far as it is
// taken at once. It returns what of the queue it did not come to.
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
		if c.writeWrapped(s, o) { // o is the caller's
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

// look sees after a connection with a backlog that has waited for a while. Where the system tells when its socket can be written
// to, that is not tried.
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

// output writes what waits, as far as the socket takes it and others have their turn; where the connection is ending and all
// is written, it goes on with that.
func (c *Conn) output() {
	most := c.loop.wrote + flushMost
	if c.unsent > 0 && !c.push(most) || c.gone {
		return
	}
	if c.state.Load() < stateBound { // what is queued waits for the admission
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

package engine

import (
	"sync"

	"github.com/rollcall-go/rollcall/protocol"
)

// outBuf gathers frames that are written together, and their counts.
type outBuf struct {
	b []byte
	tally
	shared  bool           // a frame of a broadcast: the queue of many connections, never changed
	cut     int            // the offset of b in a larger array
	look    uint32         // the number of looks at the budget when addQueue counted b's memory; 0 when it was not counted as a whole
	waiting *waitingFrames // frames that may be dropped, if there are any
}

// tally is the traffic of some messages, to be added to a session's.
type tally struct {
	messages, bytes int
	typ             uint16
	upkeep          int // messages that do not count
	early           int // messages that were counted towards the rates before
}

func (t *tally) add(typ uint16, n int) {
	if typ >= protocol.FirstSystemType && (typ <= protocol.TypeClose || typ == protocol.TypePushAck || typ == protocol.TypeRenew) {
		t.upkeep++
		return
	}
	t.count(typ, n)
}

// count is add for an application's type.
func (t *tally) count(typ uint16, n int) {
	t.messages++
	t.bytes += n
	t.typ = typ
}

func (t *tally) addAll(o tally) {
	if o.messages > 0 {
		t.messages += o.messages
		t.bytes += o.bytes
		t.typ = o.typ
	}
}

var outBufs = sync.Pool{New: func() any { return new(outBuf) }}

func (o *outBuf) release() {
	if o.shared || o.cut > 0 || cap(o.b) > flushSize*2 { // the memory of one large message must not be kept for ever
		return
	}
	if o.waiting != nil {
		o.forgetWaiting()
	}
	o.b, o.tally, o.look = o.b[:0], tally{}, 0
	outBufs.Put(o)
}

// reset empties a batch, and forgets the memory that a large one took.
func (o *outBuf) reset() {
	if cap(o.b) > 4*flushSize {
		o.b = nil
	}
	o.b, o.tally = o.b[:0], tally{}
}

func (o *outBuf) append(p *outBuf) {
	if p.waiting != nil {
		o.takeWaiting(p, len(o.b))
	}
	o.b = append(o.b, p.b...)
	o.addAll(p.tally)
}

// errOverLimit means that the queue is full. The message counts as dropped already.
var errOverLimit = &protocol.CloseError{Code: protocol.SlowConsumer}

// enqueue encodes m and appends it to the queue. c.mu is held on entry.
func (c *Conn) enqueue(m *protocol.Message, o queueing) error {
	q := c.takeBuf()
	b, err := appendFrame(c.codec, q.b, m, &c.mu)
	if err != nil {
		return err
	}
	c.engine.addPending(cap(b) - cap(q.b))
	q.b = b[:len(q.b)]
	return c.put(q, b[len(q.b):], m.Type, o)
}

// put appends a frame to the connection's queue, if there is room or o's policy makes room. The frame's bytes may
// already lie right behind the queue in its memory. The error is errTooLarge, ErrDropped, or errOverLimit for a message
// that must not be dropped. c.mu is held on entry.
func (c *Conn) put(q *outBuf, frame []byte, typ uint16, o queueing) error {
	n := len(frame)
	before := q.dropped()
	if err := c.fit(q, n, typ, o); err != nil {
		return err
	}
	had := cap(q.b)
	q.b = append(q.b, frame...)
	c.engine.addPending(cap(q.b) - had)
	if o.mayDrop() {
		q.track(n, typ, o)
		c.engine.addPending(o.keyCost() + frameCost)
	}
	q.add(typ, n)
	if q.waiting != nil {
		q.compactSome(c.engine.cfg.Limits.MaxOutbound)
		c.drop(q.droppedSince(before))
	}
	c.setQueued()
	return nil
}

// setQueued marks that there is output. c.mu is held on entry.
func (c *Conn) setQueued() {
	if !c.queued.Load() { // a store costs more than a load
		c.queued.Store(true)
	}
}

// takeBuf returns the connection's queue for appending. c.mu is held on entry.
func (c *Conn) takeBuf() *outBuf {
	if c.out == nil || c.out.shared {
		c.ownBuf()
	}
	return c.out
}

// ownBuf gives the connection a queue of its own. c.mu is held on entry.
func (c *Conn) ownBuf() {
	before := c.out
	c.out = outBufs.Get().(*outBuf)
	if before != nil {
		c.out.append(before)
	}
	c.engine.addQueue(c.out)
}

// mark reports whether the loop must be told that the connection has output. c.mu is held on entry.
func (c *Conn) mark() bool {
	if c.marked || c.state.Load() < stateBound { // output before the admission waits for it
		return false
	}
	c.marked = true
	return true
}

// overflow closes a connection whose peer does not keep up. The messages over the limit count as dropped already.
func (c *Conn) overflow() { c.closeBy(protocol.SlowConsumer, tooMuchWaits) }

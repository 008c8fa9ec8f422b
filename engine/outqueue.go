package engine

import (
	"sync"

	"github.com/rollcall-go/rollcall/protocol"
)

// outBuf gathers frames that are written together, with what they count.
type outBuf struct {
	b []byte
	tally
	shared  bool           // a broadcast's: the queue of many connections, which does not change
	cut     int            // b begins so far within a larger array
	look    uint32         // the number of looks at the budget when b's memory was announced; 0 when it was not as a whole
	waiting *waitingFrames // frames that may be dropped, if there are any
}

// tally is what a run of messages adds to a session's traffic.
type tally struct {
	messages, bytes int
	typ             uint16
	upkeep          int // messages that do not count
	early           int // those of all that were counted towards the rates before
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
	if o.shared || o.cut > 0 || cap(o.b) > flushSize*2 { // one large message must not be remembered for ever
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

// errOverLimit says that the queue is full. What was to be queued counts as dropped already.
var errOverLimit = &protocol.CloseError{Code: protocol.SlowConsumer}

// enqueue encodes m and puts it behind what is queued. c.mu is held on entry.
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

// put is the door to the connection's queue: it puts a frame behind the others, where there is room or o's policy makes some.
// The frame may lie right behind the queue already. The error is ErrTooLarge; ErrDropped; or errOverLimit, which is for a
// message that may not be dropped. c.mu is held on entry.
func (c *Conn) put(q *outBuf, frame []byte, typ uint16, o queueing) error {
	n, limit := len(frame), c.engine.cfg.Limits.MaxOutbound
	over := n + o.keyCost() - (limit - q.waits() - int(c.unsent))
	before := q.dropped()
	switch {
	case o.Policy == mustGo:
	case n > limit:
		return ErrTooLarge
	case o.Policy == SlowClose:
		if over > 0 && !c.makeRoom(q, n) {
			c.drop(tally{messages: 1, bytes: n, typ: typ})
			return errOverLimit
		}
		before = q.dropped() // makeRoom has counted
	case o.Policy == SlowDropNewest && (over > 0 || c.takesNothing()), over > 0 && over > q.mayDrop():
		c.drop(tally{messages: 1, bytes: n, typ: typ})
		return ErrDropped
	default:
		if o.Policy == SlowLatest {
			over -= q.dropKey(typ, o.Key)
		}
		if over > 0 {
			q.dropOldest(over)
		}
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
		q.compactSome(limit)
		c.drop(q.droppedSince(before))
	}
	c.setQueued()
	return nil
}

// setQueued says that there is output. c.mu is held on entry.
func (c *Conn) setQueued() {
	if !c.queued.Load() { // a store costs more than a look
		c.queued.Store(true)
	}
}

// takeBuf returns the connection's queue, to be appended to. c.mu is held on entry.
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
	if c.marked || c.state.Load() < stateBound { // what is queued before admission waits for it
		return false
	}
	c.marked = true
	return true
}

// overflow closes a connection whose peer does not take what is sent. What was too much counts as dropped already.
func (c *Conn) overflow() { c.closeBy(protocol.SlowConsumer, tooMuchWaits) }

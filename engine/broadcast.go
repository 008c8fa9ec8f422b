package engine

import (
	"iter"
	"reflect"
	"sync"

	"github.com/rollcall-go/rollcall/protocol"
)

// Conns yields the connections that have been let in, each of them once. It goes through the event loops one after another, and through
// the connections of a loop in the order in which they came. This is also their order in memory, and gives each loop its part of a
// broadcast in one piece. A connection that comes or goes during the iteration may be yielded or not. Any goroutine may range over it;
// the iteration delays no other goroutine.
func (e *Engine) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		loops := e.started.Load()
		if loops == nil {
			return
		}
		last := lastConnID.Load() // so that the walk ends although connections come
		some := make([]*Conn, 0, rosterBlock)
		for _, l := range *loops {
			for id := uint64(0); id < last; {
				some = l.roster.after(id, some[:0])
				if len(some) == 0 {
					break
				}
				for _, c := range some {
					if id = c.id; id > last {
						break
					}
					if c.state.Load() == stateBound && !yield(c) {
						return
					}
				}
			}
		}
	}
}

// Broadcast sends one message to many connections. It encodes the message once for each wire format, and once for each connection with a
// codec from Listener.NewCodec. It wakes each event loop once for a thousand connections. to should not block, because the last thousand
// connections that it yielded may have to wait for their messages meanwhile. On each connection the message comes after the messages
// that were sent before.
//
// Broadcast returns the number of connections that the message was queued for. It leaves out connections that are closing or not let in
// yet. It also leaves out connections whose queue would become too long: the SlowPolicy applies to them. An error says that the message
// cannot be encoded, or is too large (protocol.MessageTooLarge), in the wire format of some connections, which are left out too.
//
// Any goroutine may call it; m may be used again when it returns. Two concurrent broadcasts, also broadcasts by handlers on two event
// loops, may reach connections in different orders: see Group of package bridge.
func (e *Engine) Broadcast(to iter.Seq[*Conn], m *protocol.Message, o *SendOptions) (n int, err error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	b := broadcast{engine: e, m: m, o: o.of(e, m), large: tooLarge(m, e.maxBody)}
	b.begin()
	defer b.end()
	for c := range to {
		b.next()
		if why := b.sendTo(c); why != nil {
			o.report(c, c.unsentFor(why))
		} else {
			n++
		}
		e.keepWithinBudget()
	}
	return n, b.err
}

// broadcast is a message on its way to many connections.
type broadcast struct {
	engine *Engine
	m      *protocol.Message
	o      queueing
	large  bool
	early  bool      // connections that are being let in get it, too
	left   []leftOut // the connections to report after the lock is released
	frames []*frame  // one for each wire format: one or two
	output *outputLists
	since  int   // connections since the last flush
	began  int64 // when the last flush was
	err    error
}

func (b *broadcast) begin() {
	b.output = outputs.Get().(*outputLists)
	b.began = b.engine.clock.Coarse()
}

func (b *broadcast) end() {
	b.output.flush()
	outputs.Put(b.output)
}

// next counts a connection, and tells the loops what to write after many connections or a long time.
func (b *broadcast) next() {
	if b.since++; b.since > flushEvery || b.began != b.engine.clock.Coarse() {
		b.output.flush()
		b.since, b.began = 1, b.engine.clock.Coarse()
	}
}

// sendTo queues the message for a connection. An error says why it is left out, as unsentFor takes it.
func (b *broadcast) sendTo(c *Conn) error {
	if own := c.ownCodec(); own != nil && !b.large {
		if !b.takes(c.state.Load()) {
			return ErrClosed
		}
		return c.queueOwn(own, b.m, b.o, nil)
	}
	if b.large {
		b.err = errTooLarge
		return errTooLarge
	}
	f, err := frameOf(&b.frames, c.codec, b.m)
	if err == nil && len(f.b) > b.engine.cfg.Limits.MaxOutbound {
		err = errTooLarge
	}
	if err != nil {
		b.err = err
		return err
	}
	if len(f.b) > c.maxFrame || tooLarge(b.m, c.maxBody) {
		return errTooLarge
	}
	if b.o.Unreliable && c.codec == protocol.Binary {
		if sent, err := c.queueApart(f.b, f.typ); sent {
			return err
		}
	}
	mark, err := b.enqueueFrame(c, f)
	if mark {
		b.output.add(c)
	}
	return err
}

// takes reports whether a connection in that state gets the message.
func (b *broadcast) takes(state uint32) bool {
	return state == stateBound || b.early && state == stateVerifying
}

// unsentFor closes a connection that a message was not queued for, when it does not keep up or when its codec cannot go
// on. It returns the error for the sender. No lock is held on entry.
func (c *Conn) unsentFor(why error) error {
	if why == errOverLimit {
		c.overflow()
		return ErrClosed
	}
	if own := c.ownCodec(); own != nil && own.isBroken(c) {
		c.closeBy(protocol.InternalError, "the codec failed")
	}
	return why
}

// flushEvery is the number of connections after which the loops are told to write. Where to is slow they are told after
// a quarter of a second of the clock. Until then everything that is sent to those connections waits, replies too.
const flushEvery = 1000

// outputLists holds, for each loop, the connections that a broadcast has queued output for. The lists are reused: for
// ten thousand connections they would otherwise be a quarter of a megabyte of garbage for each broadcast.
type outputLists []outputList

type outputList struct {
	loop  *loop
	conns []*Conn
}

var outputs = sync.Pool{New: func() any { return new(outputLists) }}

func (o *outputLists) add(c *Conn) {
	for i := range *o { // there are as many as processors
		l := &(*o)[i]
		if l.loop == nil {
			l.loop = c.loop
		}
		if l.loop == c.loop {
			l.conns = append(l.conns, c)
			return
		}
	}
	*o = append(*o, outputList{c.loop, []*Conn{c}})
}

// flush tells the loops to write, and empties the lists.
func (o *outputLists) flush() {
	for i := range *o {
		l := &(*o)[i]
		if l.loop == nil {
			break
		}
		l.loop.markBroadcast(l.conns)
		clear(l.conns)
		l.loop, l.conns = nil, l.conns[:0]
	}
}

// frame is a message as it goes out, shared by many connections and never changed.
type frame struct {
	codec protocol.Codec
	outBuf
}

// frameOf returns m in a wire format, encoded once.
func frameOf(frames *[]*frame, codec protocol.Codec, m *protocol.Message) (*frame, error) {
	binary := codec == protocol.Binary
	known := binary || reflect.ValueOf(codec).Comparable() // a codec that cannot be compared counts as a different one each time
	if known {
		for _, f := range *frames {
			if binary && f.codec == protocol.Binary {
				return f, nil
			}
			if !binary && f.codec == codec {
				return f, nil
			}
		}
	}
	b, err := appendFrame(codec, nil, m, nil)
	if err != nil {
		return nil, err
	}
	f := &frame{codec: codec, outBuf: outBuf{b: b, shared: true}}
	f.add(m.Type, len(b))
	if known {
		*frames = append(*frames, f)
	}
	return f, nil
}

// enqueueFrame appends a frame to the queue. Where the queue is empty the shared frame itself becomes the queue, unless
// it may be dropped: then the connection needs a queue of its own to note that. enqueueFrame reports whether the loop
// must be told, and the error if the frame was not queued.
func (b *broadcast) enqueueFrame(c *Conn, f *frame) (mark bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.takes(c.state.Load()) {
		return false, ErrClosed
	}
	if c.out == nil && !b.o.mayDrop() && len(f.b) <= c.engine.cfg.Limits.MaxOutbound-int(c.unsent) {
		c.out = &f.outBuf
		c.setQueued()
	} else {
		err = c.put(c.takeBuf(), f.b, f.typ, b.o)
	}
	return err == nil && c.mark(), err
}

package engine

import (
	"math"
	"slices"
	"sync"

	"github.com/rollcall-go/rollcall/protocol"
)

// fit makes room in the queue for a frame of n bytes as o's policy says, by dropping frames that wait. An error says that the frame must
// not be queued, and why: errTooLarge, ErrDropped, or errOverLimit. c.mu is held on entry.
func (c *Conn) fit(q *outBuf, n int, typ uint16, o queueing) error {
	limit := c.engine.cfg.Limits.MaxOutbound
	over := n + o.keyCost() - (limit - q.waits() - int(c.unsent)) // bytes that must go
	switch {
	case o.Policy == mustGo:
		return nil
	case n > c.maxFrame:
		return errTooLarge
	case o.Policy == SlowDropNewest && (over > 0 || c.takesNothing()), over > 0 && over > q.mayDrop():
		c.drop(tally{messages: 1, bytes: n, typ: typ})
		if o.Policy == SlowClose {
			return errOverLimit
		}
		return ErrDropped
	case o.Policy == SlowLatest:
		over -= q.dropKey(typ, o.Key)
	}
	if over > 0 {
		q.dropOldest(over)
	}
	return nil
}

// droppable reports whether a policy may drop a message. It may drop none that someone waits for or that the protocol
// needs.
func droppable(m *protocol.Message, explicit bool) bool {
	switch {
	case m.IsReply(), m.Type >= protocol.FirstSystemType && m.Type != protocol.TypePush:
		return false
	case m.ID != 0, m.Type == protocol.TypePush:
		return explicit
	}
	return true
}

// makeRoom drops messages that may be dropped until n more bytes fit into the queue, if that is enough. c.mu is held on entry.
func (c *Conn) makeRoom(q *outBuf, n int) bool {
	over := n - (c.engine.cfg.Limits.MaxOutbound - q.waits() - int(c.unsent))
	if over > q.mayDrop() {
		return false
	}
	if over > 0 {
		before := q.dropped()
		q.dropOldest(over)
		q.compactSome(c.engine.cfg.Limits.MaxOutbound)
		c.drop(q.droppedSince(before))
	}
	return true
}

// waitingFrames has the positions of the frames in a queue that may be dropped. A queue has waitingFrames only while it
// has such frames. A dropped frame stays in the queue's bytes until enough bytes are dead to be worth copying the
// others.
type waitingFrames struct {
	frames []waitingFrame
	first  int                  // frames before this one are dead
	latest map[latestKey]uint32 // the number of the live frame with a key
	most   int                  // the most keys that latest has had: a map never shrinks
	last   uint32               // the last frame's number
	dead   int                  // bytes of dead frames in the queue
	live   int                  // bytes of the live frames, with their keys
	keys   int                  // bytes of the keys alone
	lost   tally                // all that was dropped
}

type waitingFrame struct {
	at, n, number uint32
	typ           uint16
	live          bool
	keyed         bool // it is in latest
	key           string
}

// frameCost is the memory of a frame that may be dropped, with its place in latest, besides its bytes and its key.
const frameCost = 96

type latestKey struct {
	typ uint16
	key string
}

var waitingFramesPool = sync.Pool{New: func() any { return new(waitingFrames) }}

// waits returns the number of bytes that are to be sent, with the keys that are kept for them.
func (o *outBuf) waits() int {
	if o.waiting == nil {
		return len(o.b)
	}
	return len(o.b) - o.waiting.dead + o.waiting.keys
}

// memory returns the memory of the queue, without its spare capacity.
func (o *outBuf) memory() int {
	if o.waiting == nil {
		return len(o.b)
	}
	return len(o.b) + o.waiting.keys + len(o.waiting.frames)*frameCost
}

// mayDrop returns how many bytes of the queue may be dropped.
func (o *outBuf) mayDrop() int {
	if o.waiting == nil {
		return 0
	}
	return o.waiting.live
}

// dropped returns the counts of all frames that were dropped so far.
func (o *outBuf) dropped() tally {
	if o.waiting == nil {
		return tally{}
	}
	return o.waiting.lost
}

// droppedSince returns the counts of the frames that were dropped after dropped had returned before.
func (o *outBuf) droppedSince(before tally) tally {
	t := o.dropped()
	t.messages -= before.messages
	t.bytes -= before.bytes
	return t
}

// track notes that the queue's last n bytes are a frame that may be dropped.
func (o *outBuf) track(n int, typ uint16, opts queueing) {
	at := len(o.b) - n
	if len(o.b) > math.MaxUint32/2 {
		return
	}
	if o.waiting == nil {
		o.waiting = waitingFramesPool.Get().(*waitingFrames)
	}
	w := o.waiting
	w.last++
	f := waitingFrame{at: uint32(at), n: uint32(n), number: w.last, typ: typ, live: true}
	if opts.Policy == SlowLatest {
		f.keyed, f.key = true, opts.Key
		if w.latest == nil {
			w.latest = make(map[latestKey]uint32)
		}
		w.latest[latestKey{typ, f.key}] = w.last
		w.most = max(w.most, len(w.latest))
		w.keys += len(f.key)
	}
	w.frames = append(w.frames, f)
	w.live += n + len(f.key)
}

// forgetKey removes a frame's key from latest.
func (w *waitingFrames) forgetKey(f *waitingFrame) {
	if !f.keyed {
		return
	}
	delete(w.latest, latestKey{f.typ, f.key})
	w.keys -= len(f.key)
	f.keyed, f.key = false, ""
	if len(w.latest) == 0 && w.most > 1024 {
		w.latest, w.most = nil, 0
	}
}

// dropOldest drops frames, the oldest first, until n bytes are free.
func (o *outBuf) dropOldest(n int) {
	w := o.waiting
	for ; n > 0 && w.first < len(w.frames); w.first++ {
		n -= o.dropFrame(&w.frames[w.first])
	}
}

// dropKey drops the frame with this key, if one waits, and returns the length of the frame and its key.
func (o *outBuf) dropKey(typ uint16, key string) (n int) {
	w := o.waiting
	if w == nil {
		return 0
	}
	number, ok := w.latest[latestKey{typ, key}]
	if !ok {
		return 0
	}
	i, ok := slices.BinarySearchFunc(w.frames, number, func(f waitingFrame, number uint32) int { return int(f.number) - int(number) })
	if !ok {
		return 0
	}
	return o.dropFrame(&w.frames[i])
}

// dropFrame drops a frame and returns its length, with its key.
func (o *outBuf) dropFrame(f *waitingFrame) (took int) {
	if !f.live {
		return 0
	}
	w, n := o.waiting, int(f.n)
	took = n + len(f.key)
	w.forgetKey(f)
	f.live = false
	w.dead += n
	w.live -= took
	w.lost.count(f.typ, n)
	o.messages--
	o.bytes -= n
	return took
}

// compactSome removes the dead frames when there are many, so that each byte is copied a few times at most.
func (o *outBuf) compactSome(limit int) {
	if w := o.waiting; w != nil && w.dead > 4<<10 && (w.dead > len(o.b)/2 || len(o.b) > limit && w.dead > limit/4) {
		o.compact()
	}
}

// compact removes the dead frames from the queue.
func (o *outBuf) compact() {
	w := o.waiting
	if w == nil || w.dead == 0 {
		return
	}
	to, from := 0, 0
	kept := w.frames[:0]
	for _, f := range w.frames {
		if !f.live {
			to += copy(o.b[to:], o.b[from:f.at])
			from = int(f.at + f.n)
			continue
		}
		f.at -= uint32(from - to)
		kept = append(kept, f)
	}
	to += copy(o.b[to:], o.b[from:])
	o.b = o.b[:to]
	clear(w.frames[len(kept):])
	w.frames, w.first, w.dead = kept, 0, 0
}

// split cuts the queue at the first frame that may be dropped and that begins at n or later, and returns the part
// before it; nil when there is no such frame. The positions of other frames are not known, so all of them count with
// the part that is cut off. The queue is compact.
func (o *outBuf) split(n int) *outBuf {
	w := o.waiting
	i, _ := slices.BinarySearchFunc(w.frames, n, func(f waitingFrame, at int) int { return int(f.at) - at })
	if i == len(w.frames) {
		return nil
	}
	cut := w.frames[i].at
	part := outBufs.Get().(*outBuf)
	part.b = append(part.b, o.b[:cut]...)
	part.tally, o.tally = o.tally, tally{}
	if o.b, o.cut, o.look = o.b[cut:], o.cut+int(cut), 0; len(o.b) < (o.cut+cap(o.b))/4 {
		o.b, o.cut = slices.Clone(o.b), 0 // so that a few bytes do not keep a large array
	}
	for j := range w.frames[:i] {
		f := &w.frames[j]
		w.live -= int(f.n) + len(f.key)
		w.forgetKey(f)
	}
	n = copy(w.frames, w.frames[i:])
	clear(w.frames[n:])
	w.frames = w.frames[:n]
	for j := range w.frames {
		f := &w.frames[j]
		f.at -= cut
		o.count(f.typ, int(f.n))
	}
	part.messages -= o.messages
	part.bytes -= o.bytes
	return part
}

// takePart takes the beginning of a queue with droppable frames, and leaves the rest queued, because frames that were
// handed over cannot be dropped any more. c.mu is held on entry.
func (c *Conn) takePart(q *outBuf) (part *outBuf, more bool) {
	q.compact()
	part = q.split(flushSize)
	if part == nil {
		return q, false
	}
	c.out = q
	c.queued.Store(true)
	return part, true
}

// takeWaiting takes over p's positions of the frames that may be dropped. p's bytes now lie in o's bytes from at on.
func (o *outBuf) takeWaiting(p *outBuf, at int) {
	for i := range p.waiting.frames {
		p.waiting.frames[i].at += uint32(at)
	}
	o.waiting, p.waiting = p.waiting, nil
}

// forgetWaiting is called when the queue was handed over: no frame of it may be dropped any more.
func (o *outBuf) forgetWaiting() {
	w := o.waiting
	o.waiting = nil
	if cap(w.frames) > 4096 || w.most > 1024 { // the memory of a large queue must not be kept for ever
		return
	}
	clear(w.latest)
	clear(w.frames)
	*w = waitingFrames{frames: w.frames[:0], latest: w.latest, most: w.most}
	waitingFramesPool.Put(w)
}

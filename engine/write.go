package engine

import (
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

// flushSize is how many bytes of replies are gathered in one read before they are written.
const flushSize = 64 << 10

// outBuf gathers frames that are written together, with what they count.
type outBuf struct {
	b []byte
	tally
	shared  bool           // a broadcast's: the queue of many connections, which nobody changes
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
	if typ >= protocol.FirstSystemType && (typ <= protocol.Close || typ == protocol.PushAck || typ == protocol.Renew) {
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

// appendFrame encodes m. The switch keeps m from escaping to the heap with the codec that nearly everyone uses. held is the
// lock that the caller holds, or nil.
func appendFrame(codec protocol.Codec, dst []byte, m *protocol.Message, held *sync.Mutex) ([]byte, error) {
	if _, ok := codec.(protocol.BinaryCodec); ok {
		return protocol.Binary.Append(dst, m)
	}
	escapes := *m
	return appendForeign(codec, dst, &escapes, held)
}

// appendForeign makes a panic in a codec that is not ours an error: its callers hold locks, or are goroutines of ours. A
// Goexit ends the goroutine of the application's that sends, without the lock; where the engine itself has a connection's
// answer to a Logon or its Close to send, it goes on with an error.
func appendForeign(codec protocol.Codec, dst []byte, m *protocol.Message, held *sync.Mutex) (b []byte, err error) {
	failed := func(v any) {
		b, err = dst, contain.Error("the codec", v)
	}
	if m.Type == protocol.Close || m.Type == protocol.Logon {
		contain.Apart(func() { b, err = codec.Append(dst, m) }, failed)
		return b, err
	}
	contain.Call(func() { b, err = codec.Append(dst, m) }, func(v any) {
		if v == contain.Exited && held != nil {
			held.Unlock()
		}
		failed(v)
	})
	return b, err
}

// Send sends a message of the application's to the client. It never blocks, and copies the body. An error says that the
// message will not arrive: ErrClosed, also when the message was one too many for the outbound limit, which closes the
// connection with SlowConsumer; ErrDropped, where Config.SlowPolicy says that the message is dropped instead; ErrTooLarge;
// that the type is the system's, which SendMessage takes; or why it cannot be encoded. Without one it is on its way, unless a
// policy takes it away later: see SendWith.
func (c *Conn) Send(typ uint16, body []byte) error {
	c.mu.Lock()
	if !c.enqueuePlain(typ, body) {
		c.mu.Unlock()
		if typ >= protocol.FirstSystemType {
			return fmt.Errorf("rollcall: message type 0x%04x is the system's", typ)
		}
		return c.SendMessage(&protocol.Message{Type: typ, Body: body})
	}
	mark := c.mark()
	c.mu.Unlock()
	if mark {
		c.loop.markOutput(c)
		c.engine.keepWithinBudget()
	}
	return nil
}

// enqueuePlain is enqueue and put for nearly every message that is sent: of the application's, in the binary format, and the queue
// has room for it. It reports whether it was all that. Without it Send takes 23 ns instead of 13. c.mu is held on entry.
func (c *Conn) enqueuePlain(typ uint16, body []byte) bool {
	if _, binary := c.codec.(protocol.BinaryCodec); !binary || c.state.Load() >= stateHalfClosed || len(body) > c.engine.maxBody {
		return false
	}
	o := c.takeBuf()
	at, end := len(o.b), min(cap(o.b), c.engine.plainLimit-int(c.unsent))
	if at >= end || o.waiting != nil {
		return false
	}
	n := protocol.Binary.PutPlain(o.b[at:end], typ, 0, 0, body)
	if n == 0 {
		return false
	}
	o.b = o.b[:at+n]
	o.count(typ, n)
	c.setQueued()
	return true
}

// SendMessage sends any message: with a sender's UserID, with flags, of a system type. m and its body may be used again when
// it returns. See Send and, for another policy than SlowClose, SendWith.
func (c *Conn) SendMessage(m *protocol.Message) error { return c.SendWith(m, SendOptions{}) }

// Reply answers m, a message that a handler of this connection got. Replies to the messages of one read go out in one
// write. It is sent even when m's ID is 0, which says that the sender expects none. The body is copied. The error is
// ErrClosed, ErrTooLarge, or why the reply cannot be encoded; with the last two a sender that waits, with an ID, is told
// HandlerFailed in place of the answer. No policy drops a reply. On an event loop m is lent until its handler returns: a reply that
// is known to come later is ErrMessageOver, and not sent; see Handler.
func (c *Conn) Reply(m *protocol.Message, body []byte) error {
	l := c.loop
	if l.delivers(c, m) && !c.queued.Load() && c.state.Load() < stateClosing && len(l.batch.b) < l.room && len(body) <= l.maxBody {
		// What reply would come to, for nearly every message: the caller stands on the loop.
		at := len(l.batch.b)
		if n := protocol.Binary.PutPlain(l.batch.b[at:l.room], m.Type, protocol.FlagReply, m.ID, body); n > 0 {
			l.batch.b = l.batch.b[:at+n]
			l.batch.count(m.Type, n)
			return nil
		}
	}
	if l.tookBack(m) {
		return c.repliesTooLate()
	}
	return c.reply(m, protocol.FlagReply, body)
}

// takeRoom says how much the batch takes without being asked: no more than the memory that it has, and than may wait.
func (l *loop) takeRoom(binary bool) {
	l.room, l.maxBody = 0, l.engine.maxBody
	if binary && l.engine.limits&limitRequests == 0 { // or else reply counts
		l.room = min(cap(l.batch.b), l.engine.cfg.OutboundLimit)
	}
}

// ReplyError tells the sender of m that what it asked for failed. A code from 3000 on in why (a protocol.CloseCode, or a
// *protocol.CloseError, with its text and Info) is what the sender gets. Any other error is not for clients to read: the sender
// gets HandlerFailed without a text, and Config.Logger the error, at level info, which the default Logger leaves out. Where
// m's ID is 0 the sender could not tell what the error belongs to, and none is sent; nor where m is a reply itself. The result
// is Reply's.
func (c *Conn) ReplyError(m *protocol.Message, why error) error {
	if c.loop.tookBack(m) {
		return c.repliesTooLate()
	}
	var ce *protocol.CloseError
	if !errors.As(why, &ce) || ce == nil || ce.Code < leastAnswer {
		c.engine.log.Info("a handler failed", zapConn(c), zap.Uint16("type", m.Type), zapError(why))
		ce = &protocol.CloseError{Code: protocol.HandlerFailed}
	}
	if m.ID == 0 || m.IsReply() {
		return nil
	}
	return c.reply(m, protocol.FlagReply|protocol.FlagError, protocol.AppendClose(nil, ce))
}

// leastAnswer is the lowest code that may answer a request: those below are about connections.
const leastAnswer protocol.CloseCode = 3000

// sendReply sends an answer to m. When m is the message that the loop is delivering the caller stands on the loop, and the
// answer joins the batch of the read at hand, without a lock; unless something is queued before it.
func (c *Conn) sendReply(m *protocol.Message, flags protocol.Flags, body []byte) error {
	l := c.loop
	if !l.delivers(c, m) || c.queued.Load() || c.ownCodec() != nil {
		return c.SendMessage(&protocol.Message{Type: m.Type, Flags: flags, ID: m.ID, Body: body})
	}
	if c.state.Load() >= stateClosing {
		return ErrClosed
	}
	if len(body) > l.engine.maxBody && flags&protocol.FlagError == 0 {
		return ErrTooLarge
	}
	b, err := c.appendReply(l.batch.b, m, flags, body)
	if err != nil {
		return err
	}
	n := len(b) - len(l.batch.b)
	if limit := l.engine.cfg.OutboundLimit; len(b) > limit {
		if n > limit {
			return ErrTooLarge
		}
		c.mu.Lock()
		c.drop(tally{messages: 1, bytes: n, typ: m.Type})
		c.mu.Unlock()
		c.overflow()
		return ErrClosed
	}
	l.batch.b = b
	_, binary := c.codec.(protocol.BinaryCodec)
	l.takeRoom(binary)
	l.batch.add(m.Type, n) // written when the handler has returned: a write that fails frees what m.Body is a part of
	return nil
}

// appendReply encodes the reply to m. With the codec that nearly everyone uses there is no Message in between: half the time.
func (c *Conn) appendReply(dst []byte, m *protocol.Message, flags protocol.Flags, body []byte) ([]byte, error) {
	if _, ok := c.codec.(protocol.BinaryCodec); ok {
		return protocol.Binary.AppendReply(dst, m, flags, body)
	}
	return appendFrame(c.codec, dst, &protocol.Message{Type: m.Type, Flags: flags, ID: m.ID, Body: body}, nil)
}

// tooLarge reports whether m's body is larger than the peer takes. A Close, the answer to a Logon and an error reply are the
// server's own words, and go out in any case.
func (e *Engine) tooLarge(m *protocol.Message) bool {
	return len(m.Body) > e.maxBody && m.Flags&protocol.FlagError == 0 && (m.Type < protocol.FirstSystemType || m.Type > protocol.Close)
}

// errOverLimit says that the queue is full. What was to be queued counts as dropped already.
var errOverLimit = &protocol.CloseError{Code: protocol.SlowConsumer}

// enqueue encodes m and puts it behind what is queued. c.mu is held on entry.
func (c *Conn) enqueue(m *protocol.Message, o SendOptions) error {
	q := c.takeBuf()
	b, err := appendFrame(c.codec, q.b, m, &c.mu)
	if err != nil {
		return err
	}
	c.engine.grew(cap(b) - cap(q.b))
	q.b = b[:len(q.b)]
	return c.put(q, b[len(q.b):], m.Type, o)
}

// put is the door to the connection's queue: it puts a frame behind the others, where there is room or o's policy makes some.
// The frame may lie right behind the queue already. The error is ErrTooLarge; ErrDropped; or errOverLimit, which is for a
// message that may not be dropped. c.mu is held on entry.
func (c *Conn) put(q *outBuf, frame []byte, typ uint16, o SendOptions) error {
	n, limit := len(frame), c.engine.cfg.OutboundLimit
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
	c.engine.grew(cap(q.b) - had)
	if o.mayDrop() {
		q.track(n, typ, o)
		c.engine.grew(o.keyCost() + frameCost)
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
	c.engine.took(c.out)
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
func (c *Conn) overflow() { c.Close(protocol.SlowConsumer, tooMuchWaits) }

// flushBatch writes the replies of the read at hand. It runs on the loop.
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
	c.engine.grew(len(batch.b))
	c.queued.Store(true)
	over := !c.makeRoom(front, 0)
	c.mu.Unlock()
	if over {
		c.Close(protocol.SlowConsumer, tooMuchWaits)
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
	c.engine.gaveBack(o)
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
		c.loop.out.add(o.tally)
		if c.userBound {
			c.binding.Sent(o.typ, o.messages, o.bytes)
		}
	}
}

package engine

import (
	"math"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// read is called when bytes have come. It runs on the loop, like all functions in this file.
func (l *loop) read(c *Conn) {
	switch c.state.Load() {
	case stateVerifying:
		if c.buffered() > l.engine.cfg.Limits.MaxEarly {
			c.closeBy(protocol.RateLimited, "too much was sent before the logon was answered")
			c.discard(-1)
		}
	case stateClosing, stateClosed, stateEnded:
		c.discard(-1)
	default:
		l.process(c, nil)
	}
	if l.engine.limits&limitMemory != 0 {
		c.noteInbound()
		if l.short.Load() {
			l.freeOverBudget(freesBetween)
		}
	}
}

// process delivers first, when it is not nil, and then every whole frame that is buffered, in one pass.
func (l *loop) process(c *Conn, first *protocol.Message) {
	if c.gone {
		return
	}
	if c.quiet.Load() {
		c.discard(-1)
		return
	}
	if lease := l.engine.lease; lease != nil && c.pastLease(lease) {
		c.discard(-1)
		return
	}
	var in tally
	l.working = true
	if l.messages.lent == nil {
		l.messages.init()
	}
	defer l.processed(c, &in)
	var g *gathering
	again := c.need > 0
	if again {
		var ask bool
		if g, ask = c.lookAgain(); !ask && first == nil {
			l.beat(c, false)
			if l.engine.limits&limitRate != 0 {
				c.checkRate(0, 0)
			}
			l.working = false
			return
		}
	}
	l.current = c
	used := l.deliverAll(c, first, g, &in)
	if !c.gone {
		c.looked(g, used, again)
	}
	l.delivered(c, used, &in)
	l.working = false
}

// delivered counts the delivered messages, of used bytes in total, and sends the replies to them.
func (l *loop) delivered(c *Conn, used int, in *tally) {
	l.count(c, in)
	l.beat(c, used > 0)
	l.answer(c, used, in)
}

// count counts the delivered messages.
func (l *loop) count(c *Conn, in *tally) {
	l.current = nil
	if in.messages > 0 {
		in.addTo(&l.in)
		if c.userBound {
			c.binding.Received(in.typ, in.messages, in.bytes)
		}
	}
}

// answer sends the replies to the delivered messages.
func (l *loop) answer(c *Conn, used int, in *tally) {
	c.flushBatch()
	if c.queued.Load() && c.unsent == 0 && c.state.Load() >= stateBound { // the client's own answers go out before the loop writes to other connections
		c.flush()
	}
	if l.engine.limits&limitRate != 0 {
		c.checkRate(in.messages+in.upkeep-in.early, used)
	}
	if !c.gone && c.state.Load() >= stateClosing {
		c.discard(-1)
	}
}

// processed is deferred by process. After a panic or a Goexit in a handler, a codec or a Binding it closes that
// connection, and no other.
func (l *loop) processed(c *Conn, in *tally) {
	if v := contain.Failure(recover(), !l.working); v != nil {
		c.handlerPanicked(v)
		if l.current == c { // the messages that were delivered before, and their replies, count
			got := *in // a copy, so that in stays on the stack
			contain.Apart(func() { l.delivered(c, 0, &got) }, c.handlerPanicked)
		}
		l.current = nil
		l.batch.reset()
		if !c.gone {
			c.discard(-1)
		}
		l.working, l.exiting = false, v == contain.Exited
	}
	if c.is(isEndPending) {
		c.endDelivered()
	}
}

// beat reports a sign of life: a whole frame, or bytes of a frame that has not taken too long.
func (l *loop) beat(c *Conn, progress bool) {
	if c.state.Load() != stateBound || !c.userBound {
		return
	}
	if c.gone || c.buffered() == 0 {
		if c.unfinished { // a load costs less than a store that changes nothing
			c.unfinished = false
		}
		c.binding.Beat()
		return
	}
	now := l.millis()
	if l.parts-c.lastOut >= pulseParts {
		c.showLife()
	}
	switch {
	case progress || !c.unfinished:
		c.unfinished, c.unfinishedSince = true, now
	case time.Duration(now-c.unfinishedSince)*time.Millisecond >= l.engine.cfg.Timeouts.UnfinishedFrame:
		return
	}
	c.binding.Beat()
}

// deliverAll delivers the frames in g or, where g is nil, in the socket's buffer. It returns how many bytes they took.
func (l *loop) deliverAll(c *Conn, first *protocol.Message, g *gathering, in *tally) (used int) {
	if first != nil {
		if !c.delivers() {
			return 0
		}
		n := int(c.unfinishedSince) // unfinishedSince has the first frame's size until now
		in.add(first.Type, n)
		in.early = 1
		c.deliver(first, n)
		if !c.delivers() || c.buffered() == 0 {
			return 0
		}
	}
	cfg := &l.engine.cfg
	opts := protocol.DecodeOptions{MaxBody: cfg.Limits.MaxBody}
	var buf []byte
	if g != nil {
		buf, opts.Seen, g.need = g.b, g.seen, 0
	} else {
		buf = c.peek()
	}
	if c.state.Load() == stateAccepted {
		opts.First, opts.MaxFrame = true, cfg.Limits.MaxFirstFrame
	}
	binary := c.codec == protocol.Binary
	plain := binary && l.engine.pool == nil && l.engine.limits&limitRequests == 0
	l.takeRoom(c, binary)
	for used < len(buf) {
		if plain && !opts.First {
			n, more := l.deliverPlain(c, buf[used:], in)
			if used += n; !more {
				return used
			}
			if used == len(buf) {
				break
			}
		}
		var n, need int
		var err error
		m := l.messages.next()
		m.UserID = c.userID
		if binary { // a direct call costs no look-up for each message
			n, need, err = protocol.Binary.Decode(buf[used:], m, opts)
		} else {
			n, need, err = c.decode(buf[used:], m, opts)
		}
		if err != nil {
			c.decodeFailed(err)
			return used
		}
		if n <= 0 {
			need = min(max(need, len(buf)-used+1), math.MaxInt32)
			if g != nil {
				g.need = need
			} else {
				c.need = uint32(need)
			}
			return used
		}
		used += n
		opts.Seen = 0
		if opts.First {
			if g == nil {
				c.need = 0
			}
			if !c.firstMessage(m, n) { // the rest waits until the Admission has decided
				in.upkeep++
				return used
			}
			opts.First, opts.MaxFrame = false, 0
		}
		if m.UserID != c.userID && c.userBound {
			if c.is(isStrict) && m.UserID != "" {
				c.closeBy(protocol.WrongUserID, "the message carries another user's ID")
				return used
			}
			m.UserID = c.userID
		}
		in.add(m.Type, n)
		c.deliver(m, n)
		if len(l.batch.b) >= flushSize {
			c.flushBatch()
			l.takeRoom(c, binary)
		}
		if !c.delivers() {
			return used
		}
	}
	if g == nil {
		c.need = 0
	}
	return used
}

// deliverPlain delivers plain frames, which nearly all frames are, up to one that is not plain or has no handler. It
// returns how many bytes they took, and whether the next message may be delivered. It has the same effect as
// deliverAll, but is faster: with Reply's short way a message takes 15 ns instead of 23.
func (l *loop) deliverPlain(c *Conn, buf []byte, in *tally) (used int, more bool) {
	maxBody := l.engine.cfg.Limits.MaxBody
	var h Handler
	var of uint16 // h's message type
	for next := l.messages.lent.next; ; next = next.next {
		p, n := layout.DecodePlain(buf[used:], maxBody)
		if n == 0 {
			return used, true
		}
		if p.Type != of {
			of = p.Type
			if h = l.engine.handlers.lookup(of); h == nil {
				return used, true
			}
			in.typ = of
		}
		m := &next.Message
		m.Type, m.Flags, m.ID, m.Device = of, 0, p.ID, p.Device
		// All pointers are set together, because each run of them costs a check of the garbage collector's write
		// barrier.
		l.messages.lent, m.UserID, m.DestUserID, m.Body = next, c.userID, "", buf[used+layout.HeaderLen:used+n:used+n]
		used += n
		in.messages++
		in.bytes += n
		if err := h(c, m); err != nil {
			c.handlerFailed(m, err)
		}
		if len(l.batch.b) >= flushSize {
			c.flushBatch()
			l.takeRoom(c, true)
		}
		if !c.delivers() {
			return used, false
		}
	}
}

// delivers reports whether the next message may be delivered.
func (c *Conn) delivers() bool {
	return c.state.Load()-stateBound <= stateHalfClosed-stateBound && !c.quiet.Load()
}

// firstMessage handles a connection's first message, of n bytes. It reports whether the message is to be delivered now.
func (c *Conn) firstMessage(m *protocol.Message, n int) bool {
	e := c.engine
	c.mu.Lock()
	if c.state.Load() != stateAccepted {
		c.mu.Unlock()
		return false
	}
	c.stopTimer()
	if e.admission == nil {
		c.setState(stateBound)
		c.mu.Unlock()
		return true
	}
	c.setState(stateVerifying)
	c.readLater()
	c.unfinishedSince = uint32(min(n, math.MaxInt32))
	c.mu.Unlock()
	if m.Type == protocol.TypeClose {
		c.closeBy(protocol.ClientClosed, "")
		return false
	}
	b := e.admission.First(Control{c}, m)
	if b == nil {
		b = noBinding{}
	}
	c.mu.Lock()
	if c.binding == nil { // otherwise Admit has set another one already
		c.binding = b
	}
	over := c.state.Load() >= stateClosing
	c.mu.Unlock()
	if over {
		c.tellEnd()
	}
	return false
}

// deliver hands one message of n bytes to its handler, or to the request that it answers. Upkeep and replies never wait
// behind a handler.
func (c *Conn) deliver(m *protocol.Message, n int) {
	switch {
	case m.IsReply() && (m.DestUserID == "" || m.DestUserID == protocol.ServerID): // to the server itself
		c.answered(m)
	case m.Type == protocol.TypeHeartbeat:
		if m.ID != 0 && !m.IsReply() {
			_ = c.Reply(m, nil)
		}
	case m.Type == protocol.TypeLogon && c.engine.admission != nil && !m.IsReply():
		c.closeBy(protocol.InvalidMessage, "a second Logon on one connection")
	case m.Type > protocol.TypeClose && !m.IsReply() && c.engine.handlers.system[m.Type] != nil:
		if m.Type == protocol.TypeRenew && n > c.engine.cfg.Limits.MaxFirstFrame { // a Renew waits for an authenticator, as a Logon does
			c.closeBy(protocol.MessageTooLarge, "the renewal is larger than a first frame may be")
			return
		}
		if err := c.engine.handlers.system[m.Type](c, m); err != nil {
			c.handlerFailed(m, err)
		}
	case c.engine.limits&limitRequests != 0 && c.requested(m):
	case c.box != nil:
		c.box.put(c, item{message: m.Clone(), size: n})
	default:
		c.handle(m)
	}
}

// handle runs the message's handler. It runs on the loop, or on a worker.
func (c *Conn) handle(m *protocol.Message) {
	if m.Type == protocol.TypeClose {
		c.closeBy(protocol.ClientClosed, "")
		return
	}
	if m.Type > protocol.TypeClose || m.Type == protocol.TypeLogon && (m.IsReply() || m.DestUserID != "") {
		// A system message never goes to the application's handlers, which might relay it. Without an Admission a Logon
		// is delivered like any first message.
		_ = c.ReplyError(m, protocol.Errorf(protocol.NoHandler, "the server does not know this system message"))
		return
	}
	h := c.engine.handlers.addressed
	if !c.engine.handlers.relays(m) {
		h = c.engine.handlers.lookup(m.Type)
	}
	if h == nil {
		c.noHandler(m)
		return
	}
	if err := h(c, m); err != nil {
		c.handlerFailed(m, err)
	}
}

// noHandler answers a message that has no handler.
func (c *Conn) noHandler(m *protocol.Message) {
	if m.Type == protocol.TypeLogon && c.engine.admission == nil {
		c.engine.log.Warn("a client logs on, but no bridge is attached to this engine", zapConn(c))
	}
	_ = c.ReplyError(m, protocol.Errorf(protocol.NoHandler, "the server has no handler for this message type"))
}

func (c *Conn) decodeFailed(err error) {
	var ce *protocol.CloseError
	if codes.As(err, &ce) {
		c.closeBy(ce.Code, ce.Text)
		return
	}
	c.closeBy(protocol.InvalidMessage, err.Error())
}

func (c *Conn) handlerPanicked(v any) {
	c.engine.panicked("a message handler", v, zapConn(c))
	c.closeBy(protocol.InternalError, "")
}

// panicked logs and counts a panic or a Goexit.
func (e *Engine) panicked(who string, v any, fields ...zap.Field) {
	e.handlerPanics.Add(1)
	e.log.Error(who+" panicked", append(fields, zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))...)
}

package engine

import (
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// Send sends a message of the application to the client. It never blocks, and copies the body.
//
// An error means that the message will not arrive. ErrClosed: the connection is closing, or closes now with SlowConsumer because the
// message exceeded the outbound limit. ErrDropped: Config.SlowPolicy has dropped the message. protocol.MessageTooLarge: the body is
// larger than Limits.MaxBody, or the frame than Limits.MaxOutbound. Other errors say that the type is the system's (use SendMessage for
// those), or why the message cannot be encoded. Without an error the message is queued; a SlowPolicy may still drop it later: see
// SendMessage.
func (c *Conn) Send(typ uint16, body []byte) error {
	c.mu.Lock()
	if !c.enqueuePlain(typ, body) {
		c.mu.Unlock()
		if typ >= protocol.FirstSystemType {
			return fmt.Errorf("rollcall: message type 0x%04x is the system's", typ)
		}
		return c.SendMessage(&protocol.Message{Type: typ, Body: body}, nil)
	}
	mark := c.mark()
	c.mu.Unlock()
	if mark {
		c.loop.markOutput(c)
		c.engine.keepWithinBudget()
	}
	return nil
}

// enqueuePlain is a fast path of enqueue and put: the message is the application's, the format binary, and the queue
// has room. It reports whether it has queued the message. Without it Send takes 23 ns instead of 13. c.mu is held on
// entry.
func (c *Conn) enqueuePlain(typ uint16, body []byte) bool {
	if binary := c.codec == protocol.Binary; !binary || c.state.Load() >= stateHalfClosed || len(body) > c.maxBody {
		return false
	}
	o := c.takeBuf()
	at, end := len(o.b), min(cap(o.b), c.engine.plainLimit-int(c.unsent))
	if at >= end || o.waiting != nil {
		return false
	}
	n := layout.PutPlain(o.b[at:end], typ, 0, 0, body)
	if n == 0 {
		return false
	}
	o.b = o.b[:at+n]
	o.count(typ, n)
	c.setQueued()
	return true
}

// SendMessage sends any message: with a sender's UserID, with flags, of a system type. m and its body may be used again when it returns.
// Nil options mean Config.SlowPolicy; a policy in o also applies to requests and pushes. The errors are the same as Send's. A message
// that was queued without an error may be dropped later, when its policy is SlowDropOldest or SlowLatest, or to make room for a message
// that must not be dropped.
func (c *Conn) SendMessage(m *protocol.Message, o *SendOptions) error {
	err := o.check()
	if err == nil {
		err = c.sendMessage(m, o.of(c.engine, m), nil)
	}
	o.report(c, err)
	return err
}

// Reply answers m, a message that a handler of this connection got. Replies to the messages of one read go out in one write. The reply is
// sent even when m's ID is 0, which means that the sender expects none. The body is copied. No SlowPolicy drops a reply.
//
// The error is ErrClosed, protocol.MessageTooLarge, or says why the reply cannot be encoded; in the last two cases a sender that waits
// gets HandlerFailed instead of the answer. On an event loop m is valid until its handler returns: a reply that the engine knows to be
// later is not sent, and the error is ErrMessageOver; see Handler.
func (c *Conn) Reply(m *protocol.Message, body []byte) error {
	l := c.loop
	// This is a fast path of reply, for nearly every message: the caller runs on the loop. Split conditions are faster
	// than one.
	if l.delivers(c, m) {
		at, queued := len(l.batch.b), c.queued.Load()
		if state := c.state.Load(); !queued && state < stateClosing && at < l.room && len(body) <= l.maxBody {
			if n := layout.PutPlain(l.batch.b[at:l.room], m.Type, uint8(protocol.FlagReply), m.ID, body); n > 0 {
				l.batch.b = l.batch.b[:at+n]
				l.batch.count(m.Type, n)
				return nil
			}
		}
	}
	if l.tookBack(m) {
		return c.repliesTooLate()
	}
	return c.reply(m, protocol.FlagReply, body)
}

// takeRoom sets how many bytes Reply may append to the batch without calling reply: what fits into the batch's memory
// and within the limits.
func (l *loop) takeRoom(c *Conn, binary bool) {
	l.room, l.maxBody = 0, c.maxBody
	if binary && l.engine.limits&limitRequests == 0 { // otherwise reply must count the request
		l.room = min(cap(l.batch.b), l.engine.cfg.Limits.MaxOutbound)
	}
}

// ReplyError answers m with an error. When why is or wraps a code from 3000 on (a protocol.CloseCode, or a *protocol.CloseError with its
// text and Info), the sender gets that. Texts of other errors are not for clients: the sender gets HandlerFailed without a text, and
// Config.Logger gets the error, at level info, which the default Logger omits. Nothing is sent where m's ID is 0, because the sender
// could not match the answer, or where m is itself a reply. The errors are the same as Reply's.
func (c *Conn) ReplyError(m *protocol.Message, why error) error {
	if c.loop.tookBack(m) {
		return c.repliesTooLate()
	}
	var ce *protocol.CloseError
	if !codes.As(why, &ce) || ce == nil || ce.Code < leastAnswer {
		c.engine.log.Info("a handler failed", zapConn(c), zap.Uint16("type", m.Type), zapError(why))
		ce = &protocol.CloseError{Code: protocol.HandlerFailed}
	}
	if m.ID == 0 || m.IsReply() {
		return nil
	}
	return c.reply(m, protocol.FlagReply|protocol.FlagError, system.AppendClose(nil, ce))
}

// leastAnswer is the lowest code that may answer a request. Lower codes are about connections.
const leastAnswer protocol.CloseCode = 3000

// sendReply sends an answer to m. When the loop is delivering m, the caller runs on the loop, and the answer joins the
// batch of the current read without a lock, unless other output is queued before it.
func (c *Conn) sendReply(m *protocol.Message, flags protocol.Flags, body []byte) error {
	l := c.loop
	if !l.delivers(c, m) || c.queued.Load() || c.ownCodec() != nil {
		return c.SendMessage(&protocol.Message{Type: m.Type, Flags: flags, ID: m.ID, Body: body}, nil)
	}
	if c.state.Load() >= stateClosing {
		return ErrClosed
	}
	if len(body) > c.maxBody && flags&protocol.FlagError == 0 {
		return errTooLarge
	}
	b, err := c.appendReply(l.batch.b, m, flags, body)
	if err != nil {
		return err
	}
	n := len(b) - len(l.batch.b)
	if limit := l.engine.cfg.Limits.MaxOutbound; len(b) > limit {
		if n > c.maxFrame {
			return errTooLarge
		}
		c.mu.Lock()
		c.drop(tally{messages: 1, bytes: n, typ: m.Type})
		c.mu.Unlock()
		c.overflow()
		return ErrClosed
	}
	l.batch.b = b
	binary := c.codec == protocol.Binary
	l.takeRoom(c, binary)
	l.batch.add(m.Type, n) // written when the handler has returned, because a write that fails frees the memory of m.Body
	return nil
}

// appendReply encodes the reply to m. With protocol.Binary it makes no Message, which halves the time.
func (c *Conn) appendReply(dst []byte, m *protocol.Message, flags protocol.Flags, body []byte) ([]byte, error) {
	if c.codec == protocol.Binary {
		if b, ok := layout.AppendReply(dst, m.Type, uint8(flags), m.ID, body); ok {
			return b, nil
		}
	}
	return appendFrame(c.codec, dst, &protocol.Message{Type: m.Type, Flags: flags, ID: m.ID, Body: body}, nil)
}

// tooLarge reports whether m's body is larger than the peer takes. A Close, the answer to a Logon and an error reply
// come from the server itself, and are never too large.
func tooLarge(m *protocol.Message, maxBody int) bool {
	return len(m.Body) > maxBody && m.Flags&protocol.FlagError == 0 && (m.Type < protocol.FirstSystemType || m.Type > protocol.TypeClose)
}

// appendFrame encodes m. The switch keeps m from escaping to the heap with protocol.Binary. held is the lock that the
// caller holds, or nil.
func appendFrame(codec protocol.Codec, dst []byte, m *protocol.Message, held *sync.Mutex) ([]byte, error) {
	if codec == protocol.Binary {
		return protocol.Binary.Append(dst, m)
	}
	escapes := *m
	return appendForeign(codec, dst, &escapes, held)
}

// appendForeign turns a panic in the application's codec into an error, because its callers hold locks or are the
// engine's goroutines. A Goexit releases the lock and ends the application's goroutine that sends. Where the engine
// itself sends, the answer to a Logon or a Close, a Goexit becomes an error.
func appendForeign(codec protocol.Codec, dst []byte, m *protocol.Message, held *sync.Mutex) (b []byte, err error) {
	failed := func(v any) {
		b, err = dst, contain.Error("the codec", v)
	}
	if m.Type == protocol.TypeClose || m.Type == protocol.TypeLogon {
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

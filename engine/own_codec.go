package engine

import (
	"errors"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// ownCodec is the codec of one connection, made by Listener.NewCodec; it may have state. Frames are encoded in the
// order in which they are queued, and every encoded frame is sent, because limits and policies are applied before. It
// is used only under Conn.mu, for decoding too.
type ownCodec struct {
	protocol.Codec
	user      string              // the bound user
	early     []*protocol.Message // sent before the client was let in: encoded after the answer to its Logon
	earlySize int                 // bytes of early
	broken    bool                // an encoded frame was thrown away, or the codec panicked: nothing more can be encoded
}

var errCodecBroken = errors.New("rollcall: the connection's codec cannot go on")

// Append implements protocol.Codec. m is a copy.
func (o *ownCodec) Append(dst []byte, m *protocol.Message) (b []byte, err error) {
	if o.broken {
		return dst, errCodecBroken
	}
	if m.DestUserID == "" {
		m.DestUserID = o.user
	}
	o.broken = true // until Append has returned
	b, err = o.Codec.Append(dst, m)
	o.broken = false
	return b, err
}

// ownCodec returns the connection's codec if no other connection uses it, or nil.
func (c *Conn) ownCodec() *ownCodec {
	own, _ := c.codec.(*ownCodec)
	return own
}

// codecFor returns the codec for a connection of this entrance.
func (at *entrance) codecFor(e *Engine) (codec protocol.Codec, err error) {
	if at.newCodec == nil {
		return at.codec, nil
	}
	return at.makeCodec(e)
}

// makeCodec is a function of its own so that codecFor needs no closure for a connection with a shared codec.
func (at *entrance) makeCodec(e *Engine) (codec protocol.Codec, err error) {
	contain.Apart(func() { codec = at.newCodec() }, func(v any) { err = contain.Error("NewCodec", v) })
	if err == nil && codec == nil {
		err = errors.New("rollcall: NewCodec returned nil")
	}
	if err != nil {
		e.log.Error("a connection has no codec, and is closed", zap.Error(err))
		return nil, err
	}
	return &ownCodec{Codec: codec}, nil
}

// decode decodes a message with the connection's codec.
func (c *Conn) decode(src []byte, m *protocol.Message, o protocol.DecodeOptions) (n, need int, err error) {
	own := c.ownCodec()
	if own == nil {
		return c.codec.Decode(src, m, o)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return own.Codec.Decode(src, m, o)
}

// frameSize is the length of a message in Rollcall's own wire format. In other formats it is similar.
func frameSize(m *protocol.Message) int {
	return layout.HeaderLen + len(m.UserID) + len(m.DestUserID) + len(m.Body)
}

// sendOwn is sendMessage for a connection with a codec of its own. o is complete.
func (c *Conn) sendOwn(own *ownCodec, m *protocol.Message, o queueing, r *request) error {
	err := c.queueOwn(own, m, o, r)
	if err != nil {
		err = c.unsentFor(err)
	}
	c.engine.keepWithinBudget()
	return err
}

// queueOwn queues a message for a connection with a codec of its own. r is the request that it makes, or nil. unsentFor takes the error.
func (c *Conn) queueOwn(own *ownCodec, m *protocol.Message, o queueing, r *request) error {
	size, limit := frameSize(m), c.engine.cfg.Limits.MaxOutbound
	c.mu.Lock()
	if !c.stillGets(m) {
		c.mu.Unlock()
		return ErrClosed
	}
	waits := own.earlySize + int(c.unsent)
	if c.out != nil {
		waits += len(c.out.b)
	}
	switch {
	case size > limit:
		c.mu.Unlock()
		return errTooLarge
	case o.Policy == SlowClose && waits+size > limit:
		c.drop(tally{messages: 1, bytes: size, typ: m.Type})
		c.mu.Unlock()
		return errOverLimit
	case o.Policy != SlowClose && (waits+size > limit || o.Policy == SlowDropNewest && c.takesNothing()):
		c.drop(tally{messages: 1, bytes: size, typ: m.Type})
		c.mu.Unlock()
		return ErrDropped
	case c.engine.admission != nil && !c.has(isLetIn):
		c.open(r, m)
		own.early = append(own.early, m.Clone())
		own.earlySize += size
		c.engine.addPending(size)
		c.mu.Unlock()
		return nil
	}
	c.open(r, m)
	err := c.enqueue(m, queueing{Policy: mustGo}) // of any size, because it is encoded already
	if err != nil {
		c.withdraw(r)
	}
	mark := err == nil && c.mark()
	c.mu.Unlock()
	if mark {
		c.loop.markOutput(c)
	}
	return err
}

// isBroken reports whether a connection that is not closing has a codec that cannot go on.
func (o *ownCodec) isBroken(c *Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return o.broken
}

// encodeEarly encodes the messages that were sent before the client was let in. c.mu is held on entry.
func (c *Conn) encodeEarly() {
	own := c.ownCodec()
	if own == nil {
		return
	}
	early := own.early
	own.early, own.earlySize = nil, 0
	for _, m := range early {
		if err := c.enqueue(m, queueing{Policy: mustGo}); err != nil { // its sender was told that it is queued
			c.drop(tally{messages: 1, bytes: frameSize(m), typ: m.Type})
			c.engine.log.Error("a message cannot be encoded", zapConn(c), zapError(err))
		}
	}
}

// dropEncoded throws away the messages that wait to be encoded, and marks the connection's own codec as broken if
// encoded frames are thrown away too. c.mu is held on entry.
func (c *Conn) dropEncoded() {
	own := c.ownCodec()
	if own == nil {
		return
	}
	own.broken = own.broken || c.out != nil && len(c.out.b) > 0
	c.dropEarly()
}

// dropEarly throws away the messages that were sent before the client was let in. The client will never be let in. c.mu
// is held on entry.
func (c *Conn) dropEarly() {
	own := c.ownCodec()
	if own == nil {
		return
	}
	for _, m := range own.early {
		c.drop(tally{messages: 1, bytes: frameSize(m), typ: m.Type})
	}
	own.early, own.earlySize = nil, 0
}

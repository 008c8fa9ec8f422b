package engine

import (
	"bytes"
	"crypto/tls"
	"math"
	"net/http"

	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

// wsStream is the stream of a connection that speaks WebSocket, after its HTTP request. What the client sends is one
// stream of the codec's bytes: where its messages begin and end means nothing, but for text. What the server sends are
// messages of whole frames of the codec.
type wsStream struct {
	conn   *Conn
	layers layers // this, and the socket below
	rare   *wsRare
	reader wsframe.Reader

	place    int32  // in the loop's list
	controls uint16 // bytes of control frames in the present PingInterval
	hollow   uint16 // bytes of headers of empty data frames in a row
	silent   uint16 // how often the loop has looked since the last data frame
	unheard  uint8  // the same, since any bytes have come or a Ping was sent; justHeard when bytes have come since the loop last looked
	parts    uint8  // bytes of a header or control frame that is not whole
	closed   bool   // the client's Close frame has come
	finished bool   // ours was sent
	within   bool   // a message of ours has begun and not ended
	begun    bool   // arrived has run
}

// wsRare is what most idle connections do not need.
type wsRare struct {
	below   *tlsStream // nil without TLS
	early   []byte     // bytes that came together with the HTTP request, then what of them is not unwrapped
	plain   []byte     // unwrapped and not taken
	pong    []byte     // waits until the client takes what was sent before; nil for none
	closing uint16     // the code for our Close frame, where the connection's own does not say it
	code    uint16     // of the client's Close frame
}

const (
	justHeard = math.MaxUint8
	// wsPiece is how many bytes of frames are wrapped at a time, so that they fit in one piece of TLS.
	wsPiece = sealSize - wsframe.MaxHeader
	// wsMostControls is how many bytes of control frames may come in a PingInterval.
	wsMostControls = 8 << 10
	// wsEarlyPongs is how many bytes of control frames are answered before the logon.
	wsEarlyPongs = 1 << 10
)

// join makes s the stream of a connection on gnet.
func (s *wsStream) join(c *Conn, below *tlsStream) {
	s.conn = c
	s.reader.Text = c.codec == protocol.Line
	s.layers = layers{sock: &c.tcp, stream: s}
	if below != nil {
		s.needRare().below = below
		below.conn, below.wire.conn, below.above = c, c, s
	}
	c.layers.Store(&s.layers)
}

// needRare returns what the stream seldom needs, and allocates it if need be.
func (s *wsStream) needRare() *wsRare {
	if s.rare == nil {
		s.rare = new(wsRare)
	}
	return s.rare
}

// below returns the TLS below, or nil.
func (s *wsStream) below() *tlsStream {
	if s.rare == nil {
		return nil
	}
	return s.rare.below
}

// arrived unwraps all bytes that have come, and has them delivered.
func (s *wsStream) arrived() (over bool) {
	c := s.conn
	s.unheard = justHeard
	if c.gone || c.is(isPeerEnded) {
		return false
	}
	if below := s.below(); below != nil {
		over = below.arrived() // it calls take
		return over || s.closed && !c.gone
	}
	if c.state.Load() >= stateClosing || c.quiet.Load() {
		s.sock().discard(-1)
		s.forget()
		c.noteInbound()
		return false
	}
	s.take()
	return s.closed && !c.gone
}

// forget drops what waits to be delivered.
func (s *wsStream) forget() {
	if s.parts = 0; s.rare != nil {
		s.rare.plain, s.rare.early = nil, nil
	}
}

// sock returns the socket below.
func (s *wsStream) sock() socket { return s.conn.sock() }

// raw returns the bytes that are not unwrapped.
func (s *wsStream) raw() []byte {
	switch r := s.rare; {
	case r == nil:
	case r.below != nil:
		return r.below.plain
	case r.early != nil:
		r.early = append(r.early, s.sock().peek()...)
		s.sock().discard(-1)
		return r.early
	}
	return s.sock().peek()
}

// used drops n bytes of raw, which returned so many.
func (s *wsStream) used(n, of int) {
	switch r := s.rare; {
	case r != nil && r.below != nil:
		r.below.discard(n)
	case r != nil && r.early != nil:
		if r.early = r.early[n:]; n == of {
			r.early = nil
		}
	default:
		s.sock().discard(n)
	}
}

// take unwraps all bytes that have come, and then has them delivered. The memory below may be changed, or be another's,
// as soon as the connection is gone.
func (s *wsStream) take() {
	c, l := s.conn, s.conn.loop
	s.begun = true
	l.makeFront()
	f := l.takeFound()
	raw := s.raw()
	of := len(raw)
	n, used, broken := s.reader.Unwrap(raw, f)
	if f.Closed { // what follows a Close means nothing
		used = of
	}
	s.parts = uint8(min(of-used, wsframe.MaxControl+wsframe.MaxHeader))
	payload := raw[:n:n]
	own := f.LineFeed || s.rare != nil && len(s.rare.plain) > 0
	if own {
		r := s.needRare()
		if r.plain = append(r.plain, payload...); f.LineFeed {
			r.plain = append(r.plain, '\n')
		}
	}
	if n > 0 {
		s.hollow, s.silent = 0, 0
	}
	s.deliver(payload, own)
	if c.gone {
		s.forget()
		l.found = f
		return
	}
	s.used(used, of)
	s.upkeep(f)
	l.found = f
	if broken != nil && !c.gone && c.state.Load() < stateClosing {
		s.needRare().closing = broken.Code
		c.closeBy(protocol.InvalidMessage, broken.Error())
	}
	if r := s.rare; r != nil && r.below == nil && r.early == nil && r.plain == nil && r.pong == nil && r.closing|r.code == 0 {
		s.rare = nil // an idle connection is small
	}
}

// lentBytes are the bytes of a read while they are delivered: they lie in the memory of what is below the stream.
type lentBytes struct {
	to *wsStream
	b  []byte
}

// deliver has the payload delivered, or what is in memory of the stream's own, and keeps what the codec has not taken.
func (s *wsStream) deliver(payload []byte, own bool) {
	c, l := s.conn, s.conn.loop
	if own {
		if l.read(c); s.rare != nil && len(s.rare.plain) == 0 {
			s.rare.plain = nil
		}
		return
	}
	before := l.lentBytes // of another connection, within whose read this one ends
	l.lentBytes = lentBytes{s, payload}
	l.read(c)
	if rest := l.lentBytes.b; l.lentBytes.to == s && len(rest) > 0 && !c.gone {
		s.needRare().plain = bytes.Clone(rest)
	}
	l.lentBytes = before
}

// takeFound takes the loop's wsframe.Found, empty.
func (l *loop) takeFound() *wsframe.Found {
	f := l.found
	if l.found = nil; f == nil {
		f = new(wsframe.Found)
	}
	f.Reset()
	return f
}

// upkeep deals with the control frames of a read, after its messages were delivered.
func (s *wsStream) upkeep(f *wsframe.Found) {
	c := s.conn
	if s.closed = f.Closed; s.closed {
		s.needRare().code = f.Code
	}
	s.hollow = uint16(min(int(s.hollow)+f.Hollow, maxHollow+1))
	s.controls = uint16(min(int(s.controls)+f.Size, wsMostControls+1))
	if c.state.Load() >= stateClosing {
		return
	}
	if f.Controls > 0 && c.engine.limits&limitRate != 0 {
		c.checkRate(f.Controls, 0)
	}
	switch {
	case s.hollow > maxHollow:
		c.closeBy(protocol.InvalidMessage, "so many WebSocket frames with nothing in them")
	case s.controls > wsMostControls:
		c.closeBy(protocol.RateLimited, "more WebSocket control frames than the server allows")
	case f.Ping != nil && (c.state.Load() >= stateBound || s.controls <= wsEarlyPongs):
		s.answer(f.Ping)
	default:
		s.answerLate()
	}
}

// answerLate sends the Pong that has waited, if there is one.
func (s *wsStream) answerLate() {
	if s.rare != nil && s.rare.pong != nil {
		s.answer(s.rare.pong)
	}
}

// answer sends a Pong, or keeps it until the client takes more. A later one replaces one that waits.
func (s *wsStream) answer(payload []byte) {
	if s.conn.unsent > 0 {
		s.needRare().pong = append(make([]byte, 0, len(payload)), payload...)
		return
	}
	if s.rare != nil {
		s.rare.pong = nil
	}
	s.control(wsframe.Pong, payload)
}

// control sends a control frame, which may stand between the fragments of a message.
func (s *wsStream) control(op byte, payload []byte) {
	c := s.conn
	if c.gone {
		return
	}
	b := append(wsframe.AppendHeader(c.loop.takeFrameBuf(), op, true, len(payload)), payload...)
	c.loop.frameBuf = b[:0]
	below := s.below()
	if below == nil {
		c.writeBetween(b)
		return
	}
	if wire, _, err := below.wrap(b); err == nil && len(wire) > 0 {
		c.writeBetween(wire)
	}
}

// takeFrameBuf takes the loop's buffer for wrapped frames, empty.
func (l *loop) takeFrameBuf() []byte {
	b := l.frameBuf
	l.frameBuf = nil
	if b == nil {
		b = make([]byte, 0, sealSize)
	}
	return b[:0]
}

// makeFront gives the batch memory with room for a header before it, so that the replies of a read need not be copied behind one. It does
// so once the batch has grown: then it is as large as it will be.
func (l *loop) makeFront() {
	switch b := l.batch.b; {
	case len(b) > 0: // of another connection, within whose read this one is read
	case cap(b) == 0:
		l.front = nil
	case !l.isInFront(b[:1]):
		l.front = make([]byte, wsframe.MaxHeader+cap(b))
		l.batch.b = l.front[wsframe.MaxHeader:wsframe.MaxHeader]
	}
}

// isInFront reports whether frames are the beginning of the batch, and have room before them.
func (l *loop) isInFront(frames []byte) bool {
	return l.front != nil && &frames[0] == &l.front[wsframe.MaxHeader]
}

// wrap makes the frames a message, or a fragment of one if there are too many: each call but the last for the same frames
// has the next fragment.
func (s *wsStream) wrap(frames []byte) (wire []byte, n int, err error) {
	l := s.conn.loop
	op := byte(wsframe.Binary)
	switch {
	case s.within:
		op = wsframe.Continuation
	case s.reader.Text:
		op = wsframe.Text
	}
	n = min(len(frames), wsPiece)
	s.within = n < len(frames)
	var b []byte
	if l.isInFront(frames) {
		var header [wsframe.MaxHeader]byte
		h := wsframe.AppendHeader(header[:0], op, !s.within, n)
		b = l.front[wsframe.MaxHeader-len(h) : wsframe.MaxHeader+n]
		copy(b, h)
	} else {
		b = append(wsframe.AppendHeader(l.takeFrameBuf(), op, !s.within, n), frames[:n]...)
		l.frameBuf = b[:0]
	}
	below := s.below()
	if below == nil {
		return b, n, nil
	}
	wire, _, err = below.wrap(b)
	return wire, n, err
}

// buffered counts the bytes that wait to be delivered, and those of a frame's header.
func (s *wsStream) buffered() int {
	n := len(s.peek()) + int(s.parts)
	if below := s.below(); below != nil {
		n += below.wire.got
	}
	return n
}

func (s *wsStream) peek() []byte {
	if l := &s.conn.loop.lentBytes; l.to == s {
		return l.b
	}
	if s.rare == nil {
		return nil
	}
	return s.rare.plain
}

func (s *wsStream) discard(n int) {
	b := s.peek()
	if n < 0 || n >= len(b) {
		b = nil
	} else {
		b = b[n:]
	}
	switch l := &s.conn.loop.lentBytes; {
	case l.to == s:
		l.b = b
	case s.rare != nil:
		s.rare.plain = b
	}
}

// security is called by any goroutine: with TLS, rare and below never change.
func (s *wsStream) security() *tls.ConnectionState {
	if feed, ok := s.sock().(*feedSocket); ok { // of WebSocketHandler
		return feed.security()
	}
	if !s.conn.web.secure {
		return nil
	}
	return s.rare.below.security()
}

// webSocket returns the connection's stream if it speaks WebSocket, or nil.
func (c *Conn) webSocket() *wsStream {
	s, _ := c.stream().(*wsStream)
	return s
}

// HTTPRequest returns the request with which a WebSocket began: its path, query, headers and cookies, for an authenticator.
// The body is empty. Nil means that the connection does not speak WebSocket, or that it was let in: the request is dropped
// then, so that an idle connection is small. Without an Admission it stays. Do not change it. Any goroutine may call it.
func (c *Conn) HTTPRequest() *http.Request {
	r, _ := c.engine.requests.Load(c)
	request, _ := r.(*http.Request)
	return request
}

// forgetRequest drops the HTTP request. Any goroutine may call it.
func (c *Conn) forgetRequest() {
	if c.web != nil {
		c.engine.requests.Delete(c)
	}
}

package engine

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

// wsStream is the stream of a connection that speaks WebSocket, after its HTTP request. What the client sends is one
// stream of the codec's bytes: where its messages begin and end means nothing, but for text. What the server sends are
// messages of whole frames of the codec.
type wsStream struct {
	conn    *Conn
	layers  layers     // this, and the socket below
	below   *tlsStream // nil without TLS
	at      *webListener
	early   []byte        // bytes that came together with the HTTP request, then what of them is not unwrapped
	request *http.Request // until the logon is decided; under Conn.mu
	plain   []byte        // unwrapped and not taken; while take runs it may lie in the memory of what is below
	reader  wsframe.Reader
	pong    []byte // waits until the client takes what was sent before; nil for none

	place    int32  // in the loop's list
	parts    uint16 // bytes of a header or control frame that is not whole
	controls uint16 // bytes of control frames in the present PingInterval
	hollow   uint16 // bytes of headers of empty data frames in a row
	closing  uint16 // the code for our Close frame, where the connection's own does not say it
	code     uint16 // of the client's Close frame
	closed   bool   // that has come
	finished bool   // ours was sent
	within   bool   // a message of ours has begun and not ended
	begun    bool   // arrived has run
	heard    bool   // bytes have come since the loop last looked
	silent   uint16 // how often the loop has looked since the last data frame
	unheard  uint16 // the same, since any bytes have come
}

const (
	// wsPiece is how many bytes of frames are wrapped at a time, so that they fit in one piece of TLS.
	wsPiece = sealSize - wsframe.MaxHeader
	// wsMostControls is how many bytes of control frames may come in a PingInterval.
	wsMostControls = 8 << 10
	// wsEarlyPongs is how many bytes of control frames are answered before the logon.
	wsEarlyPongs = 1 << 10
)

// join makes s the stream of a connection on gnet.
func (s *wsStream) join(c *Conn, below *tlsStream) {
	s.conn, s.below = c, below
	s.reader.Text = c.codec == protocol.Line
	s.layers = layers{sock: &c.tcp, stream: s}
	if below != nil {
		below.conn, below.wire.conn, below.above = c, c, s
	}
	c.layers.Store(&s.layers)
}

// arrived unwraps all bytes that have come, and has them delivered.
func (s *wsStream) arrived() (over bool) {
	c := s.conn
	s.heard = true
	if s.below != nil {
		over = s.below.arrived() // it calls take
		return over || s.closed && !c.gone
	}
	switch {
	case c.gone, c.is(isPeerEnded):
		return false
	case c.state.Load() >= stateClosing, c.quiet.Load():
		s.sock().discard(-1)
		s.forget()
		c.noteInbound()
		return false
	}
	s.take()
	return s.closed && !c.gone
}

// forget drops what waits to be delivered.
func (s *wsStream) forget() { s.plain, s.early, s.parts = nil, nil, 0 }

// sock returns the socket below.
func (s *wsStream) sock() socket { return s.conn.sock() }

// raw returns the bytes that are not unwrapped.
func (s *wsStream) raw() []byte {
	switch {
	case s.below != nil:
		return s.below.plain
	case s.early != nil:
		s.early = append(s.early, s.sock().peek()...)
		s.sock().discard(-1)
		return s.early
	}
	return s.sock().peek()
}

// used drops n bytes of raw, which returned so many.
func (s *wsStream) used(n, of int) {
	switch {
	case s.below != nil:
		s.below.discard(n)
	case s.early != nil && n == of:
		s.early = nil
	case s.early != nil:
		s.early = s.early[n:]
	default:
		s.sock().discard(n)
	}
}

// take unwraps all bytes that have come, and then has them delivered. The memory below may be changed, or be another's,
// as soon as the connection is gone.
func (s *wsStream) take() {
	c, l := s.conn, s.conn.loop
	s.begun = true
	f := l.takeFound()
	raw := s.raw()
	of := len(raw)
	n, used, broken := s.reader.Unwrap(raw, f)
	s.parts = uint16(min(of-used, wsframe.MaxControl+wsframe.MaxHeader))
	own := len(s.plain) > 0 || f.LineFeed
	if own {
		s.plain = append(s.plain, raw[:n]...)
		if f.LineFeed {
			s.plain = append(s.plain, '\n')
		}
	} else {
		s.plain = raw[:n:n]
	}
	if n > 0 {
		s.hollow, s.silent = 0, 0
	}
	l.read(c)
	if c.gone {
		s.forget()
		l.found = f
		return
	}
	switch {
	case len(s.plain) == 0:
		s.plain = nil // an idle connection keeps no buffer
	case !own:
		s.plain = bytes.Clone(s.plain)
	}
	s.used(used, of)
	s.upkeep(f)
	l.found = f
	if broken != nil && !c.gone && c.state.Load() < stateClosing {
		s.closing = broken.Code
		c.closeBy(protocol.InvalidMessage, broken.Error())
	}
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
		s.code = f.Code
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
	case s.pong != nil:
		s.answer(s.pong)
	}
}

// answer sends a Pong, or keeps it until the client takes more. A later one replaces one that waits.
func (s *wsStream) answer(payload []byte) {
	if s.conn.unsent > 0 {
		s.pong = slices.Clone(payload)
		return
	}
	s.pong = nil
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
	if s.below == nil {
		c.writeBetween(b)
		return
	}
	if wire, _, err := s.below.wrap(b); err == nil && len(wire) > 0 {
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
	b := append(wsframe.AppendHeader(l.takeFrameBuf(), op, !s.within, n), frames[:n]...)
	l.frameBuf = b[:0]
	if s.below == nil {
		return b, n, nil
	}
	wire, _, err = s.below.wrap(b)
	return wire, n, err
}

// finish sends the Close frame, and then the end of TLS.
func (s *wsStream) finish() {
	if s.finished {
		return
	}
	s.finished = true
	c := s.conn
	c.mu.Lock()
	code, text := c.code, ""
	if c.lazy != nil {
		text = c.lazy.closeText
	}
	c.mu.Unlock()
	var body []byte
	switch {
	case !s.closed:
		body = appendWSClose(nil, s.closing, code, text)
	case s.code != wsframe.NoCode:
		body = binary.BigEndian.AppendUint16(nil, s.code)
	}
	s.control(wsframe.Close, body)
	if s.below != nil && !c.gone {
		s.below.finish()
	}
}

// appendWSClose appends the body of a Close frame for a connection that ends with this code and text. own is the code of
// the frame where it is not 0.
func appendWSClose(dst []byte, own uint16, code protocol.CloseCode, text string) []byte {
	if own == 0 {
		own = wsCodeOf(code)
	}
	reason := strconv.Itoa(int(code)) + " " + code.Error()
	if text != "" {
		reason += ": " + text
	}
	return wsframe.AppendClose(dst, own, reason)
}

// wsCodeOf returns the code of WebSocket for one of ours. Browsers refuse to read most codes below 3000.
func wsCodeOf(code protocol.CloseCode) uint16 {
	switch {
	case code == protocol.ClientClosed:
		return wsframe.Normal
	case code == protocol.ServerStopping:
		return wsframe.GoingAway
	case code == protocol.InternalError:
		return wsframe.Internal
	case code == protocol.InvalidMessage:
		return wsframe.ProtocolError
	case code == protocol.MessageTooLarge:
		return wsframe.TooBig
	case code >= wsframe.FirstApplication && code <= wsframe.LastApplication:
		return uint16(code)
	case code < 2000:
		return wsframe.TryLater
	}
	return wsframe.Policy
}

// errWSBrokenOff is the end of a connection whose client has sent a Close frame with a code of a failure.
var errWSBrokenOff = errors.New("rollcall: the client has closed the WebSocket because of an error")

// ended returns the error for a connection whose socket has ended. A client that ends TCP without a Close frame counts as
// one of plain TCP, unless it owes the rest of a message.
func (s *wsStream) ended(err error) error {
	switch {
	case s.below != nil:
		err = s.below.ended(err)
	case !s.begun && errors.Is(err, io.EOF): // the client came and left at once: what came with the request is delivered first
		s.conn.loop.apart(func() { s.arrived() })
	}
	switch {
	case s.closed && err == nil && !s.politely():
		s.finish()
		return errWSBrokenOff
	case s.closed && err == nil:
		return io.EOF
	case errors.Is(err, io.EOF) && !s.closed && (s.reader.MidMessage() || s.parts > 0):
		return io.ErrUnexpectedEOF
	}
	return err
}

// politely reports whether the code of the client's Close frame is no failure.
func (s *wsStream) politely() bool {
	return s.code <= wsframe.GoingAway || s.code == wsframe.NoCode || s.code >= wsframe.FirstApplication
}

// buffered counts the bytes that wait to be delivered, and those of a frame's header.
func (s *wsStream) buffered() int {
	n := len(s.plain) + int(s.parts)
	if s.below != nil {
		n += s.below.wire.got
	}
	return n
}

func (s *wsStream) peek() []byte { return s.plain }

func (s *wsStream) discard(n int) {
	if n < 0 || n >= len(s.plain) {
		s.plain = nil
		return
	}
	s.plain = s.plain[n:]
}

func (s *wsStream) security() *tls.ConnectionState {
	if s.below == nil {
		return nil
	}
	return s.below.security()
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
	s := c.webSocket()
	if s == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.request
}

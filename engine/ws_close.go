package engine

import (
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
)

// finish sends the Close frame, and then the end of TLS.
func (s *wsStream) finish() {
	if s.finished {
		return
	}
	s.finished = true
	c := s.conn
	c.mu.Lock()
	code, text := c.code, ""
	if c.lazy != nil && c.lazy.why != nil {
		text = c.lazy.why.Text
	}
	c.mu.Unlock()
	var body []byte
	switch r := s.rare; {
	case s.closed && r.code != wsframe.NoCode:
		body = binary.BigEndian.AppendUint16(nil, r.code)
	case s.closed:
	case r != nil:
		body = appendWSClose(nil, r.closing, code, text)
	default:
		body = appendWSClose(nil, 0, code, text)
	}
	s.control(wsframe.Close, body)
	if below := s.below(); below != nil && !c.gone {
		below.finish()
	}
}

// appendWSClose appends the body of a Close frame for a connection that ends with this code and text. own is the code of
// the frame where it is not 0.
func appendWSClose(dst []byte, own uint16, code protocol.CloseCode, text string) []byte {
	if own == 0 {
		own = wsCodeOf(code)
	}
	reason := strconv.Itoa(int(code))
	if name := code.Error(); name != "code "+reason { // the application's codes have no names
		reason += " " + name
	}
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
	switch below := s.below(); {
	case below != nil:
		err = below.ended(err)
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
	code := s.rare.code
	return code <= wsframe.GoingAway || code == wsframe.NoCode || code >= wsframe.FirstApplication
}

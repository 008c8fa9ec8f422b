// Package wsframe takes the frames of WebSocket apart and makes them: RFC 6455 section 5, as bytes. It knows no connections.
package wsframe

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// Opcodes.
const (
	Continuation = 0x0
	Text         = 0x1
	Binary       = 0x2
	Close        = 0x8
	Ping         = 0x9
	Pong         = 0xA
)

const (
	fin      = 0x80
	masked   = 0x80
	maskSize = 4
	// MaxControl is the size of the largest payload of a control frame.
	MaxControl = 125
	// MaxHeader is the size of the largest header, with a mask.
	MaxHeader = 2 + 8 + maskSize
)

// Status codes of a Close frame, RFC 6455 section 7.4.1.
const (
	Normal           = 1000
	GoingAway        = 1001
	ProtocolError    = 1002
	Unsupported      = 1003
	NoCode           = 1005 // is never sent: there was no code
	InvalidData      = 1007
	Policy           = 1008
	TooBig           = 1009
	Internal         = 1011
	TryLater         = 1013
	FirstApplication = 3000 // and up to 4999: codes that the protocol does not define
	LastApplication  = 4999
)

// Error is a mistake of the peer, and the code that its Close frame is to have.
type Error struct {
	Code uint16
	text string
}

// Error implements error.
func (e *Error) Error() string { return e.text }

var (
	errUnmasked  = &Error{ProtocolError, "a WebSocket frame without a mask"}
	errMasked    = &Error{ProtocolError, "a WebSocket frame of a server with a mask"}
	errReserved  = &Error{ProtocolError, "a WebSocket frame with reserved bits or a reserved opcode"}
	errControl   = &Error{ProtocolError, "a WebSocket control frame that is fragmented or too long"}
	errLength    = &Error{ProtocolError, "the length of a WebSocket frame is not written the shortest way, or has its first bit set"}
	errFragment  = &Error{ProtocolError, "a WebSocket fragment that does not go on with a message, or a message within another"}
	errClose     = &Error{ProtocolError, "a WebSocket Close with half a code, or a code that must not be sent"}
	errUTF8      = &Error{InvalidData, "a WebSocket text that is not UTF-8"}
	errLines     = &Error{InvalidData, "a WebSocket text with more than one line"}
	errNotBinary = &Error{Unsupported, "a WebSocket text message where binary messages are spoken"}
	errNotText   = &Error{Unsupported, "a binary WebSocket message where text messages are spoken"}
)

// Reader takes frames off a stream of bytes. The zero value is for the binary messages of a client.
type Reader struct {
	// Text says that messages are text. A client's are one line each, and get a line feed at their end if they have none.
	Text bool
	// FromServer says that the frames come from a server, without masks.
	FromServer bool

	message messageState
	utf8    utf8Check
	mask    uint32 // for the next byte of the payload, its first byte in the low bits
	left    uint64 // payload bytes of the data frame that have not come
}

// messageState are flags. It is small, as utf8Check is, because a server has a Reader for each idle connection.
type messageState uint8

const (
	isOpen  messageState = 1 << iota // a message has begun and not ended
	isLast                           // the data frame is the last one of its message
	hasLine                          // the message has had the line feed that ends its line
)

func (r *Reader) is(s messageState) bool { return r.message&s != 0 }

// Found is what one Unwrap has found besides payload. Reset it before.
type Found struct {
	Ping     []byte // the payload of the latest Ping, valid until the next Unwrap; nil for none
	Controls int    // control frames
	Size     int    // their bytes
	Hollow   int    // bytes of headers of data frames without payload
	Closed   bool   // a Close frame has come; what follows it is not looked at
	Code     uint16 // of the Close frame; NoCode if it has none
	Reason   string // of it
	LineFeed bool   // a line feed is to follow the payload, which has taken all the room

	ping [MaxControl]byte
}

// Reset prepares f for an Unwrap.
func (f *Found) Reset() {
	f.Ping, f.Controls, f.Size, f.Hollow, f.Closed, f.Code, f.Reason, f.LineFeed = nil, 0, 0, 0, false, 0, "", false
}

// MidMessage reports whether the peer owes bytes of a message that it has begun.
func (r *Reader) MidMessage() bool { return r.left > 0 || r.is(isOpen) }

// Unwrap takes frames off raw in place: the payloads of data frames are moved together to raw[:n], unmasked. It has used
// raw[:used], and writes only there. What remains is part of a header or of a control frame, or follows an error or a
// Close frame.
func (r *Reader) Unwrap(raw []byte, f *Found) (n, used int, err *Error) {
	for used < len(raw) {
		if r.left == 0 && r.message == 0 && !r.Text && !r.FromServer {
			if n, used = unwrapShort(raw, n, used); used == len(raw) {
				break
			}
		}
		if r.left > 0 {
			size := int(min(uint64(len(raw)-used), r.left))
			r.mask = unmask(raw[n:n+size], raw[used:used+size], r.mask)
			used += size
			r.left -= uint64(size)
			if r.Text {
				if size, err = r.check(raw[n : n+size]); err != nil {
					return n + size, used, err
				}
			}
			n += size
			if r.left == 0 && r.is(isLast) {
				if n, err = r.end(raw, n, used, f); err != nil {
					return n, used, err
				}
			}
			continue
		}
		size, err := r.header(raw[used:], f)
		if err != nil || size == 0 {
			return n, used, err
		}
		used += size
		if f.LineFeed {
			f.LineFeed, raw[n] = false, '\n'
			n++
		}
		if f.Closed {
			return n, used, nil
		}
		if r.left == 0 && r.is(isLast) {
			if n, err = r.end(raw, n, used, f); err != nil {
				return n, used, err
			}
		}
	}
	return n, used, nil
}

// unwrapShort unwraps the next messages as far as they are binary, one frame each, and short, as most are. What is wrong with the others
// is not its concern.
func unwrapShort(raw []byte, n, used int) (int, int) {
	for {
		b := raw[used:]
		if len(b) < 2+maskSize || b[0] != fin|Binary {
			return n, used
		}
		end := 2 + maskSize + int(b[1]) - masked
		if end <= 2+maskSize || end > 2+maskSize+MaxControl || end > len(b) {
			return n, used
		}
		payload := b[2+maskSize : end]
		unmask(raw[n:n+len(payload)], payload, binary.LittleEndian.Uint32(b[2:]))
		n += len(payload)
		used += end
	}
}

// end ends a message at raw[:n]. A line gets its line feed if it has none, in the room that headers before it have left.
func (r *Reader) end(raw []byte, n, used int, f *Found) (int, *Error) {
	ended := r.message
	if r.message = 0; !r.Text {
		return n, nil
	}
	if r.utf8 > 0 {
		return n, errUTF8
	}
	switch {
	case ended&hasLine != 0, r.FromServer:
	case n < used:
		raw[n] = '\n'
		n++
	default:
		f.LineFeed = true
	}
	return n, nil
}

// check looks at the next bytes of a text message, and returns how many of them come before a mistake.
func (r *Reader) check(b []byte) (right int, err *Error) {
	size := len(b)
	if !r.FromServer {
		if r.is(hasLine) {
			return 0, errLines
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			r.message |= hasLine
			b = b[:i+1]
		}
	}
	if right = r.utf8.valid(b); right < len(b) {
		return right, errUTF8
	}
	if len(b) < size {
		return len(b), errLines
	}
	return size, nil
}

// header takes a header at the beginning of b, and a whole control frame with its payload. size is 0 where there is not
// enough.
func (r *Reader) header(b []byte, f *Found) (size int, err *Error) {
	op := b[0] & 0x0F
	switch {
	case b[0]&0x70 != 0, op > Binary && op < Close, op > Pong:
		return 0, errReserved
	case op >= Close && b[0]&fin == 0:
		return 0, errControl
	case (op == Continuation) != r.is(isOpen) && op < Close:
		return 0, errFragment
	case op == Text && !r.Text:
		return 0, errNotBinary
	case op == Binary && r.Text:
		return 0, errNotText
	}
	if len(b) < 2 {
		return 0, nil
	}
	switch isMasked := b[1]&masked != 0; {
	case isMasked && r.FromServer:
		return 0, errMasked
	case !isMasked && !r.FromServer:
		return 0, errUnmasked
	}
	length, size := uint64(b[1]&^masked), 2
	switch {
	case length > MaxControl && op >= Close:
		return 0, errControl
	case length == 126:
		if size += 2; len(b) < size {
			return 0, nil
		}
		if length = uint64(binary.BigEndian.Uint16(b[2:])); length < 126 {
			return 0, errLength
		}
	case length == 127:
		if size += 8; len(b) < size {
			return 0, nil
		}
		if length = binary.BigEndian.Uint64(b[2:]); length < 1<<16 || length >= 1<<63 {
			return 0, errLength
		}
	}
	mask := uint32(0)
	if !r.FromServer {
		if size += maskSize; len(b) < size {
			return 0, nil
		}
		mask = binary.LittleEndian.Uint32(b[size-maskSize:])
	}
	if op >= Close {
		if len(b) < size+int(length) {
			return 0, nil
		}
		return size + int(length), f.control(op, b[size:size+int(length)], mask, size)
	}
	if length == 0 {
		f.Hollow += size
	}
	r.left, r.mask = length, mask
	if op != Continuation {
		r.message, r.utf8 = isOpen, 0
	}
	if b[0]&fin != 0 {
		r.message |= isLast
	}
	return size, nil
}

// control takes a whole control frame.
func (f *Found) control(op byte, payload []byte, mask uint32, header int) *Error {
	f.Controls++
	f.Size += header + len(payload)
	switch op {
	case Ping:
		f.Ping = f.ping[:len(payload)]
		unmask(f.Ping, payload, mask)
	case Close:
		var own [MaxControl]byte
		body := own[:len(payload)]
		unmask(body, payload, mask)
		if err := f.close(body); err != nil {
			return err
		}
		f.Closed = true
	}
	return nil
}

// close takes the payload of a Close frame.
func (f *Found) close(body []byte) *Error {
	switch len(body) {
	case 0:
		f.Code = NoCode
		return nil
	case 1:
		return errClose
	}
	f.Code = binary.BigEndian.Uint16(body)
	switch {
	case f.Code >= FirstApplication && f.Code <= LastApplication:
	case f.Code < Normal, f.Code > 1014, f.Code >= 1004 && f.Code <= 1006:
		return errClose
	}
	if !utf8.Valid(body[2:]) {
		return errUTF8
	}
	f.Reason = string(body[2:])
	return nil
}

// AppendHeader appends the header of a frame that a server sends.
func AppendHeader(dst []byte, op byte, last bool, length int) []byte {
	return appendHeader(dst, op, last, length, 0)
}

func appendHeader(dst []byte, op byte, last bool, length int, mask byte) []byte {
	if last {
		op |= fin
	}
	switch {
	case length < 126:
		return append(dst, op, mask|byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, op, mask|126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, op, mask|127), uint64(length))
}

// AppendMasked appends a whole frame that a client sends. mask must be random, and another for each frame.
func AppendMasked(dst []byte, op byte, payload []byte, mask uint32) []byte {
	dst = appendHeader(dst, op, true, len(payload), masked)
	dst = binary.LittleEndian.AppendUint32(dst, mask)
	at := len(dst)
	dst = append(dst, payload...)
	unmask(dst[at:], dst[at:], mask)
	return dst
}

// AppendClose appends the payload of a Close frame: the code, and as much of the reason as there is room for. What is not UTF-8 in the
// reason is replaced.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	for len(reason) > MaxControl-2 {
		_, size := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-size]
	}
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}

// utf8Check checks a text that comes in pieces: it is what the present character still needs, an index in utf8Needs. 0 is nothing.
type utf8Check uint8

// utf8Needs say what the next byte may be, and what is needed after it.
var utf8Needs = [...]struct {
	lo, hi uint8
	then   utf8Check
}{
	1: {0x80, 0xBF, 0}, // one byte
	2: {0x80, 0xBF, 1}, // two
	3: {0xA0, 0xBF, 1}, // two, of a character that must not have a shorter form
	4: {0x80, 0x9F, 1}, // two, of one that must be no surrogate
	5: {0x80, 0xBF, 2}, // three
	6: {0x90, 0xBF, 2}, // three, of one that must not have a shorter form
	7: {0x80, 0x8F, 2}, // three, of one that must not be beyond Unicode
}

// valid returns how many bytes of b the text may go on with: all of them, or those before the first that is wrong.
func (u *utf8Check) valid(b []byte) int {
	if *u == 0 && utf8.Valid(b) {
		return len(b)
	}
	for i, c := range b {
		if *u > 0 {
			need := utf8Needs[*u]
			if c < need.lo || c > need.hi {
				return i
			}
			*u = need.then
			continue
		}
		switch {
		case c < 0x80:
		case c < 0xC2, c > 0xF4:
			return i
		case c < 0xE0:
			*u = 1
		case c == 0xE0:
			*u = 3
		case c == 0xED:
			*u = 4
		case c < 0xF0:
			*u = 2
		case c == 0xF0:
			*u = 6
		case c == 0xF4:
			*u = 7
		default:
			*u = 5
		}
	}
	return len(b)
}

//go:build linux

package minimal

import (
	"encoding/binary"
	"slices"
)

// The wire format, as far as this server speaks it.
const (
	headerLen = 16
	begins    = 0x52<<8 | 1<<4 // magic and version, with the flags below them
	maxBody   = 1 << 20

	heartbeatType   = 0xFF00
	closeType       = 0xFF02
	firstSystemType = 0xFF00

	idLengths = 0xFFFF << 16 // in the second half of a header
)

// Flags of a message.
type Flags uint8

// The known flags.
const (
	FlagReply Flags = 1
	FlagError Flags = 2
)

// Codes of the notice that a connection closes.
const (
	codeClientClosed     = 1000
	codeHeartbeatTimeout = 1002
	codeSlowConsumer     = 1003
	codeInternalError    = 1008
	codePushedOut        = 2000
	codeUnauthorized     = 2003
	codeInvalidMessage   = 2004
)

// Message is a received message. It is valid until its handler returns.
type Message struct {
	Type   uint16
	Flags  Flags // none: a reply has no handler, since this server asks nothing
	Device uint16
	ID     uint32
	User   string // to which the connection is bound
	Dest   string
	Body   []byte // a part of the read buffer

	from *Conn
}

// putHeader writes the header of a frame without user IDs.
func putHeader(f []byte, typ uint16, flags Flags, id uint32, body int) {
	h := (*[headerLen]byte)(f) // one check of the bounds
	binary.BigEndian.PutUint64(h[:], begins<<48|uint64(flags)<<48|uint64(typ)<<32|uint64(body))
	binary.BigEndian.PutUint32(h[8:], id)
	binary.BigEndian.PutUint32(h[12:], 0) // as one number with the ID they are stored byte by byte
}

// appendFrame appends a frame without user IDs.
func appendFrame(dst []byte, typ uint16, flags Flags, id uint32, body []byte) []byte {
	start, n := len(dst), headerLen+len(body)
	if n > cap(dst)-start {
		dst = slices.Grow(dst, n)
	}
	dst = dst[:start+n]
	putHeader(dst[start:], typ, flags, id, len(body))
	copy(dst[start+headerLen:], body)
	return dst
}

// appendClose appends the notice that a connection closes.
func appendClose(dst []byte, code uint16) []byte {
	return appendFrame(dst, closeType, 0, 0, []byte{byte(code >> 8), byte(code), 0, 0}) // no text
}

// logonID returns the user ID of the frame that begins with b: need is how many bytes must have come first, and ok is
// false if the frame binds no user.
func logonID(b []byte) (id []byte, need int, ok bool) {
	if len(b) < headerLen {
		return nil, headerLen, true
	}
	length, user := binary.BigEndian.Uint32(b[4:]), int(b[12])
	if user == 0 || length > maxBody || user > int(length) {
		return nil, 0, false
	}
	if total := headerLen + int(length); len(b) < total {
		return nil, total, true
	}
	return b[headerLen : headerLen+user], 0, true
}

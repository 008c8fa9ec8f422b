// Package layout is the inside of protocol's wire format, for the packages of this module: plain frames, which nearly all
// messages are, and the layouts of bodies. It knows no types of protocol's, which uses it.
package layout

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// HeaderLen is the length in bytes of a binary frame's header. The user ID, the destination's and the body follow it.
const HeaderLen = 16

const (
	// Magic is the first byte of a frame.
	Magic = 0x52
	// Version is the upper half of the second byte.
	Version = 1

	firstSystemType = 0xFF00
	flagReply       = 1
	flagError       = 2
)

// Plain is what the header of a plain frame says: one of an application's type, without flags and user IDs.
type Plain struct {
	Type, Device uint16
	ID           uint32
}

// DecodePlain reads the header of the frame that src begins with when it is as nearly all of a client's are: plain, whole, its body of
// maxBody bytes at most. It returns the frame's length, or 0 for any other frame: what is to be said of that one,
// protocol.Binary's Decode knows. The body is the rest of the frame.
//
// It is Decode for those who read a great many messages: two loads and four comparisons.
func DecodePlain(src []byte, maxBody int) (p Plain, n int) {
	if len(src) < HeaderLen {
		return p, 0
	}
	head, tail := binary.BigEndian.Uint64(src), binary.BigEndian.Uint64(src[8:])
	typ, length := uint16(head>>32), head&math.MaxUint32
	if head>>48 != Magic<<8|Version<<4 || tail&0xFFFF0000 != 0 || typ-1 >= firstSystemType-1 ||
		length > uint64(maxBody) || length > uint64(len(src)-HeaderLen) {
		return p, 0
	}
	return Plain{Type: typ, Device: uint16(tail), ID: uint32(tail >> 32)}, HeaderLen + int(length)
}

// PutPlain writes a frame without user IDs to the beginning of dst and returns its length. It returns 0, and has written
// nothing, when dst is too short, the type is not the application's, there is another flag than FlagReply, or the body is
// too large for a frame: it is protocol.Binary's Append for those who send a great many messages, without its growing and its
// errors.
func PutPlain(dst []byte, typ uint16, flags uint8, id uint32, body []byte) (n int) {
	if n = HeaderLen + len(body); n > len(dst) || typ-1 >= firstSystemType-1 || flags > flagReply || uint64(len(body)) > math.MaxUint32 {
		return 0
	}
	putHeader(dst, typ, flags, id, len(body))
	copy(dst[HeaderLen:n], body)
	return n
}

// AppendReply appends the reply to a message of this type and ID, from the server itself. It reports false, and returns dst as
// it was, for what protocol.Binary's Append refuses: it is Append for those who answer a great many messages.
func AppendReply(dst []byte, typ uint16, flags uint8, id uint32, body []byte) ([]byte, bool) {
	if typ == 0 || flags > flagReply|flagError || flags == flagError || uint64(len(body)) > math.MaxUint32 {
		return dst, false
	}
	start := len(dst)
	out := slices.Grow(dst, HeaderLen+len(body))[:start+HeaderLen+len(body)]
	putHeader(out[start:], typ, flags, id, len(body))
	copy(out[start+HeaderLen:], body)
	return out, true
}

// putHeader writes a header without user IDs.
func putHeader(dst []byte, typ uint16, flags uint8, id uint32, length int) {
	h := (*[HeaderLen]byte)(dst) // one check of the bounds
	binary.BigEndian.PutUint64(h[:], Magic<<56|Version<<52|uint64(flags)<<48|uint64(typ)<<32|uint64(length))
	// The ID, then zeros. Of a shift instead the compiler makes a store for each byte.
	binary.LittleEndian.PutUint64(h[8:], uint64(bits.ReverseBytes32(id)))
}

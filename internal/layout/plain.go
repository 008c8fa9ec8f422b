// Package layout has the internals of protocol's wire format for the packages of this module: plain frames, which most
// messages are, and the layouts of bodies. It uses no types of protocol, because protocol imports it.
package layout

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// HeaderLen is the length in bytes of a binary frame's header. The user ID, the destination's user ID and the body follow it.
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

// Plain has the header fields of a plain frame: a frame of an application's type, without flags and user IDs.
type Plain struct {
	Type, Device uint16
	ID           uint32
}

// DecodePlain reads the header of the frame at the beginning of src if that is plain, whole, and has a body of at most maxBody
// bytes. It returns the frame's length, or 0 for any other frame, which protocol.Binary's Decode must read. The body is the rest
// of the frame.
//
// It is faster than Decode: two loads and four comparisons.
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

// PutPlain writes a frame without user IDs to the beginning of dst and returns its length. It writes nothing and returns 0 if
// dst is too short, the type is not the application's, there is a flag besides FlagReply, or the body is too large for a frame.
// It is faster than protocol.Binary's Append, because it neither grows dst nor makes errors.
func PutPlain(dst []byte, typ uint16, flags uint8, id uint32, body []byte) (n int) {
	if n = HeaderLen + len(body); n > len(dst) || typ-1 >= firstSystemType-1 || flags > flagReply || uint64(len(body)) > math.MaxUint32 {
		return 0
	}
	putHeader(dst, typ, flags, id, len(body))
	copy(dst[HeaderLen:n], body)
	return n
}

// AppendReply appends the server's own reply to a message of this type and ID. It returns dst unchanged and false for a reply
// that protocol.Binary's Append refuses. It is faster than that Append.
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
	// The ID, then zeros. For a shift the compiler would make a store for each byte.
	binary.LittleEndian.PutUint64(h[8:], uint64(bits.ReverseBytes32(id)))
}

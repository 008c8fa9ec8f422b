// Package layout has the layout of a binary frame's header, which protocol.Binary uses. It also has faster functions for plain frames,
// which the module's own packages use. A plain frame has an application's message type, no flags and no user IDs; most messages are
// plain frames. The package uses no types of protocol, because protocol imports it.
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
	// Version is the upper half of the second byte; the flags are its lower half.
	Version = 1

	// Where the fields begin in the header.
	AtVersion = 1
	AtLength  = 4
	AtID      = 8
	AtUser    = 12
	AtDest    = 13

	firstSystemType = 0xFF00
	flagReply       = 1
	flagError       = 2
)

// Header is a header's two words, big endian. The first has the magic, the version, the flags, the type and the length of what follows
// the header; the second has the ID, the lengths of the two user IDs, and the device.
type Header struct{ first, second uint64 }

// ReadHeader returns the header at the beginning of src, which has HeaderLen bytes or more.
func ReadHeader(src []byte) Header {
	b := (*[HeaderLen]byte)(src) // one check of the bounds
	return Header{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[AtID:])}
}

// NewHeader returns a header of this version.
func NewHeader(typ uint16, flags uint8, length, id uint32, user, dest uint8, device uint16) Header {
	return Header{
		first:  Magic<<56 | Version<<52 | uint64(flags)<<48 | uint64(typ)<<32 | uint64(length),
		second: uint64(id)<<32 | uint64(user)<<24 | uint64(dest)<<16 | uint64(device),
	}
}

// Put writes the header to the beginning of dst, which has HeaderLen bytes or more.
func (h Header) Put(dst []byte) {
	binary.BigEndian.PutUint64(dst, h.first)
	binary.BigEndian.PutUint64(dst[AtID:], h.second)
}

// IsOurs reports whether magic and version are right, and no flag is set but those in known.
func (h Header) IsOurs(known uint8) bool {
	return h.first>>48&^uint64(known) == Magic<<8|Version<<4
}

func (h Header) Type() uint16   { return uint16(h.first >> 32) }
func (h Header) Flags() uint8   { return uint8(h.first>>48) & 0x0F }
func (h Header) Length() uint32 { return uint32(h.first) }
func (h Header) ID() uint32     { return uint32(h.second >> 32) }
func (h Header) User() uint8    { return uint8(h.second >> 24) } // the length of the user ID
func (h Header) Dest() uint8    { return uint8(h.second >> 16) }
func (h Header) Device() uint16 { return uint16(h.second) }

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
	h := ReadHeader(src)
	typ, length := h.Type(), uint64(h.Length())
	if !h.IsOurs(0) || h.User()|h.Dest() != 0 || typ-1 >= firstSystemType-1 ||
		length > uint64(maxBody) || length > uint64(len(src)-HeaderLen) {
		return p, 0
	}
	return Plain{Type: typ, Device: h.Device(), ID: h.ID()}, HeaderLen + int(length)
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

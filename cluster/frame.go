package cluster

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/usermgr"
)

// frameVersion is the version of what nodes tell each other. A newer version adds kinds and fields, and changes none, so that nodes of two
// versions understand each other while a cluster is upgraded node by node.
const frameVersion = 1

// frameKind says what a frame is for. A node ignores frames of kinds that it does not know.
type frameKind uint8

// The numbers are on the wire: a new kind goes to the end.
const (
	frameEvict   frameKind = iota + 1 // end this session: a claim excludes it
	frameAlive                        // does this session live?
	frameLives                        // it does; if it is to end, it has not ended yet
	frameGone                         // it has ended, and its Disconnected handlers have returned
	frameHello                        // look at the table: there is a newcomer
	frameWelcome                      // the answer to frameHello
)

// fieldNumber says what a field of a frame is. A node skips fields that it does not know, and takes a field that is missing for zero.
type fieldNumber uint8

// The numbers are on the wire: a new field goes to the end.
const (
	fieldSession fieldNumber = iota + 1
	fieldRemote              // of frame.by
	fieldVia                 // of frame.by
	fieldVersion
	fieldWay // see WithDetour
)

// frame is what nodes tell each other. On the mesh it is 1 B kind, 4 B from, 4 B to, then fields: 1 B number, the length as a varint, and
// that many bytes. Fields that are zero are left out.
type frame struct {
	kind     frameKind
	from, to Incarnation
	session  uuid.UUID
	by       usermgr.Address // with frameEvict: of the logon. Its Conn is not told
	way      []byte          // set by a mesh of two ways
	version  uint64          // with frameHello and frameWelcome: the sender's frameVersion
}

const frameHeader = 1 + 4 + 4 // all versions have it

var errBadFrame = errors.New("rollcall: a frame of the mesh is malformed")

func (f *frame) encode() []byte {
	b := make([]byte, frameHeader, frameHeader+64)
	b[0] = byte(f.kind)
	binary.BigEndian.PutUint32(b[1:], uint32(f.from))
	binary.BigEndian.PutUint32(b[5:], uint32(f.to))
	if f.session != (uuid.UUID{}) {
		b = appendField(b, fieldSession, f.session[:])
	}
	if r := f.by.Remote; r.IsValid() {
		remote, _ := netip.AddrPortFrom(r.Addr().WithZone(""), r.Port()).MarshalBinary() // it has no error
		b = appendField(b, fieldRemote, remote)
	}
	b = appendField(b, fieldVia, f.by.Via)
	return appendNumber(b, fieldVersion, f.version)
}

// appendField appends a field, unless it is empty.
func appendField[T string | []byte](b []byte, n fieldNumber, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = append(b, byte(n))
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// appendNumber appends a field that is a number, as a varint, unless it is 0.
func appendNumber(b []byte, n fieldNumber, v uint64) []byte {
	if v == 0 {
		return b
	}
	var buf [binary.MaxVarintLen64]byte
	return appendField(b, n, buf[:binary.PutUvarint(buf[:], v)])
}

// decodeFrame decodes a frame. Fields that are slices of bytes are valid as long as b.
func decodeFrame(b []byte) (f frame, err error) {
	if len(b) < frameHeader {
		return frame{}, errBadFrame
	}
	f.kind = frameKind(b[0])
	f.from = Incarnation(binary.BigEndian.Uint32(b[1:]))
	f.to = Incarnation(binary.BigEndian.Uint32(b[5:]))
	for b = b[frameHeader:]; len(b) > 0; {
		n := fieldNumber(b[0])
		size, used := binary.Uvarint(b[1:])
		if used <= 0 || size > uint64(len(b)-1-used) {
			return frame{}, errBadFrame
		}
		b = b[1+used:]
		if !f.setField(n, b[:size]) {
			return frame{}, errBadFrame
		}
		b = b[size:]
	}
	return f, nil
}

// setField sets a field from its bytes. It reports false where they make no sense.
func (f *frame) setField(n fieldNumber, v []byte) (ok bool) {
	switch n {
	case fieldSession:
		return copy(f.session[:], v) == len(f.session) && len(v) == len(f.session)
	case fieldRemote:
		return f.by.Remote.UnmarshalBinary(v) == nil
	case fieldVia:
		f.by.Via = string(v)
	case fieldWay:
		f.way = v
	case fieldVersion:
		f.version, ok = number(v)
		return ok
	}
	return true
}

// number returns the value of a field that is a number.
func number(v []byte) (n uint64, ok bool) {
	n, used := binary.Uvarint(v)
	return n, used > 0 && used == len(v)
}

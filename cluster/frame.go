package cluster

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/usermgr"
)

// frameKind says what a frame is for.
type frameKind uint8

const (
	frameEvict frameKind = iota + 1 // end this session: a claim excludes it
	frameAlive                      // does this session live?
	frameLives                      // it does; if it is to end, it has not ended yet
	frameGone                       // it has ended, and its Disconnected handlers have returned
	frameHello                      // look at the table: there is a newcomer
)

// frame is what nodes tell each other, mostly of one session. On the mesh: 1 B kind, 4 B from, 4 B to, 16 B session,
// 1 B length of the peer's address, the address, then the name of its transport.
type frame struct {
	kind     frameKind
	from, to Incarnation
	session  uuid.UUID
	by       usermgr.Address // with frameEvict: of the logon
}

const frameHeader = 1 + 4 + 4 + 16

var errBadFrame = errors.New("rollcall: a frame of the mesh is malformed")

func (f *frame) encode() []byte {
	peer := f.by.Remote
	remote, _ := netip.AddrPortFrom(peer.Addr().WithZone(""), peer.Port()).MarshalBinary() // it has no error
	b := make([]byte, frameHeader, frameHeader+1+len(remote)+len(f.by.Via))
	b[0] = byte(f.kind)
	binary.BigEndian.PutUint32(b[1:], uint32(f.from))
	binary.BigEndian.PutUint32(b[5:], uint32(f.to))
	copy(b[9:], f.session[:])
	b = append(b, byte(len(remote)))
	b = append(b, remote...)
	return append(b, f.by.Via...)
}

func decodeFrame(b []byte) (f frame, err error) {
	if len(b) < frameHeader+1 || len(b) < frameHeader+1+int(b[frameHeader]) || b[0] < byte(frameEvict) || b[0] > byte(frameHello) {
		return frame{}, errBadFrame
	}
	f.kind = frameKind(b[0])
	f.from = Incarnation(binary.BigEndian.Uint32(b[1:]))
	f.to = Incarnation(binary.BigEndian.Uint32(b[5:]))
	copy(f.session[:], b[9:])
	remote, via := b[frameHeader+1:][:b[frameHeader]], b[frameHeader+1:][b[frameHeader]:]
	f.by.Via = string(via)
	return f, f.by.Remote.UnmarshalBinary(remote)
}

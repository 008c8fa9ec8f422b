package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// frameVersion is the version of what nodes tell each other. A newer version adds kinds and fields, and changes none, so that nodes of two
// versions understand each other while a cluster is upgraded node by node.
const frameVersion = 1

// frameKind says what a frame is for. A node ignores frames of kinds that it does not know.
type frameKind uint8

// The numbers are on the wire: a new kind goes to the end.
const (
	frameEvict     frameKind = iota + 1 // end this session: a claim excludes it
	frameAlive                          // does this session live?
	frameLives                          // it does; if it is to end, it has not ended yet
	frameGone                           // it has ended, and its Disconnected handlers have returned
	frameHello                          // look at the table: there is a newcomer
	frameWelcome                        // the answer to frameHello
	frameDeliver                        // a message for a user's sessions
	frameNotHere                        // the answer to frameDeliver, with all it had: no session got the message
	frameAsk                            // answer a query
	frameAnswer                         // the answer
	frameJoined                         // a user who has a session there has one more, here
	frameForget                         // look again where a user is
	frameCarry                          // what moves with a user who has a session there
	frameMarked                         // a user for whom messages are kept there has a session here
	frameConfirmed                      // that session has confirmed a message that is kept there
	frameUnasked                        // a session here has confirmed a message that no session here was asked for
	frameTell                           // what a service tells the service of the same name
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
	fieldSeq
	fieldFlags
	fieldTicket
	fieldUser
	fieldHead // of frame.message: 2 B type, 1 B flags, 4 B ID, 2 B device
	fieldSender
	fieldDest
	fieldBody
	fieldPolicy
	fieldKey
	fieldCode
	fieldText
	fieldQuery
	fieldHeir
	fieldOwner
	fieldCarry // once for each part: the length of the name as a varint, the name, the part
	fieldPush
	fieldDevice
)

// frame is what nodes tell each other. On the mesh it is 1 B kind, 4 B from, 4 B to, then fields: 1 B number, the length as a varint, and
// that many bytes. Fields that are zero are left out, but for the first ones of frames with a message: see numbers.
type frame struct {
	kind     frameKind
	from, to Incarnation
	session  uuid.UUID
	by       usermgr.Address // with frameEvict: of the logon. Its Conn is not told
	heir     uuid.UUID       // with frameEvict: the logon's session, if it continues this one; zero otherwise
	way      []byte          // set by a mesh of two ways
	version  uint64          // with frameHello and frameWelcome: the sender's frameVersion

	// With frameDeliver and frameNotHere. With frameAsk and frameAnswer the ticket, the message's body and query. With frameJoined and
	// frameForget the user. With frameTell the number, the service's name as the user, and the message's body.
	numbers
	query   query
	user    string // whose sessions get the message
	message protocol.Message
	policy  uint64 // an engine.SlowPolicy
	key     string
	code    protocol.CloseCode // with frameNotHere: why the sessions there did not get it; 0 where there are none
	text    string             // of code
	owner   string             // with frameCarry, frameMarked, frameConfirmed and frameUnasked: the user
	carry   seam.Carry         // with frameGone and frameCarry: what moves with the user
	push    uuid.UUID          // with frameConfirmed and frameUnasked: the message's ID
	device  uint64             // with frameConfirmed and frameUnasked: the session's device class
}

// numbers are the first fields of a frame with a message. They have a fixed size, and are set when the message leaves.
type numbers struct {
	seq    uint64 // grows from each frame of the sender to the next
	flags  deliverFlags
	ticket uint64 // by which the sender knows the message; 0 where it does not wait for frameNotHere
}

// deliverFlags say what was tried before.
type deliverFlags uint8

const (
	// flagResent means that the message has come back from another node: it does not come back again.
	flagResent deliverFlags = 1 << iota
	// flagBeside means that sessions on the sender's node have the message.
	flagBeside
	// flagBusy means, with frameAnswer, that the answer comes later.
	flagBusy
)

// numbersSize is the size of the numbers in a frame.
const numbersSize = (2 + 8) + (2 + 1) + (2 + 8)

const frameHeader = 1 + 4 + 4 // all versions have it

var errBadFrame = errors.New("rollcall: a frame of the mesh is malformed")

func (f *frame) encode() []byte {
	m := &f.message
	b := make([]byte, frameHeader, frameHeader+64+numbersSize+len(f.user)+len(m.UserID)+len(m.DestUserID)+len(m.Body)+len(f.key)+len(f.text))
	b[0] = byte(f.kind)
	if f.hasMessage() {
		b = append(b, make([]byte, numbersSize)...)
		b = f.appendMessage(b)
	}
	f.address(b)
	if f.session != (uuid.UUID{}) {
		b = appendField(b, fieldSession, f.session[:])
	}
	if r := f.by.Remote; r.IsValid() {
		remote, _ := netip.AddrPortFrom(r.Addr().WithZone(""), r.Port()).MarshalBinary() // it has no error
		b = appendField(b, fieldRemote, remote)
	}
	b = appendField(b, fieldVia, f.by.Via)
	if f.heir != (uuid.UUID{}) {
		b = appendField(b, fieldHeir, f.heir[:])
	}
	b = appendNumber(b, fieldVersion, f.version)
	b = appendField(b, fieldOwner, f.owner)
	if f.push != (uuid.UUID{}) {
		b = appendField(b, fieldPush, f.push[:])
	}
	b = appendNumber(b, fieldDevice, f.device)
	for name, part := range f.carry {
		v := append(binary.AppendUvarint(nil, uint64(len(name))), name...)
		b = appendField(b, fieldCarry, append(v, part...))
	}
	return b
}

// hasMessage reports whether the frame has a message, and numbers.
func (f *frame) hasMessage() bool {
	return f.kind >= frameDeliver && f.kind <= frameForget || f.kind == frameTell
}

// address writes what says where the encoded frame goes: from, to, and the numbers.
func (f *frame) address(b []byte) {
	binary.BigEndian.PutUint32(b[1:], uint32(f.from))
	binary.BigEndian.PutUint32(b[5:], uint32(f.to))
	if !f.hasMessage() {
		return
	}
	b = b[frameHeader:]
	b[0], b[1] = byte(fieldSeq), 8
	binary.BigEndian.PutUint64(b[2:], f.seq)
	b[10], b[11], b[12] = byte(fieldFlags), 1, byte(f.flags)
	b[13], b[14] = byte(fieldTicket), 8
	binary.BigEndian.PutUint64(b[15:], f.ticket)
}

func (f *frame) appendMessage(b []byte) []byte {
	m := &f.message
	b = appendField(b, fieldUser, f.user)
	var head [9]byte
	binary.BigEndian.PutUint16(head[:], m.Type)
	head[2] = byte(m.Flags)
	binary.BigEndian.PutUint32(head[3:], m.ID)
	binary.BigEndian.PutUint16(head[7:], m.Device)
	b = appendField(b, fieldHead, head[:])
	b = appendField(b, fieldSender, m.UserID)
	b = appendField(b, fieldDest, m.DestUserID)
	b = appendField(b, fieldBody, m.Body)
	b = appendNumber(b, fieldPolicy, f.policy)
	b = appendField(b, fieldKey, f.key)
	b = appendNumber(b, fieldCode, uint64(f.code))
	b = appendNumber(b, fieldQuery, uint64(f.query))
	return appendField(b, fieldText, f.text)
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
	case fieldHeir:
		return copy(f.heir[:], v) == len(f.heir) && len(v) == len(f.heir)
	case fieldRemote:
		return f.by.Remote.UnmarshalBinary(v) == nil && f.by.Remote.IsValid()
	case fieldVia:
		f.by.Via = string(v)
	case fieldWay:
		f.way = v
	case fieldVersion:
		f.version, ok = number(v)
		return ok
	case fieldOwner:
		f.owner = string(v)
	case fieldPush:
		return copy(f.push[:], v) == len(f.push) && len(v) == len(f.push)
	case fieldDevice:
		f.device, ok = number(v)
		return ok
	case fieldCarry:
		return f.setCarry(v)
	}
	return !f.hasMessage() || f.setMessageField(n, v)
}

// setMessageField is setField for frames with a message.
func (f *frame) setMessageField(n fieldNumber, v []byte) (ok bool) {
	m := &f.message
	switch n {
	case fieldSeq:
		f.seq, ok = fixed(v)
		return ok
	case fieldFlags:
		if len(v) != 1 {
			return false
		}
		f.flags = deliverFlags(v[0])
	case fieldTicket:
		f.ticket, ok = fixed(v)
		return ok
	case fieldUser:
		f.user = string(v)
	case fieldHead:
		if len(v) != 9 {
			return false
		}
		m.Type, m.Flags = binary.BigEndian.Uint16(v), protocol.Flags(v[2])
		m.ID, m.Device = binary.BigEndian.Uint32(v[3:]), binary.BigEndian.Uint16(v[7:])
	case fieldSender:
		m.UserID = string(v)
	case fieldDest:
		if m.DestUserID = f.user; string(v) != f.user { // as a rule they are the same
			m.DestUserID = string(v)
		}
	case fieldBody:
		m.Body = v[:len(v):len(v)]
	case fieldPolicy:
		f.policy, ok = number(v)
		return ok
	case fieldKey:
		f.key = string(v)
	case fieldCode:
		code, ok := number(v)
		f.code = protocol.CloseCode(code)
		return ok && code == uint64(f.code)
	case fieldText:
		f.text = string(v)
	case fieldQuery:
		q, ok := number(v)
		f.query = query(q)
		return ok && q == uint64(f.query)
	}
	return true
}

// fixed returns the value of a field that is a number of 8 bytes.
func fixed(v []byte) (n uint64, ok bool) {
	if len(v) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(v), true
}

// setCarry sets a part of what moves with a user.
func (f *frame) setCarry(v []byte) (ok bool) {
	size, used := binary.Uvarint(v)
	if used <= 0 || size > uint64(len(v)-used) {
		return false
	}
	if f.carry == nil {
		f.carry = make(seam.Carry)
	}
	v = v[used:]
	f.carry[string(v[:size])] = bytes.Clone(v[size:])
	return true
}

// number returns the value of a field that is a number.
func number(v []byte) (n uint64, ok bool) {
	n, used := binary.Uvarint(v)
	return n, used > 0 && used == len(v)
}

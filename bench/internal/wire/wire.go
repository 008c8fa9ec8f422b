// Package wire builds the frames that the load generator sends, and finds the end of the frames that it gets, in
// Rollcall's format and in zinx's.
package wire

import (
	"encoding/binary"

	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// MessageType is the type of every message of the benchmark.
const MessageType = 1

// Dialect is a wire format as the load generator needs it.
type Dialect interface {
	// AppendLogon appends a connection's first frame. Where users are bound it binds one. It is answered.
	AppendLogon(dst []byte, userID string) []byte
	// AppendFrame appends a request of size bytes, header included. It is answered by a frame of the same size.
	AppendFrame(dst []byte, size int) []byte
	// FrameLen returns the length of the frame that begins with b, or 0 while b is too short to tell.
	FrameLen(b []byte) int
	// HeaderLen is the length of a header without user IDs: what follows is echoed as it is.
	HeaderLen() int
}

// Rollcall is the format of package protocol. Byte echoes are spoken to in it too.
var Rollcall Dialect = rollcall{}

type rollcall struct{}

func (rollcall) HeaderLen() int { return layout.HeaderLen }

func (rollcall) AppendLogon(dst []byte, userID string) []byte {
	return mustAppend(dst, &protocol.Message{Type: MessageType, ID: 1, UserID: userID})
}

func (rollcall) AppendFrame(dst []byte, size int) []byte {
	return mustAppend(dst, &protocol.Message{Type: MessageType, ID: 1, Body: filling(size - layout.HeaderLen)})
}

func mustAppend(dst []byte, m *protocol.Message) []byte {
	dst, err := protocol.Binary.Append(dst, m)
	if err != nil {
		panic(err)
	}
	return dst
}

func (rollcall) FrameLen(b []byte) int {
	if len(b) < layout.HeaderLen {
		return 0
	}
	return layout.HeaderLen + int(binary.BigEndian.Uint32(b[4:]))
}

// Zinx is zinx's own format, its default: type, length, value, big-endian.
var Zinx Dialect = zinx{}

type zinx struct{}

const zinxHeaderLen = 8

func (zinx) HeaderLen() int { return zinxHeaderLen }

// AppendLogon is an ordinary message that carries the name: zinx knows no users.
func (z zinx) AppendLogon(dst []byte, userID string) []byte { return z.append(dst, []byte(userID)) }

func (z zinx) AppendFrame(dst []byte, size int) []byte {
	return z.append(dst, filling(size-zinxHeaderLen))
}

func (zinx) append(dst, body []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, MessageType)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	return append(dst, body...)
}

func (zinx) FrameLen(b []byte) int {
	if len(b) < zinxHeaderLen {
		return 0
	}
	return zinxHeaderLen + int(binary.BigEndian.Uint32(b[4:]))
}

// filling is a body of n bytes, no two neighbours alike.
func filling(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return b
}

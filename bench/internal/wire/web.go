package wire

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Scheme stands before the address of a server that speaks WebSocket.
const Scheme = "ws://"

// UpgradeRequest is the HTTP request with which a WebSocket begins. AcceptedKey is in the answer.
const (
	UpgradeRequest = "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	AcceptedKey = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// Opcodes of RFC 6455, section 5.2, and the bits beside them and beside a length.
const (
	opBinary  = 0x2
	opClose   = 0x8
	opPong    = 0xA
	bitFin    = 0x80
	bitMasked = 0x80
)

// AppendMasked appends a binary WebSocket message of one frame, as a client sends it, with a random mask.
func AppendMasked(dst, payload []byte) []byte {
	dst = append(dst, bitFin|opBinary)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, bitMasked|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, bitMasked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, bitMasked|127), uint64(n))
	}
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], rand.Uint32())
	dst = append(dst, mask[:]...)
	for i, c := range payload {
		dst = append(dst, c^mask[i%len(mask)])
	}
	return dst
}

// Unwrapper finds the payloads of the data frames that a WebSocket server sends. The zero value is for a connection's first byte.
type Unwrapper struct {
	left    int      // payload bytes of the present frame that have not come
	control bool     // it is a Ping or a Pong
	head    [10]byte // of a header that is not whole
	have    int      // bytes in head
}

// Next returns the first piece of payload in b, empty if there is none, and what follows it. A Close is an error.
func (u *Unwrapper) Next(b []byte) (payload, rest []byte, err error) {
	for len(b) > 0 {
		if u.left > 0 {
			n := min(u.left, len(b))
			u.left -= n
			if !u.control {
				return b[:n], b[n:], nil
			}
			b = b[n:]
			continue
		}
		size, length := 0, 0
		first := b[0]
		if u.have == 0 {
			if size, length = header(b); size == 0 {
				u.have = copy(u.head[:], b)
				return nil, nil, nil
			}
			b = b[size:]
		} else {
			u.head[u.have] = first
			u.have++
			b = b[1:]
			if size, length = header(u.head[:u.have]); size == 0 {
				continue
			}
			first, u.have = u.head[0], 0
		}
		op := first & 0x0F
		switch {
		case op == opClose:
			return nil, nil, fmt.Errorf("the server sent a WebSocket Close")
		case first&0x70 != 0, op > opBinary && op < opClose, op > opPong:
			return nil, nil, fmt.Errorf("the server sent a WebSocket frame that begins with %#x", first)
		}
		u.left, u.control = length, op > opClose
	}
	return nil, nil, nil
}

// header returns the size of the header at the beginning of b, 0 while b is too short, and the length of the payload.
func header(b []byte) (size, length int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch n := int(b[1]); {
	case n < 126:
		return 2, n
	case n == 126 && len(b) >= 4:
		return 4, int(binary.BigEndian.Uint16(b[2:]))
	case n == 127 && len(b) >= 10:
		return 10, int(binary.BigEndian.Uint64(b[2:]))
	}
	return 0, 0
}

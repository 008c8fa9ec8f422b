// Package udpwire takes the datagrams of Rollcall over UDP apart and makes them, as bytes: see docs/protocol.md, "UDP". It knows no
// sockets.
package udpwire

import (
	"encoding/binary"

	"github.com/rollcall-go/rollcall/internal/layout"
)

// Kinds of datagrams: the first byte.
const (
	Hello     = 1 // of a client that is new: it asks for a cookie
	Cookie    = 2
	Logon     = 3 // the cookie, and the first frame
	Welcome   = 4 // the session's ID, and the answer to the first frame
	Data      = 5
	Challenge = 6 // to an address that a session's datagram has come from for the first time
	Response  = 7
	Gone      = 8 // there is no such session
	Sealed    = 9 // one of the others, encrypted: see Cipher
)

// Sizes in bytes.
const (
	// MaxDatagram is the size of the largest datagram. It passes through every network without being cut.
	MaxDatagram = 1200
	// MaxFrame is that of the largest frame, which one datagram has as a whole.
	MaxFrame = MaxDatagram - DataHeader
	// MaxBody is that of the largest body of a message without user IDs.
	MaxBody = MaxFrame - layout.HeaderLen

	// HelloSize is that of a Hello, which is not smaller than its answer.
	HelloSize     = 64
	CookieSize    = 1 + 8 + ProofSize
	LogonHeader   = CookieSize // the frame follows
	WelcomeHeader = 1 + 8 + 8 + KeySize
	DataHeader    = 1 + 8 + 4
	ChallengeSize = 1 + 8 + 8
	ResponseSize  = 1 + 8 + MACSize
	GoneSize      = 1 + 8 + 2 // without a text

	// ProofSize is the size of what a Cookie proves an address with: the time and a MAC.
	ProofSize = 4 + MACSize
	// MACSize is the size of a MAC: half of HMAC-SHA256.
	MACSize = 16
	// KeySize is the size of a session's key.
	KeySize = 16
)

// ID returns the session's ID of a datagram, or the nonce of one that has none yet. b has 9 bytes or more.
func ID(b []byte) uint64 { return binary.BigEndian.Uint64(b[1:]) }

// begin appends the kind and the ID.
func begin(dst []byte, kind byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kind), id)
}

// AppendHello appends a Hello.
func AppendHello(dst []byte, nonce uint64) []byte {
	return append(begin(dst, Hello, nonce), make([]byte, HelloSize-9)...)
}

// AppendCookie appends the answer to a Hello.
func AppendCookie(dst []byte, nonce uint64, proof [ProofSize]byte) []byte {
	return append(begin(dst, Cookie, nonce), proof[:]...)
}

// AppendLogon appends a Logon: the proof of a Cookie, and the first frame.
func AppendLogon(dst []byte, nonce uint64, proof [ProofSize]byte, frame []byte) []byte {
	return append(append(begin(dst, Logon, nonce), proof[:]...), frame...)
}

// Proof returns the proof of a Cookie or Logon, which has LogonHeader bytes or more.
func Proof(b []byte) [ProofSize]byte { return [ProofSize]byte(b[9:]) }

// AppendWelcome appends the answer to a Logon. An ID of 0 says that there is no session, and the frames why.
func AppendWelcome(dst []byte, nonce, id uint64, key [KeySize]byte, frames []byte) []byte {
	return append(append(binary.BigEndian.AppendUint64(begin(dst, Welcome, nonce), id), key[:]...), frames...)
}

// Session returns the session's ID and key of a Welcome, which has WelcomeHeader bytes or more.
func Session(b []byte) (id uint64, key [KeySize]byte) {
	return binary.BigEndian.Uint64(b[9:]), [KeySize]byte(b[17:])
}

// AppendData appends the header of Data; frames follow it.
func AppendData(dst []byte, id uint64, sequence uint32) []byte {
	return binary.BigEndian.AppendUint32(begin(dst, Data, id), sequence)
}

// Sequence returns the sequence number of Data, which has DataHeader bytes or more.
func Sequence(b []byte) uint32 { return binary.BigEndian.Uint32(b[9:]) }

// AppendChallenge appends a Challenge.
func AppendChallenge(dst []byte, id, challenge uint64) []byte {
	return binary.BigEndian.AppendUint64(begin(dst, Challenge, id), challenge)
}

// Challenged returns the challenge of a Challenge, which has ChallengeSize bytes.
func Challenged(b []byte) uint64 { return binary.BigEndian.Uint64(b[9:]) }

// AppendResponse appends a Response.
func AppendResponse(dst []byte, id uint64, answer [MACSize]byte) []byte {
	return append(begin(dst, Response, id), answer[:]...)
}

// Answered returns the answer of a Response, which has ResponseSize bytes.
func Answered(b []byte) [MACSize]byte { return [MACSize]byte(b[9:]) }

// AppendGone appends a Gone, with the code of a Close and no text.
func AppendGone(dst []byte, id uint64, code uint16) []byte {
	return binary.BigEndian.AppendUint16(begin(dst, Gone, id), code)
}

// GoneCode returns the code of a Gone, which has GoneSize bytes or more.
func GoneCode(b []byte) uint16 { return binary.BigEndian.Uint16(b[9:]) }

// IsWhole reports whether a datagram has the size that its kind needs.
func IsWhole(b []byte) bool {
	if len(b) == 0 || len(b) > MaxDatagram {
		return false
	}
	switch b[0] {
	case Hello:
		return len(b) >= HelloSize
	case Cookie:
		return len(b) == CookieSize
	case Logon:
		return len(b) > LogonHeader
	case Welcome:
		return len(b) >= WelcomeHeader
	case Data:
		return len(b) >= DataHeader
	case Challenge:
		return len(b) == ChallengeSize
	case Response:
		return len(b) == ResponseSize
	case Gone:
		return len(b) >= GoneSize
	case Sealed:
		return len(b) >= SealedMore
	}
	return false
}

// FrameLen returns the length of the frame at the beginning of b; 0 if that is not whole.
func FrameLen(b []byte) int {
	if len(b) < layout.HeaderLen {
		return 0
	}
	if n := layout.HeaderLen + uint64(layout.ReadHeader(b).Length()); n <= uint64(len(b)) {
		return int(n)
	}
	return 0
}

// Fill returns how many bytes of whole frames at the beginning of b fit into most bytes. 0 means that the first frame does not, or is not
// whole.
func Fill(b []byte, most int) (n int) {
	for {
		m := FrameLen(b[n:])
		if m == 0 || n+m > most {
			return n
		}
		n += m
	}
}

// Look returns how many bytes of whole frames b begins with, and whether one of them is of the type.
func Look(b []byte, typ uint16) (n int, has bool) {
	for m := FrameLen(b); m > 0; m = FrameLen(b[n:]) {
		has = has || layout.ReadHeader(b[n:]).Type() == typ
		n += m
	}
	return n, has
}

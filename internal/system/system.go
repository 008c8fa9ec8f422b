// Package system writes and reads those bodies of system messages that only Rollcall's own packages need. Package
// protocol has the functions that a codec of an application needs: AppendStringMap, ParseLogonReply, ParseClose and ParsePush.
package system

import (
	"github.com/rollcall-go/rollcall/internal/bodies"
	"github.com/rollcall-go/rollcall/protocol"
)

// FieldMaxBody, in a Logon's reply, is the largest body that may be sent either way, in bytes, in decimal. Without the field it is
// protocol.DefaultMaxBody.
const FieldMaxBody = "max-body"

// Fields for datagrams beside TLS: see docs/protocol.md.
const (
	// FieldUDP, in a Logon, asks for them. Its value does not matter.
	FieldUDP = "udp"
	// FieldUDPID, in the answer, is the session's ID in datagrams: 16 hexadecimal digits.
	FieldUDPID = "udp-id"
	// FieldUDPKey, in the answer, is the secret from which their keys come: 64 hexadecimal digits.
	FieldUDPKey = "udp-key"
)

// AppendClose appends the body of a Close message or of an error reply: u16 code, u16 length of the text, the text,
// and, if e.Info is not empty, a string map.
//
// It always succeeds, so that a bad text never prevents a notice. Bytes of the text that are not UTF-8 become U+FFFD. A text over
// 65,535 bytes is cut between two runes. Pairs of e.Info that a string map cannot hold (see [protocol.AppendStringMap]), or beyond
// [bodies.MaxFields], are left out. It is safe for concurrent use.
func AppendClose(dst []byte, e *protocol.CloseError) []byte {
	return bodies.AppendClose(dst, uint16(e.Code), e.Text, e.Info)
}

// AppendLogonReply appends the body of the reply to an accepted Logon: u16 code 0, then fields as a string map, with
// [protocol.AppendStringMap]'s errors. (The reply to a refused one has FlagError, and AppendClose's body.) It is safe for
// concurrent use.
func AppendLogonReply(dst []byte, fields map[string]string) ([]byte, error) {
	out, err := bodies.AppendMap(append(dst, 0, 0), fields)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// ParseStringMap reads what [protocol.AppendStringMap] writes, pairs in any order; b must hold the map and nothing else. An empty b is
// an empty map. The result shares no memory with b and is never nil without an error.
//
// The error is a *protocol.CloseError with InvalidMessage: b is cut off or goes on after the last pair, a key is empty or comes
// twice, or a key or value is not UTF-8. It is safe for concurrent use.
func ParseStringMap(b []byte) (map[string]string, error) {
	m, err := bodies.ParseMap(b)
	if err != nil {
		return nil, invalid("%v", err)
	}
	return m, nil
}

// invalid refuses a body.
func invalid(format string, a ...any) error {
	return protocol.Errorf(protocol.InvalidMessage, format, a...)
}

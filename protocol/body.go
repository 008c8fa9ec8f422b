package protocol

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// AppendClose appends the body of a Close message or of an error reply: u16 code, u16 length of the text, the text,
// and, if e.Info is not empty, a string map.
//
// It always succeeds, so that a bad text never prevents a notice. Bytes of the text that are not UTF-8 become U+FFFD. A text over
// 65,535 bytes is cut between two runes. Pairs of e.Info that a string map cannot hold (see [AppendStringMap]), or beyond
// [MaxFields], are left out. It is safe for concurrent use.
func AppendClose(dst []byte, e *CloseError) []byte {
	text := strings.ToValidUTF8(e.Text, string(utf8.RuneError))
	if len(text) > math.MaxUint16 {
		n := math.MaxUint16
		for !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(e.Code))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(text)))
	dst = append(dst, text...)

	keys := slices.Sorted(maps.Keys(e.Info))
	keys = slices.DeleteFunc(keys, func(k string) bool { return pairError(k, e.Info[k]) != nil })
	if len(keys) == 0 {
		return dst
	}
	return appendPairs(dst, e.Info, keys[:min(len(keys), MaxFields)])
}

// ParseClose reads what [AppendClose] writes: the body of a Close message or of an error reply. Any code is accepted.
// The result shares no memory with body; its Info is nil if the body has no string map, or an empty one.
//
// The error is a *CloseError too, with InvalidMessage; it is never the parsed CloseError. It says that body is cut off, its text is not
// UTF-8, or its string map is not one (see [ParseStringMap]). It is safe for concurrent use.
func ParseClose(body []byte) (*CloseError, error) {
	if len(body) < 4 {
		return nil, invalid("a code and a text of %d bytes, 4 is the least", len(body))
	}
	size := int(binary.BigEndian.Uint16(body[2:]))
	if len(body) < 4+size {
		return nil, invalid("a text of %d bytes is cut off", size)
	}
	text := body[4 : 4+size]
	if !utf8.Valid(text) {
		return nil, invalid("a text that is not UTF-8")
	}
	info, err := ParseStringMap(body[4+size:])
	if err != nil {
		return nil, err
	}
	if len(info) == 0 {
		info = nil
	}
	return &CloseError{Code: CloseCode(binary.BigEndian.Uint16(body)), Text: string(text), Info: info}, nil
}

// AppendLogonReply appends the body of the reply to an accepted Logon: u16 code 0, then fields as a string map, with
// [AppendStringMap]'s errors. (The reply to a refused one has FlagError, and AppendClose's body.) It is safe for
// concurrent use.
func AppendLogonReply(dst []byte, fields map[string]string) ([]byte, error) {
	out, err := AppendStringMap(append(dst, 0, 0), fields)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// ParseLogonReply reads the body of a Logon's reply, accepted or refused. It returns the fields of an accepted one; a
// nil error says that it was accepted.
//
// A refused one gives the server's *CloseError as the error. A body that is neither gives a *CloseError with
// InvalidMessage. The result shares no memory with body. It is safe for concurrent use.
func ParseLogonReply(body []byte) (map[string]string, error) {
	if len(body) < 2 {
		return nil, invalid("a Logon's reply of %d bytes, 2 is the least", len(body))
	}
	if code := binary.BigEndian.Uint16(body); code != 0 {
		refused, err := ParseClose(body)
		if err != nil {
			return nil, err
		}
		return nil, refused
	}
	return ParseStringMap(body[2:])
}

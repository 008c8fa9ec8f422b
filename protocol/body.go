package protocol

import (
	"encoding/binary"
	"unicode/utf8"
)

// ParseClose reads the body of a Close message or of an error reply: u16 code, u16 length of the text, the text, and, unless the
// body ends there, a string map. Any code is accepted.
// The result shares no memory with body; its Info is nil if the body has no string map, or an empty one.
//
// The error is a *CloseError too, with InvalidMessage; it is never the parsed CloseError. It says that body is cut off, its text is not
// UTF-8, or its string map is not one (see [AppendStringMap]). It is safe for concurrent use.
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
	info, err := parseStringMap(body[4+size:])
	if err != nil {
		return nil, err
	}
	if len(info) == 0 {
		info = nil
	}
	return &CloseError{Code: CloseCode(binary.BigEndian.Uint16(body)), Text: string(text), Info: info}, nil
}

// ParseLogonReply reads the body of a Logon's reply, accepted or refused. For an accepted Logon it returns the fields of the reply and
// a nil error.
//
// For a refused Logon the error is the server's *CloseError. For a body that is neither, the error is a *CloseError with
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
	return parseStringMap(body[2:])
}

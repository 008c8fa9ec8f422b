package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Keys of string maps that have a meaning for Rollcall. All others are the application's.
const (
	// FieldToken, in a Logon, is what the authenticator checks.
	FieldToken = "token"
	// FieldSession is a session ID: in a Logon's reply the new session's, in a Logon the live session to take over.
	// A client that knows it can take the session over, once authenticated: it is a secret.
	FieldSession = "session"
	// FieldHeartbeatMS, in a Logon's reply, is the interval in which a client has to send something, a Heartbeat if it has
	// nothing else to send: a third of the time after which the server ends a silent session, in milliseconds, in decimal.
	// "0", or a reply without the field, means that the client need not send heartbeats.
	FieldHeartbeatMS = "heartbeat-ms"
	// FieldMaxBody, in a Logon's reply, is the largest body that may be sent either way, in bytes, in decimal. Without the
	// field it is DefaultMaxBody.
	FieldMaxBody = "max-body"
	// FieldExpiresMS, in the reply to a Logon or to a Renew, is the time after which the session ends unless the client renews
	// it, in milliseconds, in decimal. Without the field the session does not expire.
	FieldExpiresMS = "expires-ms"
	// FieldRetryMS, in a Close or an error reply, is the least time in milliseconds to wait before trying again, in
	// decimal.
	FieldRetryMS = "retry-ms"
	// FieldAddress, in a Close or an error reply, is the "host:port" to connect to instead.
	FieldAddress = "address"
)

// MaxFields is the largest number of pairs in a string map.
const MaxFields = 255

// AppendStringMap appends m in the form that Logon and its reply carry: u8 count, then for each pair u8 key length,
// key, u16 value length, value. Pairs are in the order of their keys, so that equal maps give equal bytes.
//
// It returns dst as it was and an error if m has more than [MaxFields] pairs, an empty key or one over 255 bytes, a
// value over 65,535 bytes, or a key or value that is not UTF-8. It is safe for concurrent use.
func AppendStringMap(dst []byte, m map[string]string) ([]byte, error) {
	if err := countError(m); err != nil {
		return dst, err
	}
	keys := make([]string, 0, 8) // a loop, not maps.Keys: neither the map nor the keys then have to be on the heap
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := pairError(k, m[k]); err != nil {
			return dst, err
		}
	}
	return appendPairs(dst, m, keys), nil
}

// appendPairs appends the string map of those pairs of m that keys names.
func appendPairs(dst []byte, m map[string]string, keys []string) []byte {
	dst = append(dst, byte(len(keys)))
	for _, k := range keys {
		dst = append(dst, byte(len(k)))
		dst = append(dst, k...)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(m[k])))
		dst = append(dst, m[k]...)
	}
	return dst
}

// countError returns why a string map cannot hold so many pairs.
func countError(m map[string]string) error {
	if len(m) > MaxFields {
		return fmt.Errorf("rollcall: a string map of %d pairs, the limit is %d", len(m), MaxFields)
	}
	return nil
}

// pairError returns why a string map cannot hold the pair. Values are kept out of the text: they may be secrets.
func pairError(key, value string) error {
	if key == "" {
		return errors.New("rollcall: an empty key in a string map")
	}
	if len(key) > math.MaxUint8 || len(value) > math.MaxUint16 {
		return fmt.Errorf("rollcall: a string map's key %.64q of %d bytes with a value of %d bytes is too long",
			key, len(key), len(value))
	}
	if !utf8.ValidString(key) || !utf8.ValidString(value) {
		return fmt.Errorf("rollcall: a string map's key %.64q or its value is not UTF-8", key)
	}
	return nil
}

// ParseStringMap reads what [AppendStringMap] writes, pairs in any order; b must hold the map and nothing else. An
// empty b is an empty map, so that a Logon without fields is easy to write in any language. The result shares no
// memory with b and is never nil without an error.
//
// The error is a *CloseError with InvalidMessage: b is cut off or goes on after the last pair, a key is empty or comes
// twice, or a key or value is not UTF-8. It is safe for concurrent use.
func ParseStringMap(b []byte) (map[string]string, error) {
	if len(b) == 0 {
		return map[string]string{}, nil
	}
	m, after, err := cutStringMap(b)
	if err != nil {
		return nil, err
	}
	if len(after) > 0 {
		return nil, invalid("%d bytes after a string map", len(after))
	}
	return m, nil
}

// cutStringMap reads the string map that b begins with, and returns what comes after it.
func cutStringMap(b []byte) (m map[string]string, after []byte, err error) {
	if len(b) == 0 {
		return nil, nil, invalid("a string map is cut off")
	}
	count := int(b[0])
	b = b[1:]
	const leastPair = 1 + 1 + 2
	m = make(map[string]string, min(count, len(b)/leastPair)) // never more than bytes have come for
	for range count {
		if len(b) < 1 || len(b) < 1+int(b[0])+2 {
			return nil, nil, invalid("a string map is cut off")
		}
		key, rest := b[1:1+int(b[0])], b[1+int(b[0]):]
		size := int(binary.BigEndian.Uint16(rest))
		if len(rest) < 2+size {
			return nil, nil, invalid("a string map is cut off")
		}
		value := rest[2 : 2+size]
		b = rest[2+size:]
		if len(key) == 0 {
			return nil, nil, invalid("an empty key in a string map")
		}
		if !utf8.Valid(key) || !utf8.Valid(value) {
			return nil, nil, invalid("a string map that is not UTF-8")
		}
		if _, ok := m[string(key)]; ok {
			return nil, nil, invalid("the key %.64q twice in a string map", key)
		}
		m[string(key)] = string(value)
	}
	return m, b, nil
}

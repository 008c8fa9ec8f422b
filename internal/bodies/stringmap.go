// Package bodies has the parts of the bodies of system messages that protocol and internal/system share: string maps, and the rules
// for IDs and pushes. Its errors carry no close code. Errors of parsing do not begin with "rollcall: ", because they become the
// text of a protocol.CloseError.
package bodies

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// MaxFields is the largest number of pairs in a string map.
const MaxFields = 255

// AppendMap is protocol.AppendStringMap.
func AppendMap(dst []byte, m map[string]string) ([]byte, error) {
	if err := CheckCount(m); err != nil {
		return dst, err
	}
	keys := make([]string, 0, 8) // a loop, not maps.Keys: neither the map nor the keys then have to be on the heap
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := CheckPair(k, m[k]); err != nil {
			return dst, err
		}
	}
	return AppendPairs(dst, m, keys), nil
}

// AppendPairs appends the string map of those pairs of m that keys names.
func AppendPairs(dst []byte, m map[string]string, keys []string) []byte {
	dst = append(dst, byte(len(keys)))
	for _, k := range keys {
		dst = append(dst, byte(len(k)))
		dst = append(dst, k...)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(m[k])))
		dst = append(dst, m[k]...)
	}
	return dst
}

// CheckCount returns why a string map cannot hold so many pairs.
func CheckCount(m map[string]string) error {
	if len(m) > MaxFields {
		return fmt.Errorf("rollcall: a string map of %d pairs, the limit is %d", len(m), MaxFields)
	}
	return nil
}

// CheckPair returns why a string map cannot hold the pair. Values are kept out of the text: they may be secrets.
func CheckPair(key, value string) error {
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

// ParseMap reads what [AppendMap] writes, pairs in any order; b must hold the map and nothing else. An empty b is an empty map, so
// that a Logon without fields is easy to write in any language. The result shares no memory with b and is never nil without an
// error.
//
// The error says that b is cut off or goes on after the last pair, a key is empty or comes twice, or a key or value is not UTF-8.
func ParseMap(b []byte) (map[string]string, error) {
	if len(b) == 0 {
		return map[string]string{}, nil
	}
	m, after, err := CutMap(b)
	if err != nil {
		return nil, err
	}
	if len(after) > 0 {
		return nil, fmt.Errorf("%d bytes after a string map", len(after))
	}
	return m, nil
}

// CutMap reads the string map that b begins with, and returns what comes after it.
func CutMap(b []byte) (m map[string]string, after []byte, err error) {
	if len(b) == 0 {
		return nil, nil, errors.New("a string map is cut off")
	}
	count := int(b[0])
	b = b[1:]
	const leastPair = 1 + 1 + 2
	m = make(map[string]string, min(count, len(b)/leastPair)) // never more than bytes have come for
	for range count {
		if len(b) < 1 || len(b) < 1+int(b[0])+2 {
			return nil, nil, errors.New("a string map is cut off")
		}
		key, rest := b[1:1+int(b[0])], b[1+int(b[0]):]
		size := int(binary.BigEndian.Uint16(rest))
		if len(rest) < 2+size {
			return nil, nil, errors.New("a string map is cut off")
		}
		value := rest[2 : 2+size]
		b = rest[2+size:]
		if len(key) == 0 {
			return nil, nil, errors.New("an empty key in a string map")
		}
		if !utf8.Valid(key) || !utf8.Valid(value) {
			return nil, nil, errors.New("a string map that is not UTF-8")
		}
		if _, ok := m[string(key)]; ok {
			return nil, nil, fmt.Errorf("the key %.64q twice in a string map", key)
		}
		m[string(key)] = string(value)
	}
	return m, b, nil
}

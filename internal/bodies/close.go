package bodies

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// AppendClose appends a code, a text and, if it is not empty, info: see system.AppendClose.
func AppendClose(dst []byte, code uint16, text string, info map[string]string) []byte {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	if len(text) > math.MaxUint16 {
		n := math.MaxUint16
		for !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	dst = binary.BigEndian.AppendUint16(dst, code)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(text)))
	dst = append(dst, text...)

	keys := slices.Sorted(maps.Keys(info))
	keys = slices.DeleteFunc(keys, func(k string) bool { return CheckPair(k, info[k]) != nil })
	if len(keys) == 0 {
		return dst
	}
	return AppendPairs(dst, info, keys[:min(len(keys), MaxFields)])
}

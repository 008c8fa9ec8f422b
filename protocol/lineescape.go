package protocol

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// appendEscaped appends s as a part of a line: backslashes, control characters, the Unicode line and paragraph
// separators, bytes that are not UTF-8 and the ASCII characters in also become escapes that unescape reads back.
func appendEscaped[S string | []byte](dst []byte, s S, also string) []byte {
	const hex = "0123456789abcdef"
	for len(s) > 0 {
		c := s[0]
		if c >= ' ' && c <= '~' && c != '\\' && (also == "" || strings.IndexByte(also, c) < 0) {
			dst = append(dst, c)
			s = s[1:]
			continue
		}
		n := 1
		if c >= utf8.RuneSelf {
			var buf [utf8.UTFMax]byte
			var r rune
			r, n = utf8.DecodeRune(buf[:copy(buf[:], s)])
			if !isForbidden(r, n) {
				dst = append(dst, s[:n]...)
				s = s[n:]
				continue
			}
		}
		switch c {
		case '\\':
			dst = append(dst, `\\`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case ' ':
			dst = append(dst, `\s`...)
		default:
			for i := range n {
				dst = append(dst, '\\', 'x', hex[s[i]>>4], hex[s[i]&0xF])
			}
		}
		s = s[n:]
	}
	return dst
}

// isForbidden reports whether a character of n bytes must be escaped in a line: control characters, the Unicode line
// and paragraph separators, and bytes that are not UTF-8.
func isForbidden(r rune, n int) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError && n <= 1
}

// unescape reads escapes. Without any in b it returns b itself, with its capacity cut off.
func unescape(b []byte) []byte {
	i := bytes.IndexByte(b, '\\')
	if i < 0 {
		return b[:len(b):len(b)]
	}
	out := make([]byte, i, len(b))
	copy(out, b)
	for b = b[i:]; len(b) > 0; {
		c, n := unescapeOne(b)
		out = append(out, c)
		b = b[n:]
	}
	return out
}

// unescapeOne returns the first byte that b stands for, and how many bytes of b stand for it. A backslash that begins
// no escape stands for itself, so that a person who types one does not lose the connection.
func unescapeOne(b []byte) (byte, int) {
	if b[0] != '\\' || len(b) < 2 {
		return b[0], 1
	}
	switch b[1] {
	case '\\':
		return '\\', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 's':
		return ' ', 2
	case 'x':
		if len(b) >= 4 {
			if v, err := strconv.ParseUint(string(b[2:4]), 16, 8); err == nil {
				return byte(v), 4
			}
		}
	}
	return '\\', 1
}

package protocol

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"github.com/rollcall-go/rollcall/internal/bodies"
)

// CheckUserID returns nil if id may be a user's, and otherwise a *CloseError with InvalidMessage and a text that says
// what is wrong. A user ID is 1 to [MaxUserID] bytes of valid UTF-8 without control characters and does not begin with
// '_', which is reserved. It is case-sensitive, and nothing is normalised: IDs are equal if their bytes are.
func CheckUserID(id string) error {
	text := bodies.IDFault(id)
	if text == "" && id[0] == '_' {
		text = "is reserved: it begins with '_'"
	}
	if text == "" {
		return nil
	}
	if id == "" {
		return invalid("the user ID %s", text)
	}
	return invalid("the user ID %.64q %s", id, text)
}

// validID reports whether b is UTF-8 without control characters. An empty one is valid.
func validID(b []byte) bool { return validIDStart(b, true) }

// validIDStart is validID of an ID of which b has come so far; whole says that b is all of it.
func validIDStart(b []byte, whole bool) bool {
	return printable(b) || validUnicodeID(b, whole)
}

// printable reports whether b is ASCII without control characters. Most IDs are, and this is on the path of every
// message.
func printable(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if !printable8(binary.LittleEndian.Uint64(b)) {
			return false
		}
	}
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// printable8 is printable of the eight bytes in v.
func printable8(v uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	del := v ^ ones*0x7F // a byte that was 0x7F is 0
	// Where no byte of v has its top bit set, a subtraction sets one if and only if some byte is too small.
	return (v|(v-ones*' ')|(del-ones))&tops == 0
}

func validUnicodeID(b []byte, whole bool) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return !whole && !utf8.FullRune(b) // a rune that is still arriving
		}
		if unicode.IsControl(r) {
			return false
		}
		b = b[n:]
	}
	return true
}

// idError is the refusal of a frame because of the ID in the field of this name.
func idError(field string, b []byte) error {
	text := bodies.IDFault(string(b))
	if text == "" {
		text = "is not valid UTF-8"
	}
	return invalid("%s %.64q %s", field, b, text)
}

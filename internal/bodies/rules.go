package bodies

import (
	"fmt"
	"math"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// MaxUserID is the largest length of a user ID, in bytes.
const MaxUserID = 255

// IDFault says what is wrong with a user ID apart from being reserved; "" is nothing.
func IDFault(id string) string {
	if id == "" {
		return "is empty"
	}
	if len(id) > MaxUserID {
		return fmt.Sprintf("has %d bytes, more than %d", len(id), MaxUserID)
	}
	if !utf8.ValidString(id) {
		return "is not valid UTF-8"
	}
	for _, r := range id {
		if unicode.IsControl(r) {
			return fmt.Sprintf("has the control character %U", r)
		}
	}
	return ""
}

// The kinds of pushes that have rules. The names are protocol's.
const (
	PushText   = 1
	PushCustom = 5
)

// PushConfirm is the only flag of a push.
const PushConfirm = 1

const maxPushName = math.MaxUint8

// PushFault returns the mistake in a push, for encoding and decoding; "" if there is none. The kind is a protocol.PushKind.
func PushFault[Kind ~uint8](id uuid.UUID, kind Kind, name string, content []byte) string {
	switch {
	case id == uuid.Nil:
		return "a push without an ID"
	case kind == 0:
		return "a push of kind 0"
	case kind == PushCustom && name == "":
		return "a custom push without a name"
	case kind < PushCustom && name != "":
		return fmt.Sprintf("a push of kind %v with a name, which only custom ones have", kind)
	case len(name) > maxPushName:
		return fmt.Sprintf("a push's name of %d bytes, more than %d", len(name), maxPushName)
	case !utf8.ValidString(name):
		return "a push's name that is not UTF-8"
	case kind == PushText && !utf8.Valid(content):
		return "a text push that is not UTF-8"
	}
	return ""
}

const (
	// MaxList is the largest number of entries in a list of presences, contacts, members, conversations or messages.
	MaxList = 1000
	// MaxNumber is the largest number of a message, and the largest ID of a group: it fits a database's signed integer.
	MaxNumber = math.MaxInt64
)

// The flags of a stored message.
const (
	StoredAnonymous = 1
	StoredRecalled  = 2
	StoredRecall    = 4
)

// ContactValid reports whether s, a protocol.ContactState, is one: asked (1), asks (2) or friend (4), or blocked (8), or blocked with one of the
// first two.
func ContactValid[State ~uint8](s State) bool {
	switch s {
	case 1, 2, 4, 8, 8 | 1, 8 | 2:
		return true
	}
	return false
}

package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// PushKind says what a push is. A later version may have more kinds; a program should ignore kinds that it does not know. The
// numbers are in docs/protocol.md, Pushes.
type PushKind uint8

const (
	// PushText is a text: its content is valid UTF-8.
	PushText PushKind = 1
	// PushBinary is any bytes of the application.
	PushBinary PushKind = 2
	// PushKickOut says that the user is about to be thrown out; its content is the reason. A Close follows as a message of its
	// own.
	PushKickOut PushKind = 3
	// PushNotification is something to show to a person.
	PushNotification PushKind = 4
	// PushCustom is of a kind that the application defines and names.
	PushCustom PushKind = 5
)

// String returns the kind's name, or "kind N" for one that this package does not know.
func (k PushKind) String() string {
	switch k {
	case PushText:
		return "Text"
	case PushBinary:
		return "Binary"
	case PushKickOut:
		return "KickOut"
	case PushNotification:
		return "Notification"
	case PushCustom:
		return "Custom"
	}
	return "kind " + strconv.Itoa(int(k))
}

// PushMessage is what a server pushes to users, as the body of a message of type [TypePush]. The layout is in
// docs/protocol.md, Pushes.
type PushMessage struct {
	// ID identifies the push, also in an acknowledgement. It is a UUID of version 7; such IDs are in the order of time.
	// A receiver accepts any ID but zeros.
	ID uuid.UUID
	// Kind says what the push is; 0 is invalid. One that this version does not name is allowed.
	Kind PushKind
	// Name says what a PushCustom is: 1 to 255 bytes of UTF-8. Text, Binary, KickOut and Notification have none.
	Name string
	// Confirm asks the client for an acknowledgement when it has dealt with the push. A Go client without
	// client.Config.OnPush gives none.
	Confirm bool
	// Time is when the push was made, in whole milliseconds. The zero Time says that it is not known.
	Time time.Time
	// Metadata belongs to the application, within the limits of [AppendStringMap]; nil for none.
	Metadata map[string]string
	// Content is what is pushed. That of a PushText is valid UTF-8.
	Content []byte
}

const (
	pushHead    = 16 + 1 + 1 + 8 + 1 // ID, kind, flags, time and the length of the name
	leastPush   = pushHead + 1       // no name, and a string map of none
	pushConfirm = 1                  // the only flag

	maxPushName = math.MaxUint8
)

// AppendPush appends the body of a [TypePush]: the 16 bytes of the ID, u8 kind, u8 flags (1: to be confirmed), i64 time in
// Unix milliseconds (0 for the zero Time), u8 length of the name, the name, the metadata as a string map, and the content
// to the end. Equal messages give equal bytes. p.Time is cut to whole milliseconds.
//
// It returns dst as it was and an error if p has no ID or no kind, a name that its kind may not have (see [PushMessage]),
// metadata that no string map can hold, or is a PushText whose content is not UTF-8. The connection, not AppendPush, limits the
// size of the body. It is safe for concurrent use.
func AppendPush(dst []byte, p *PushMessage) ([]byte, error) {
	if text := pushFault(p.ID, p.Kind, p.Name, p.Content); text != "" {
		return dst, errors.New("rollcall: " + text)
	}
	out := append(dst, p.ID[:]...)
	var flags byte
	if p.Confirm {
		flags |= pushConfirm
	}
	out = append(out, byte(p.Kind), flags)
	var ms int64
	if !p.Time.IsZero() {
		ms = p.Time.UnixMilli()
	}
	out = binary.BigEndian.AppendUint64(out, uint64(ms))
	out = append(out, byte(len(p.Name)))
	out = append(out, p.Name...)
	out, err := AppendStringMap(out, p.Metadata)
	if err != nil {
		return dst, err
	}
	return append(out, p.Content...), nil
}

// CheckPush returns the error that [AppendPush] would return, and encodes nothing. It is safe for concurrent use.
func CheckPush(p *PushMessage) error {
	if text := pushFault(p.ID, p.Kind, p.Name, p.Content); text != "" {
		return errors.New("rollcall: " + text)
	}
	if err := countError(p.Metadata); err != nil {
		return err
	}
	for k, v := range p.Metadata {
		if err := pairError(k, v); err != nil {
			return err
		}
	}
	return nil
}

// ParsePush reads what [AppendPush] writes. A kind that this version does not name is kept as its number. The result
// shares no memory with body, its Content is a copy; the Time is in UTC; Metadata and Content are nil if there is none.
//
// The error is a *CloseError with InvalidMessage: body is cut off, has an unknown flag, or is what AppendPush refuses to
// write. It is safe for concurrent use.
func ParsePush(body []byte) (*PushMessage, error) {
	if len(body) < leastPush {
		return nil, invalid("a push of %d bytes, %d is the least", len(body), leastPush)
	}
	p := &PushMessage{ID: uuid.UUID(body[:16]), Kind: PushKind(body[16])}
	flags, ms, nameLen := body[17], int64(binary.BigEndian.Uint64(body[18:])), int(body[26])
	if flags&^pushConfirm != 0 {
		return nil, invalid("unknown flags in 0x%x of a push", flags)
	}
	p.Confirm = flags&pushConfirm != 0
	if ms != 0 {
		p.Time = time.UnixMilli(ms).UTC()
	}
	rest := body[pushHead:]
	if len(rest) < nameLen {
		return nil, invalid("a push's name of %d bytes is cut off", nameLen)
	}
	p.Name = string(rest[:nameLen])
	metadata, content, err := cutStringMap(rest[nameLen:])
	if err != nil {
		return nil, err
	}
	if text := pushFault(p.ID, p.Kind, p.Name, content); text != "" {
		return nil, invalid("%s", text)
	}
	if len(metadata) > 0 {
		p.Metadata = metadata
	}
	p.Content = append(p.Content, content...)
	return p, nil
}

// pushFault returns the mistake in a push, for encoding and decoding; "" if there is none.
func pushFault(id uuid.UUID, kind PushKind, name string, content []byte) string {
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

// AppendPushAck appends the body of a [TypePushAck]: the 16 bytes of the push's ID. It is safe for concurrent use.
func AppendPushAck(dst []byte, id uuid.UUID) []byte { return append(dst, id[:]...) }

// ParsePushAck reads the body of a [TypePushAck], and returns the ID of the push that is acknowledged, which any 16 bytes are.
//
// The error is a *CloseError with InvalidMessage: body has another length. It is safe for concurrent use.
func ParsePushAck(body []byte) (uuid.UUID, error) {
	if len(body) != len(uuid.UUID{}) {
		return uuid.Nil, invalid("a push's acknowledgement of %d bytes, not of %d", len(body), len(uuid.UUID{}))
	}
	return uuid.UUID(body), nil
}

package protocol

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/bodies"
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
	// Kind says what the push is; 0 is invalid. A kind that this version does not name is allowed.
	Kind PushKind
	// Name says what a PushCustom is: 1 to 255 bytes of UTF-8. Text, Binary, KickOut and Notification have none.
	Name string
	// Confirm asks the client for an acknowledgement when it has dealt with the push. A Go client without client.Config.OnPush sends
	// none.
	Confirm bool
	// Time is when the push was made, in whole milliseconds. The zero Time says that it is not known.
	Time time.Time
	// Metadata belongs to the application, within the limits of [AppendStringMap]; nil for none.
	Metadata map[string]string
	// Content is what is pushed. The content of a PushText is valid UTF-8.
	Content []byte
}

const (
	pushHead  = 16 + 1 + 1 + 8 + 1 // ID, kind, flags, time and the length of the name
	leastPush = pushHead + 1       // no name, and a string map of none
)

// ParsePush reads the body of a [TypePush]. A kind that this version does not name is kept as its number. The result
// shares no memory with body, its Content is a copy; the Time is in UTC; Metadata and Content are nil if there is none.
//
// The error is a *CloseError with InvalidMessage: body is cut off, has an unknown flag, no ID or no kind, a name that its
// kind may not have (see [PushMessage]), metadata that is no string map, or is a PushText whose content is not UTF-8. It is safe for
// concurrent use.
func ParsePush(body []byte) (*PushMessage, error) {
	if len(body) < leastPush {
		return nil, invalid("a push of %d bytes, %d is the least", len(body), leastPush)
	}
	p := &PushMessage{ID: uuid.UUID(body[:16]), Kind: PushKind(body[16])}
	flags, ms, nameLen := body[17], int64(binary.BigEndian.Uint64(body[18:])), int(body[26])
	if flags&^bodies.PushConfirm != 0 {
		return nil, invalid("unknown flags in 0x%x of a push", flags)
	}
	p.Confirm = flags&bodies.PushConfirm != 0
	if ms != 0 {
		p.Time = time.UnixMilli(ms).UTC()
	}
	rest := body[pushHead:]
	if len(rest) < nameLen {
		return nil, invalid("a push's name of %d bytes is cut off", nameLen)
	}
	p.Name = string(rest[:nameLen])
	metadata, content, err := bodies.CutMap(rest[nameLen:])
	if err != nil {
		return nil, invalid("%v", err)
	}
	if text := bodies.PushFault(p.ID, p.Kind, p.Name, content); text != "" {
		return nil, invalid("%s", text)
	}
	if len(metadata) > 0 {
		p.Metadata = metadata
	}
	p.Content = append(p.Content, content...)
	return p, nil
}

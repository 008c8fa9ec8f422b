package system

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/bodies"
	"github.com/rollcall-go/rollcall/protocol"
)

const (
	// MaxList is the largest number of entries in a list that a server sends.
	MaxList = 1000
	// MaxListBytes is how many bytes such a list has at most.
	MaxListBytes = 256 << 10
)

// appendList appends u16 count and the first entries of all, as many as [MaxList] and [MaxListBytes] allow, but one at least, and returns the
// others as rest. The error is add's; then dst is returned as it was.
func appendList[T any](dst []byte, all []T, add func(dst []byte, one *T) ([]byte, error)) (out []byte, rest []T, err error) {
	out = append(dst, 0, 0)
	n := 0
	for ; n < min(len(all), MaxList); n++ {
		longer, err := add(out, &all[n])
		if err != nil {
			return dst, all, err
		}
		if len(longer)-len(dst) > MaxListBytes && n > 0 {
			break
		}
		out = longer
	}
	binary.BigEndian.PutUint16(out[len(dst):], uint16(n))
	return out, all[n:], nil
}

func appendID(dst []byte, id string) ([]byte, error) {
	if text := bodies.IDFault(id); text != "" {
		return dst, fmt.Errorf("rollcall: the user ID %.64q %s", id, text)
	}
	return append(append(dst, byte(len(id))), id...), nil
}

// AppendContacts appends a contact list with the first of all, as many as [MaxList] and [MaxListBytes] allow, and returns the others as rest.
// [protocol.ParseContacts] reads it. The error says that one of them has no user ID.
func AppendContacts(dst []byte, all []protocol.Contact) (out []byte, rest []protocol.Contact, err error) {
	return appendList(dst, all, func(dst []byte, c *protocol.Contact) ([]byte, error) {
		dst, err := appendID(dst, c.UserID)
		return binary.BigEndian.AppendUint64(append(dst, byte(c.State)), uint64(milliseconds(c.Since))), err
	})
}

// AppendGroupMembers is AppendContacts for a member list, which [protocol.ParseGroupMembers] reads.
func AppendGroupMembers(dst []byte, all []protocol.GroupMember) (out []byte, rest []protocol.GroupMember, err error) {
	return appendList(dst, all, func(dst []byte, m *protocol.GroupMember) ([]byte, error) {
		dst, err := appendID(dst, m.UserID)
		dst = binary.BigEndian.AppendUint64(append(dst, byte(m.Role)), uint64(milliseconds(m.MutedUntil)))
		return append(dst, byte(m.State)), err
	})
}

// AppendConversations is AppendContacts for a conversation list, which [protocol.ParseConversations] reads.
func AppendConversations(dst []byte, all []protocol.ChatConversation) (out []byte, rest []protocol.ChatConversation, err error) {
	return appendList(dst, all, func(dst []byte, c *protocol.ChatConversation) ([]byte, error) {
		kind, id := byte(2), c.With
		if c.Group != 0 {
			kind, id = 1, strconv.FormatUint(c.Group, 10)
		}
		dst, err := appendID(append(dst, kind), id)
		return binary.BigEndian.AppendUint64(dst, c.Last), err
	})
}

// AppendStoredMessages is AppendContacts for a message list, which [protocol.ParseStoredMessages] reads.
func AppendStoredMessages(dst []byte, all []protocol.StoredMessage) (out []byte, rest []protocol.StoredMessage, err error) {
	return appendList(dst, all, AppendStoredMessage)
}

// AppendStoredMessage appends a message, which [protocol.ParseStoredMessage] reads. The error says that From is no user ID.
func AppendStoredMessage(dst []byte, m *protocol.StoredMessage) (out []byte, err error) {
	var flags byte
	content := m.Content
	if m.Anonymous {
		flags |= 1
	}
	if m.Recalled {
		flags, content = flags|2, nil
	}
	if m.Recalls != 0 {
		flags, content = flags|4, binary.BigEndian.AppendUint64(nil, m.Recalls)
	}
	out = binary.BigEndian.AppendUint64(dst, m.Seq)
	out = append(out, m.ID[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(milliseconds(m.Time)))
	out = binary.BigEndian.AppendUint16(append(out, flags), m.Type)
	if m.Anonymous {
		out = append(out, 0)
	} else if out, err = appendID(out, m.From); err != nil {
		return dst, err
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(content)))
	return append(out, content...), nil
}

// AppendPost appends the content of a [protocol.ChatSend]: 16 bytes ID, u16 type, and the message's content to the end.
func AppendPost(dst []byte, id uuid.UUID, typ uint16, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16(append(dst, id[:]...), typ), content...)
}

// ParsePost reads what [AppendPost] writes. The content is a part of b; nil for none. The error is a *protocol.CloseError with InvalidMessage: b is
// cut off, or the ID is all zeros.
func ParsePost(b []byte) (id uuid.UUID, typ uint16, content []byte, err error) {
	if len(b) < 18 {
		return uuid.Nil, 0, nil, invalid("a message of %d bytes, 18 is the least", len(b))
	}
	id = uuid.UUID(b[:16])
	if id == uuid.Nil {
		return uuid.Nil, 0, nil, invalid("a message without an ID")
	}
	if len(b) > 18 {
		content = b[18:]
	}
	return id, binary.BigEndian.Uint16(b[16:]), content, nil
}

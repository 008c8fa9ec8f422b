package system

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/bodies"
	"github.com/rollcall-go/rollcall/protocol"
)

const (
	// MaxList is the largest number of entries in a list that a server sends.
	MaxList = bodies.MaxList
	// MaxListBytes is how many bytes such a list has at most. A list of one message may have more: its content alone may have so many.
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

// appendTime appends a time in Unix milliseconds, 0 for the zero Time.
func appendTime(dst []byte, t time.Time) []byte {
	var ms int64
	if !t.IsZero() {
		ms = t.UnixMilli()
	}
	return binary.BigEndian.AppendUint64(dst, uint64(ms))
}

// AppendContacts appends a contact list with the first of all, as many as [MaxList] and [MaxListBytes] allow, and returns the others as rest.
// Times are cut to whole milliseconds. [protocol.ParseContacts] reads it.
//
// It returns dst as it was and an error if one of them is none that ParseContacts reads. It is safe for concurrent use. The next three functions are
// like it.
func AppendContacts(dst []byte, all []protocol.Contact) (out []byte, rest []protocol.Contact, err error) {
	return appendList(dst, all, func(dst []byte, c *protocol.Contact) ([]byte, error) {
		if !bodies.ContactValid(c.State) {
			return nil, fmt.Errorf("rollcall: a contact list with %v", c.State)
		}
		dst, err := appendID(dst, c.UserID)
		return appendTime(append(dst, byte(c.State)), c.Since), err
	})
}

// AppendGroupMembers is AppendContacts for a member list, which [protocol.ParseGroupMembers] reads.
func AppendGroupMembers(dst []byte, all []protocol.GroupMember) (out []byte, rest []protocol.GroupMember, err error) {
	return appendList(dst, all, func(dst []byte, m *protocol.GroupMember) ([]byte, error) {
		if m.Role > protocol.RoleOwner || m.State > protocol.PresenceStealth {
			return nil, fmt.Errorf("rollcall: a member list with %v, %v", m.Role, m.State)
		}
		dst, err := appendID(dst, m.UserID)
		return append(appendTime(append(dst, byte(m.Role)), m.MutedUntil), byte(m.State)), err
	})
}

// AppendConversations is AppendContacts for a conversation list, which [protocol.ParseConversations] reads.
func AppendConversations(dst []byte, all []protocol.ChatConversation) (out []byte, rest []protocol.ChatConversation, err error) {
	return appendList(dst, all, func(dst []byte, c *protocol.ChatConversation) ([]byte, error) {
		kind, id := byte(2), c.With
		if c.Group > bodies.MaxNumber || c.Last > bodies.MaxNumber || c.Group != 0 && c.With != "" {
			return nil, fmt.Errorf("rollcall: a conversation list with %+v", *c)
		}
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

// AppendStoredMessage appends a message, which [protocol.ParseStoredMessage] reads. Content is not written where Recalled or Recalls is set.
//
// It returns dst as it was and an error if the message is none that ParseStoredMessage reads. It is safe for concurrent use.
func AppendStoredMessage(dst []byte, m *protocol.StoredMessage) (out []byte, err error) {
	var flags byte
	content := m.Content
	if m.Anonymous {
		flags |= bodies.StoredAnonymous
	}
	if m.Recalled {
		flags, content = flags|bodies.StoredRecalled, nil
	}
	if m.Recalls != 0 {
		flags, content = flags|bodies.StoredRecall, binary.BigEndian.AppendUint64(nil, m.Recalls)
	}
	switch {
	case m.Seq == 0 || m.Seq > bodies.MaxNumber || m.Recalls >= m.Seq:
		return dst, fmt.Errorf("rollcall: a stored message with number %d that recalls %d", m.Seq, m.Recalls)
	case m.Recalled && m.Recalls != 0:
		return dst, fmt.Errorf("rollcall: message %d, a recall, was recalled", m.Seq)
	case m.Anonymous && m.From != "":
		return dst, fmt.Errorf("rollcall: message %d, which is anonymous, has its sender", m.Seq) // whose ID is kept out of logs
	case uint64(len(content)) > math.MaxUint32:
		return dst, fmt.Errorf("rollcall: message %d has %d bytes", m.Seq, len(content))
	}
	out = binary.BigEndian.AppendUint64(dst, m.Seq)
	out = append(out, m.ID[:]...)
	out = appendTime(out, m.Time)
	out = binary.BigEndian.AppendUint16(append(out, flags), m.Type)
	if m.Anonymous {
		out = append(out, 0)
	} else if out, err = appendID(out, m.From); err != nil {
		return dst, err
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(content)))
	return append(out, content...), nil
}

// AppendPost appends the content of a [protocol.ChatSend]: 16 bytes ID, u16 type, and the message's content to the end. It is safe for
// concurrent use.
func AppendPost(dst []byte, id uuid.UUID, typ uint16, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16(append(dst, id[:]...), typ), content...)
}

// ParsePost reads what [AppendPost] writes. The content is a part of b; nil for none. Whether the type is one of the application's is for the caller to
// check. The error is a *protocol.CloseError with InvalidMessage: b is cut off, or the ID is all zeros. It is safe for concurrent use.
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

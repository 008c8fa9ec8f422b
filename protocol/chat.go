package protocol

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/bodies"
)

// Operations of messages of [TypeChat]. docs/chat.md has their fields, their content and their replies.
const (
	// ChatSend sends a message to a group or a user.
	ChatSend uint8 = 1
	// ChatMessage is a message that a server delivers. Only servers send it.
	ChatMessage uint8 = 2
	// ChatHistory asks for a page of a conversation.
	ChatHistory uint8 = 3
	// ChatRecall takes a message back.
	ChatRecall uint8 = 4
	// ChatConversations asks for the user's conversations, with their last numbers.
	ChatConversations uint8 = 5
)

// StoredMessage is a message of a conversation as readers get it, live and in history.
type StoredMessage struct {
	Seq       uint64    // its number in the conversation, from 1, below 2^63
	ID        uuid.UUID // its sender's
	Time      time.Time // when it was stored; UTC, in milliseconds
	Anonymous bool      // From is empty then, and only then
	Recalled  bool      // it has been recalled, and has no Content any more
	Recalls   uint64    // the number of the message that this one recalls, and that is all it says; 0 for a message that is no recall
	Type      uint16    // the application's; 0 for a recall
	From      string    // the sender's user ID; _server for the program
	Content   []byte    // nil for none
}

// ParseStoredMessage reads one message, to the end of body: u64 number, 16 bytes ID, i64 time in Unix milliseconds, u8 flags (1 anonymous, 2
// recalled, 4 a recall, whose content is the u64 number that it recalls), u16 type, u8 length and the sender's user ID, empty if anonymous, u32
// length and the content. The Content is a part of body, and valid as long as that: in a handler, until it returns.
//
// The error is a *CloseError with InvalidMessage: body is cut off or goes on after the message; or has unknown flags, or both 2 and 4; or a number
// that is 0 or from 2^63 on; or what is no user ID, one with flag 1, or none without it; or content that does not fit the flags. It is safe for
// concurrent use.
func ParseStoredMessage(body []byte) (StoredMessage, error) {
	c := &cutter{what: "a stored message", rest: body}
	m := c.message()
	if c.err == nil && len(c.rest) > 0 {
		c.fail("%d bytes after a stored message", len(c.rest))
	}
	if c.err != nil {
		return StoredMessage{}, c.err
	}
	return m, nil
}

// ParseStoredMessages reads a message list: u16 count, then messages as [ParseStoredMessage] reads them. Their Contents are parts of body, and
// valid as long as that. Their order is not checked. The result is never nil without an error.
//
// The error is a *CloseError with InvalidMessage: body is cut off or goes on after the last message, has more than 1,000 of them, or one that
// ParseStoredMessage refuses. It is safe for concurrent use.
func ParseStoredMessages(body []byte) ([]StoredMessage, error) {
	return parseList(body, "a message list", 8+16+8+1+2+1+4, (*cutter).message)
}

func (c *cutter) message() StoredMessage {
	m := StoredMessage{Seq: c.number(), ID: uuid.UUID(c.bytes(16)), Time: c.time()}
	flags := c.u8()
	m.Type = c.u16()
	if len(c.rest) > 0 && c.rest[0] == 0 {
		c.u8() // no sender
	} else {
		m.From = c.id()
	}
	m.Content = c.bytes(int(c.u32()))
	m.Anonymous, m.Recalled = flags&bodies.StoredAnonymous != 0, flags&bodies.StoredRecalled != 0
	switch {
	case c.err != nil:
	case m.Seq == 0:
		c.fail("a stored message has the number 0")
	case flags > bodies.StoredAnonymous|bodies.StoredRecalled|bodies.StoredRecall:
		c.fail("a stored message has the flags %#x", flags)
	case m.Anonymous != (m.From == ""):
		c.fail("a stored message has the sender %.64q and the flags %#x", m.From, flags)
	case m.Recalled && (len(m.Content) > 0 || flags&bodies.StoredRecall != 0):
		c.fail("a recalled message has content, or is a recall")
	case flags&bodies.StoredRecall != 0:
		if len(m.Content) == 8 {
			m.Recalls = binary.BigEndian.Uint64(m.Content)
		}
		if m.Recalls == 0 || m.Recalls >= m.Seq {
			c.fail("a recall with number %d of message %d", m.Seq, m.Recalls)
		}
		m.Content = nil
	}
	if len(m.Content) == 0 {
		m.Content = nil
	}
	return m
}

// ChatConversation is a conversation of a user.
type ChatConversation struct {
	Group uint64 // the group's ID, below 2^63; 0 for a conversation with a user
	With  string // the other user, _anonymous or _server; empty for a group
	Last  uint64 // the number of the last message, below 2^63; 0 for none
}

// ParseConversations reads a conversation list: u16 count, then for each conversation u8 kind (1 a group, 2 a user), u8 length and the group's
// ID in decimal, or the user's, and u64 last number. The result shares no memory with body; it is never nil without an error.
//
// The error is a *CloseError with InvalidMessage: body is cut off or goes on after the last conversation, has more than 1,000 of them, another
// kind, what is no ID, or a number from 2^63 on. It is safe for concurrent use.
func ParseConversations(body []byte) ([]ChatConversation, error) {
	return parseList(body, "a conversation list", 1+1+1+8, func(c *cutter) (one ChatConversation) {
		kind, id := c.u8(), c.id()
		one.Last = c.number()
		switch kind {
		case 1:
			n, err := strconv.ParseUint(id, 10, 63)
			if err != nil || n == 0 || strconv.FormatUint(n, 10) != id {
				c.fail("a conversation list has the group %.64q", id)
			}
			one.Group = n
		case 2:
			one.With = id
		default:
			c.fail("a conversation list has the kind %d", kind)
		}
		return one
	})
}

package chatclient

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

const (
	// Server is the sender of messages of the server's program, and the other one in the conversation in which a user has them.
	Server = "_server"
	// Anonymous is the other one in the conversation in which a user has the anonymous messages of all others. It cannot be written to.
	Anonymous = "_anonymous"
)

// Conversation is a group's messages, or those between the user and another one. It can be the key of a map, also in JSON.
type Conversation struct {
	Group uint64 // the group's ID; 0 for a conversation with a user
	With  string // the other user, or Server or Anonymous; empty for a group
}

// ToGroup is a group's conversation.
func ToGroup(id uint64) Conversation { return Conversation{Group: id} }

// ToUser is the conversation with a user.
func ToUser(userID string) Conversation { return Conversation{With: userID} }

const groupText, userText = "group:", "user:"

// String returns "group:" and the group's ID in decimal, or "user:" and the user's ID.
func (c Conversation) String() string {
	if c.Group != 0 {
		return groupText + strconv.FormatUint(c.Group, 10)
	}
	return userText + c.With
}

// MarshalText implements encoding.TextMarshaler. The text is String's.
func (c Conversation) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Conversation) UnmarshalText(text []byte) error {
	if id, ok := strings.CutPrefix(string(text), groupText); ok {
		n, err := strconv.ParseUint(id, 10, 63)
		if err != nil || n == 0 {
			return fmt.Errorf("rollcall: %.64q is no conversation", text)
		}
		*c = ToGroup(n)
		return nil
	}
	id, ok := strings.CutPrefix(string(text), userText)
	if !ok || id == "" {
		return fmt.Errorf("rollcall: %.64q is no conversation", text)
	}
	*c = ToUser(id)
	return nil
}

// fields are the conversation as a request names it.
func (c Conversation) fields() fields {
	if c.Group != 0 {
		return fields{"group": decimal(c.Group)}
	}
	return fields{"user": c.With}
}

// Mark says up to where a program has a conversation: the number and the ID of its last message. The zero ID stands for a message that the program
// does not have, because it has begun after it.
type Mark struct {
	Seq uint64
	ID  uuid.UUID
}

// Message is a message of a conversation.
type Message struct {
	Conversation
	protocol.StoredMessage
}

// messages are the messages of a list. Each has a memory of its own.
func messages(of Conversation, list []protocol.StoredMessage) []*Message {
	all := make([]*Message, len(list))
	for i, m := range list {
		m.Content = append([]byte(nil), m.Content...)
		all[i] = &Message{Conversation: of, StoredMessage: m}
	}
	return all
}

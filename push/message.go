package push

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
)

// Message is the content of a push. Its wire form is the body of a system message: see docs/protocol.md, Pushes.
type Message = protocol.PushMessage

// Text returns a message of text, which must be valid UTF-8, with a new ID and the current time.
func Text(s string) *Message { return newMessage(protocol.PushText, []byte(s)) }

// Binary returns a message of bytes, which it does not copy.
func Binary(content []byte) *Message { return newMessage(protocol.PushBinary, content) }

// Notification returns a message that is meant to be shown to a person.
func Notification(s string) *Message { return newMessage(protocol.PushNotification, []byte(s)) }

// Custom returns a message of a kind that the application defines; its name has 1 to 255 bytes. Custom does not copy content.
func Custom(name string, content []byte) *Message {
	m := newMessage(protocol.PushCustom, content)
	m.Name = name
	return m
}

// newMessage leaves the ID out when the system has no randomness; then Push returns the error.
func newMessage(kind protocol.PushKind, content []byte) *Message {
	m := &Message{Kind: kind, Content: content}
	_ = complete(m)
	return m
}

// complete gives m an ID and a time if it has none.
func complete(m *Message) error {
	if m.ID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("rollcall: no push ID: %w", err)
		}
		m.ID = id
	}
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	return nil
}

package chat

import (
	"time"

	"github.com/google/uuid"
)

// GroupID is the ID of a group, a number below 2^63. 0 is none.
type GroupID uint64

const (
	// Server stands in place of a user ID for the program itself: it sends messages, and changes groups without being a member.
	Server = "_server"
	// Anonymous is the other one in the conversation in which a user has the anonymous messages of all others.
	Anonymous = "_anonymous"
)

// Conversation is a group's messages, or those between two users, as one of the two names it.
type Conversation struct {
	Group GroupID // 0 for two users
	With  string  // the other user, or Server or Anonymous; empty for a group
}

// ToGroup is a group's conversation.
func ToGroup(id GroupID) Conversation { return Conversation{Group: id} }

// ToUser is the conversation with a user.
func ToUser(userID string) Conversation { return Conversation{With: userID} }

// Message is a message that is stored.
type Message struct {
	Conversation
	Seq       uint64    // its number in the conversation, from 1, without gaps
	ID        uuid.UUID // its sender's
	From      string    // Server for the program's own; empty where Anonymous is set
	Time      time.Time // when it was stored; it does not decrease within a conversation
	Type      uint16    // the application's
	Anonymous bool
	Recalled  bool   // it has no Content any more
	Recalls   uint64 // the number of the message that this one recalls; 0 for a message that is no recall
	Content   []byte
}

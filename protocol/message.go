// Package protocol is Rollcall's wire format: messages, the codecs that encode and decode them, close codes, and the bodies of
// system messages. It does no I/O and starts no goroutine. docs/protocol.md describes the wire format for authors of clients in
// other languages.
package protocol

import "slices"

// Message types of the system. Types 0x0001–0xFEFF are the application's, 0xFF00–0xFFFF are the system's, 0 is invalid.
const (
	// TypeHeartbeat shows that the client is alive. A heartbeat with a non-zero ID is answered.
	TypeHeartbeat uint16 = 0xFF00
	// TypeLogon binds a user to the connection; its body is a string map.
	TypeLogon uint16 = 0xFF01
	// TypeClose says why the connection ends; its body is a code and a text. The side that sends it closes next.
	TypeClose uint16 = 0xFF02
	// TypePush is a message from the server's application that has a kind, and may ask for an acknowledgement; its body is a
	// [PushMessage]. Only servers send it.
	TypePush uint16 = 0xFF03
	// TypePushAck acknowledges a push; its body is the push's ID. Only clients send it, without a message ID.
	TypePushAck uint16 = 0xFF04
	// TypeWhoIsOnline is a client's request; its body is an ID list: u16 count, then for each user ID u8 length and its bytes. The reply's body is the list of those
	// IDs that are online. A server that does not allow the request answers [Refused].
	TypeWhoIsOnline uint16 = 0xFF05
	// TypePresence is about who is there, in both directions; its body is an [Operation]. Package presence answers it; a server without that
	// answers [NoHandler].
	TypePresence uint16 = 0xFF06
	// TypeContacts is about a user's friends, blocks and settings, in both directions; its body is an [Operation]. Package chat answers it, and the
	// next two types; a server without that answers [NoHandler].
	TypeContacts uint16 = 0xFF07
	// TypeGroup is about groups and their members, in both directions; its body is an [Operation].
	TypeGroup uint16 = 0xFF08
	// TypeChat is about messages that are stored before they are delivered, in both directions; its body is an [Operation].
	TypeChat uint16 = 0xFF09
	// TypeRenew is a client's request that gives its session a fresh token, so that the session does not end when the old token
	// expires. Its body is a string map, like a Logon's; read the reply with [ParseLogonReply].
	TypeRenew uint16 = 0xFF0A

	// FirstSystemType is the lowest message type that is the system's.
	FirstSystemType uint16 = 0xFF00
)

// ServerID is the user ID by which a client addresses the server itself.
const ServerID = "_0"

// Flags of a message.
type Flags uint8

const (
	// FlagReply marks the reply to a request; it carries the request's ID.
	FlagReply Flags = 1
	// FlagError marks a reply whose body is a code and a text (see [ParseClose]). It is never set without FlagReply.
	FlagError Flags = 2
)

// Message is one message, decoded or to be encoded.
//
// A Message that a handler gets, and its Body, are valid until the handler returns: the engine decodes the next message into the
// same struct, and Body is a part of the read buffer. Use [Message.Clone] to keep the message. The strings are ordinary Go
// strings and may be kept.
type Message struct {
	Type  uint16
	Flags Flags
	ID    uint32 // chosen by the sender; a reply carries the ID of its request; 0 means that no reply is expected
	// Device is the device class in the frame's header; 0 is unspecified. The first message's device class becomes the
	// session's. In later messages, including messages that the server passes on, it is what the sender wrote, unchecked.
	Device uint16
	// UserID is the sender. In a handler it is the user bound to the connection. In a frame from the server, empty means the
	// server itself.
	UserID     string
	DestUserID string // the receiver; empty or ServerID is the server
	Body       []byte
}

// Clone returns a copy of m that shares no memory with it and stays valid.
func (m *Message) Clone() *Message {
	c := *m
	c.Body = slices.Clone(m.Body)
	return &c
}

// IsReply reports whether m answers a request.
func (m *Message) IsReply() bool { return m.Flags&FlagReply != 0 }

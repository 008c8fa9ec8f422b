package protocol

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/rollcall-go/rollcall/internal/bodies"
)

// Operations of messages of [TypePresence]. docs/chat.md has their fields, their content and their replies.
const (
	// PresenceSet chooses the user's own state.
	PresenceSet uint8 = 1
	// PresenceWatch asks who of the user's contacts is visible, and to be told from then on.
	PresenceWatch uint8 = 2
	// PresenceQuery asks for the states of some users.
	PresenceQuery uint8 = 3
	// PresenceNotice is what a server tells to those who watch. Only servers send it.
	PresenceNotice uint8 = 4
)

// Operation is the body of a message of [TypePresence], [TypeContacts], [TypeGroup] or [TypeChat]. The reply to a request has the same Op.
type Operation struct {
	Op      uint8
	Fields  map[string]string // within the limits of [AppendStringMap]; nil for none. Keys that are not known are ignored
	Content []byte            // what the operation's own layout says; nil for none
}

// AppendOperation appends o: u8 op, the fields as a string map, which has its count where there are none too, and the content to the end.
//
// It returns dst as it was and [AppendStringMap]'s error. It is safe for concurrent use.
func AppendOperation(dst []byte, o *Operation) ([]byte, error) {
	out, err := bodies.AppendMap(append(dst, o.Op), o.Fields)
	if err != nil {
		return dst, err
	}
	return append(out, o.Content...), nil
}

// ParseOperation reads what [AppendOperation] writes. The Content is a part of body; nil where there is none.
//
// The error is a *CloseError with InvalidMessage: body is cut off, or has fields that are no string map. It is safe for concurrent use.
func ParseOperation(body []byte) (Operation, error) {
	if len(body) < 2 {
		return Operation{}, invalid("an operation of %d bytes, 2 is the least", len(body))
	}
	fields, content, err := bodies.CutMap(body[1:])
	if err != nil {
		return Operation{}, invalid("%v", err)
	}
	o := Operation{Op: body[0]}
	if len(fields) > 0 {
		o.Fields = fields
	}
	if len(content) > 0 {
		o.Content = content
	}
	return o, nil
}

// PresenceState is what a user has chosen to be, or what others see of the user. The numbers are those of the wire.
type PresenceState uint8

const (
	// PresenceOnline is what a user is who has not chosen anything else.
	PresenceOnline PresenceState = iota
	// PresenceOffline is what others see of a user without a session, or in Stealth. It cannot be chosen.
	PresenceOffline
	// PresenceBusy is what others see of a user who does not want to be disturbed.
	PresenceBusy
	// PresenceStealth is to be there unseen. Only the user's own sessions are told of it.
	PresenceStealth
)

// String returns the name of the state as a Logon's field has it: online, offline, busy or stealth; or "state N" for another.
func (s PresenceState) String() string {
	switch s {
	case PresenceOnline:
		return "online"
	case PresenceOffline:
		return "offline"
	case PresenceBusy:
		return "busy"
	case PresenceStealth:
		return "stealth"
	}
	return "state " + strconv.Itoa(int(s))
}

// Presence is what one user is told of another. The zero Time stands for one that is not known, or hidden.
type Presence struct {
	UserID     string
	State      PresenceState
	LastOnline time.Time // when the user was last seen to come online
	LastSeen   time.Time // when the user was last seen to go offline
}

// ParsePresences reads a presence list: u16 count, then for each user u8 length and the user ID, u8 state, and i64 last online and i64 last
// seen, in Unix milliseconds, 0 for the zero Time. The result shares no memory with body; it is never nil without an error. Times are in UTC.
//
// The error is a *CloseError with InvalidMessage: body is cut off or goes on after the last user, has more than 1,000 of them, or has what is
// no user ID, or no state. It is safe for concurrent use.
func ParsePresences(body []byte) ([]Presence, error) {
	return parseList(body, "a presence list", 1+1+1+8+8, func(c *cutter) Presence {
		p := Presence{UserID: c.id(), State: PresenceState(c.u8()), LastOnline: c.time(), LastSeen: c.time()}
		if p.State > PresenceStealth {
			c.fail("a presence list has %v", p.State)
		}
		return p
	})
}

// timeOf reads a time in Unix milliseconds, 0 for the zero Time.
func timeOf(b []byte) time.Time {
	ms := int64(binary.BigEndian.Uint64(b))
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

package protocol

import (
	"strconv"
	"time"

	"github.com/rollcall-go/rollcall/internal/bodies"
)

// Operations of messages of [TypeContacts]. docs/chat.md has their fields, their content and their replies.
const (
	// ContactRequest asks a user to be a friend.
	ContactRequest uint8 = 1
	// ContactAnswer accepts or declines a user's request.
	ContactAnswer uint8 = 2
	// ContactRemove ends a friendship, or takes a request back.
	ContactRemove uint8 = 3
	// ContactBlock blocks a user, or no more.
	ContactBlock uint8 = 4
	// ContactList asks for the user's own contacts.
	ContactList uint8 = 5
	// ContactSettings changes and asks for the user's own settings.
	ContactSettings uint8 = 6
	// ContactNotice is what a server tells about another user's request or friendship. Only servers send it.
	ContactNotice uint8 = 7
)

// ContactState says what there is between a user and a contact, as the user sees it: one of the four, or ContactBlocked with ContactAskedByMe or
// ContactAsksMe. A friend is never blocked. The numbers are those of the wire.
type ContactState uint8

const (
	// ContactAskedByMe: the user has asked the contact to be a friend.
	ContactAskedByMe ContactState = 1
	// ContactAsksMe: the contact has asked the user.
	ContactAsksMe ContactState = 2
	// ContactFriend: the two are friends.
	ContactFriend ContactState = 4
	// ContactBlocked: the user has blocked the contact.
	ContactBlocked ContactState = 8
)

// String returns the state in words: "asked by me", "asks me", "friend" or "blocked", or "blocked, asks me", for instance; or "state N" for
// another.
func (s ContactState) String() string {
	if !bodies.ContactValid(s) {
		return "state " + strconv.Itoa(int(s))
	}
	var text string
	switch s &^ ContactBlocked {
	case ContactAskedByMe:
		text = "asked by me"
	case ContactAsksMe:
		text = "asks me"
	case ContactFriend:
		return "friend"
	default:
		return "blocked"
	}
	if s&ContactBlocked != 0 {
		text = "blocked, " + text
	}
	return text
}

// Contact is another user with whom a user has something.
type Contact struct {
	UserID string
	State  ContactState
	Since  time.Time // of the state; UTC, in milliseconds
}

// ParseContacts reads a contact list: u16 count, then for each contact u8 length and the user ID, u8 state and i64 since, in Unix
// milliseconds, 0 for the zero Time. The result shares no memory with body; it is never nil without an error.
//
// The error is a *CloseError with InvalidMessage: body is cut off or goes on after the last contact, has more than 1,000 of them, or has what
// is no user ID, or no state. It is safe for concurrent use.
func ParseContacts(body []byte) ([]Contact, error) {
	return parseList(body, "a contact list", 1+1+1+8, func(c *cutter) Contact {
		one := Contact{UserID: c.id(), State: ContactState(c.u8()), Since: c.time()}
		if !bodies.ContactValid(one.State) {
			c.fail("a contact list has %v", one.State)
		}
		return one
	})
}

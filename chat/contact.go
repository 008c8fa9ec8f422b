package chat

import (
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Contact is what one user has with another.
type Contact struct {
	UserID  string       // the other
	State   ContactState // asked, or friends; 0 for neither
	Blocked bool         // the other may not write to the user, and sees the user offline
	// BlockedAnonymous: anonymous messages of the other are refused. No list shows it, since the user does not know who the other is.
	BlockedAnonymous bool
	Since            time.Time // of State, or of the block
	Text             string    // what was written to the request that waits
	Declined         time.Time // when the other has declined the user's last request; the zero Time for never

	// BlockedBy and BlockedByAnonymous are the other's Blocked and BlockedAnonymous. They are read, and not stored.
	BlockedBy, BlockedByAnonymous bool
}

// ContactState is what there is between two users, as one of them sees it: asked, or friends.
type ContactState = protocol.ContactState

// The states that a store keeps. protocol.ContactBlocked is not among them: Contact has Blocked.
const (
	AskedByMe = protocol.ContactAskedByMe
	AsksMe    = protocol.ContactAsksMe
	Friend    = protocol.ContactFriend
)

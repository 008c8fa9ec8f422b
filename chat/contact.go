package chat

import "time"

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

// ContactState is what there is between two users, as one of them sees it. The numbers are those of the wire.
type ContactState uint8

const (
	// AskedByMe: the user has asked the other to be friends.
	AskedByMe ContactState = 1
	// AsksMe: the other has asked the user.
	AsksMe ContactState = 2
	// Friend: the two are friends.
	Friend ContactState = 4
)

package seam

import (
	"time"

	"github.com/google/uuid"
)

// Keeper is what a push service tells of the messages that it keeps. The methods may be called from any goroutine, with locks of the
// service held, and return at once. They call no method of Kept.
type Keeper interface {
	// Keeps says that the service keeps a message for a user who has no session on its engine, for at most this time.
	Keeps(userID string, left time.Duration)
	// KeepsNothing says, after Keeps, that the service keeps no message for the user any more.
	KeepsNothing(userID string)
	// Arrived says that a session of the user has begun. session is its ID.
	Arrived(userID, session string)
}

// Kept is what a push service provides to its Keeper. Any goroutine may call the functions. They call the user manager, and so are called
// without a lock.
type Kept struct {
	// Left returns for how long the service keeps messages for the user; 0 for none.
	Left func(userID string) time.Duration
	// Messages returns the messages that the service keeps for the user, in order. Their slices must not be changed.
	Messages func(userID string) []KeptMessage
	// Confirm notes that the user has confirmed a message on another engine, in a session of this device class. told says that the caller
	// reports that itself: then the service reports that the user has no session on its engine.
	Confirm func(userID string, id uuid.UUID, device uint16, told bool)
	// Deliver hands messages that another service keeps to a user's session, the one on this connection. A message that the session has
	// got and has not confirmed is not handed over again. confirmed is called for each that the session's client confirms. Deliver
	// reports false when the user has no such connection.
	Deliver func(userID string, conn uint64, messages []KeptMessage, confirmed func(id uuid.UUID)) bool
}

// KeptMessage is a message that waits for its user.
type KeptMessage struct {
	ID      uuid.UUID
	Body    []byte        // of the message, as it goes to a client
	Left    time.Duration // for which it is still kept
	Devices []uint16      `json:",omitempty"` // the device classes of the sessions that may get it; none for all
}

// KeptOf makes k the Keeper of a *push.Service, which has one at most, and returns what the service provides. Package push sets it.
var KeptOf func(service any, k Keeper) Kept

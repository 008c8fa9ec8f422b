package seam

import (
	"errors"
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
	// Unasked says that the session on this connection, of this device class, has confirmed a message that no session of the service was
	// asked to confirm: a session of the user on another engine may have been.
	Unasked(userID string, conn uint64, device uint16, id uuid.UUID)
}

// Kept is what a push service provides to its Keeper. Any goroutine may call the functions. They call the user manager, and so are called
// without a lock.
type Kept struct {
	// Left returns for how long the service keeps messages for the user; 0 for none.
	Left func(userID string) time.Duration
	// Tell has the service call Keeper.Keeps if it keeps messages for the user: the user has one more session, on another engine.
	Tell func(userID string)
	// Messages returns the messages that the service keeps for the user, in order. Their slices must not be changed.
	Messages func(userID string) []KeptMessage
	// Confirm notes that the user has confirmed a message on another engine.
	Confirm func(Confirmation)
	// Deliver hands messages that another service keeps to a user's session, the one on this connection. A message that the session has
	// got and has not confirmed is not handed over again. confirmed is called for each that the session's client confirms. Deliver
	// reports false when the user has no such connection.
	Deliver func(userID string, conn uint64, messages []KeptMessage, confirmed func(id uuid.UUID)) bool
}

// Confirmation says that a user has confirmed a message on another engine.
type Confirmation struct {
	UserID  string
	ID      uuid.UUID // of the message
	Session uuid.UUID // that has confirmed it; zero where that is not known
	Device  uint16    // the session's device class
	How     Confirmed
	// Replaces reports, for ConfirmedTold, whether the session that has confirmed excludes sessions of this device class: then it has come in
	// the place of one that has ended.
	Replaces func(device uint16) bool
}

// Confirmed says what a Confirmation counts for.
type Confirmed uint8

const (
	// ConfirmedKept is for a message of Kept.Messages: it counts for any session that has ended.
	ConfirmedKept Confirmed = iota
	// ConfirmedUnasked is for a message of Keeper.Unasked: it counts for a session of the same device class that has ended.
	ConfirmedUnasked
	// ConfirmedTold is for a message whose confirmation the caller reports itself: then the service reports that the user has no session on
	// its engine.
	ConfirmedTold
)

// KeptMessage is a message that waits for its user.
type KeptMessage struct {
	ID      uuid.UUID
	Body    []byte        // of the message, as it goes to a client
	Left    time.Duration // for which it is still kept
	Devices []uint16      `json:",omitempty"` // the device classes of the sessions that may get it; none for all
}

// KeptOf makes k the Keeper of a *push.Service, which has one at most, and returns what the service provides. Package push sets it.
var KeptOf func(service any, k Keeper) Kept

// Pushing is what a push service tells a push.Pusher of a push, by the context: the value of PushingKey. It does so if it has a Keeper.
type Pushing interface {
	// Missed reports whether the push has found no session of the user on the service's engine.
	Missed(userID string) bool
	// IsKept reports whether the service keeps the message for its users.
	IsKept() bool
	// Lost says that the user's session on another engine has ended before it has confirmed the message, and that its client may come back.
	Lost(userID string)
}

// PushingKey is the key of a Pushing.
type PushingKey struct{}

// PushHere is push.Service.Push without pushers. With follow another service keeps the message: a delivery then ends with its session, and
// has ErrLost if the client may come back. It is a func(ctx context.Context, s *push.Service, to push.Target, m *push.Message,
// o *push.Options, follow bool) (push.Result, error). Package push sets it.
var PushHere any

// KickKey is the key of a context with which a service calls its pushers for the notice of a kick on all engines: the Keeper has the
// sessions on other engines told.
type KickKey struct{}

// NoticeHere sends the notice of a kick to those of a user's sessions on the service's engine that the options select. It is a func(ctx
// context.Context, s *push.Service, userID string, o *usermgr.KickOptions, notice *push.Message) error. Package push sets it.
var NoticeHere any

// ErrLost is the error of a delivery of PushHere whose session has ended.
var ErrLost = errors.New("rollcall: the session has ended, and its client may come back")

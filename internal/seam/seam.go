// Package seam has interfaces and function variables between packages of this module. One package implements or sets them, another
// uses them. Programs do not need them.
package seam

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/rollcall-go/rollcall/protocol"
)

// Looker is what a user manager asks its Link to be, before it ends a session for its silence. Without it the heartbeat Checker alone
// decides.
type Looker interface {
	// Look calls done when all bytes that have arrived by now have counted as a sign of life, because bytes may wait unread while
	// the server is too busy to read them. busy reports whether messages of the client wait for their handlers or are being
	// handled; then the session is not idle. Look returns at once. done is called once, from any goroutine, also when the
	// connection has ended. While the connection cannot be read done is not called, and the session does not end for its
	// silence.
	Look(done func(busy bool))
}

// Renewer is what a bridge asks a user manager's Session to be, when its client comes with a new token. A session without it keeps the
// token of its Logon.
type Renewer interface {
	// Renew replaces the session's token, or refuses that: a *protocol.CloseError has the code with which the client is answered.
	// An empty token keeps the present one, but may be refused too. Renew blocks until that is decided, within ctx. When ctx ends
	// first the token stays.
	Renew(ctx context.Context, token string) error
}

// DeviceAtOf returns a function of a user manager that finds the device class of the session on a connection. The function takes no
// lock, and does not describe the session. It is nil for a user manager that is not package usermgr's, which sets DeviceAtOf.
var DeviceAtOf = func(users any) func(conn uint64) (device uint16, ok bool) { return nil }

// Expendable is what the context of a bridge's logon is. It says that the goroutine that calls Register may end there, by a
// runtime.Goexit in the program's code, and that the bridge then refuses the logon. So a user manager need call none of that code on
// another goroutine to survive it, but only leave the user as it was.
type Expendable interface{ Expendable() }

// LogonKey is the key under which the context of a bridge's logon has itself as a value.
type LogonKey struct{}

// LeavePlace gives up the place among the logons that run at a time, if ctx is of a bridge's logon. A cluster's node calls it for a logon
// that waits for other servers. The logon goes on without a place.
func LeavePlace(ctx context.Context) {
	if p, ok := ctx.Value(LogonKey{}).(interface{ LeavePlace() }); ok {
		p.LeavePlace()
	}
}

// ManagerUser is what a usermgr.Claims may be that works for one user manager.
type ManagerUser interface {
	// UseManager is called by usermgr.New when it succeeds, with the *usermgr.Manager that has the receiver as its Claims.
	UseManager(users any, p Policy)
}

// Inherit notes that a session of users, a *usermgr.Manager, that has ended is continued by one of another manager. Package usermgr sets
// it.
var Inherit = func(users any, session, heir uuid.UUID) {}

// Quiesce stops the delivery of messages to a session of users, a *usermgr.Manager, at once, also while an event handler of the session's
// user runs. done is called, from any goroutine, when no message handler of the session runs any more. Without such a session done is not
// called. Package usermgr sets it.
var Quiesce = func(users any, session uuid.UUID, done func()) {}

// SubscribeTrusted is usermgr.Manager.Subscribe for events, a usermgr.Events, in whose handlers no code of the application's runs: they are
// called in the user's turn itself, and not on goroutines of their own. For another user manager it is its method Subscribe. Package usermgr
// sets it.
var SubscribeTrusted func(users, events any) (unsubscribe func())

// BridgeUser is what a bridge.Elsewhere may be that sends messages to a bridge's sessions.
type BridgeUser interface {
	// UseBridge is called by bridge.Attach. users is the bridge's user manager if it is a *usermgr.Manager, and nil otherwise. With an
	// error Attach fails.
	UseBridge(users any, b LocalSessions) error
}

// Unreliable is added to the policy of a message that is sent with engine.SendOptions.Unreliable.
const Unreliable = 1 << 7

// LocalSessions are the sessions of a bridge's engine.
type LocalSessions interface {
	// Deliver sends a message to the user's sessions there, as bridge.Bridge.SendMessage does. policy and key are those of an
	// engine.SendOptions; Unreliable may be added to the policy. The message is valid until Deliver returns.
	Deliver(userID string, m *protocol.Message, policy uint8, key string) error
	// LogonDeadline returns the longest time that a logon takes there.
	LogonDeadline() time.Duration
}

// Policy says which sessions of one user may live side by side. It is a user manager's, for a cluster, which decides by it about sessions
// elsewhere.
type Policy struct {
	IgnoreNew bool
	Several   bool // a user may have more than one session
	// ReturnWins is that of usermgr.Config.
	ReturnWins bool
	// Excluded returns the indices of the sessions, of one user and the oldest first, that a logon on the device excludes, in
	// this order.
	Excluded func(device uint16, sessions []Place) []int
	// Digest is the same for the same policy.
	Digest string
}

// Place is a session as a policy sees it.
type Place struct {
	Device uint16
	Same   bool // it has the logon's token, or the logon takes it over by its ID
}

package push

import (
	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// The errors in Delivery.Err.
var (
	errOffline = protocol.Errorf(protocol.UserOffline, "the user is offline")
	errExpired = protocol.Errorf(protocol.TimedOut, "no session has acknowledged the message while it was kept")
	errFull    = protocol.Errorf(protocol.Refused, "too many messages wait for an acknowledgement")
	errClosed  = protocol.Errorf(protocol.ServerStopping, "the push service is closed")
)

// Result is the outcome of a message.
type Result struct {
	ID uuid.UUID // of the message
	// Deliveries has the deliveries to the bridge's sessions, then the deliveries by the pushers; with Go, only deliveries that were
	// not reported before. Results of several pushes to everyone share the slice: do not change it.
	Deliveries []Delivery
	Pending    int              // with Go: more than 0 while deliveries are still to be reported
	Kicked     []usermgr.Kicked // the outcome of each session; only with Kick
}

// Sessions returns the number of the bridge's sessions that the message was handed to.
func (r Result) Sessions() (n int) {
	for i := range r.Deliveries {
		if d := &r.Deliveries[i]; d.Pusher == "" && d.Conn != 0 && d.Err == nil {
			n++
		}
	}
	return n
}

// Confirmed returns how many deliveries were acknowledged.
func (r Result) Confirmed() (n int) {
	for i := range r.Deliveries {
		if r.Deliveries[i].Confirmed {
			n++
		}
	}
	return n
}

// Delivery is the outcome of a message on one session. A user without a session has a delivery too, with connection 0.
type Delivery struct {
	Pusher string // the name of the pusher; empty for the bridge's sessions
	UserID string
	// Conn and Device are the connection's number and the device class of the session that has acknowledged the message, or of
	// the last session that it was handed to. 0 and 0 mean no session.
	Conn   uint64
	Device uint16
	// Confirmed means that the session's client has handled the message. Where Confirmed is false and Err is nil the message was
	// handed over, and its arrival is not known; with Push and Keep it may still wait for its user.
	Confirmed bool
	// Err says why the message was not delivered. errors.Is finds one of these in it: protocol.UserOffline, if the user has no
	// session; TimedOut, if no session has acknowledged the message within Options.Keep; Refused, if a limit of Config on waiting
	// messages is reached, for the user or for all users, and the message was not kept; ServerStopping, if the service was closed
	// while the message waited. Otherwise Err is an error of engine.Conn.Send, or the pusher's error.
	Err error
}

package push

import (
	"errors"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/usermgr"
)

var (
	// ErrExpired is a delivery's: no session has acknowledged the message within Options.Keep.
	ErrExpired = errors.New("rollcall: nobody has acknowledged the message while it was kept")
	// ErrFull is a delivery's: more waits for the user, or for all users, than Config allows. The message was not kept.
	ErrFull = errors.New("rollcall: too much waits for users to acknowledge it")
	// ErrClosed is returned by a service that has been closed, and is the outcome of what waited then.
	ErrClosed = errors.New("rollcall: the push service is closed")
)

// Result is what happened to a message.
type Result struct {
	ID         uuid.UUID        // the message's
	Deliveries []Delivery       // to the bridge's sessions, then by the pushers; with Go, those not told before
	Pending    int              // with Go: more than 0 while deliveries are still to be told
	Kicked     []usermgr.Kicked // what became of the sessions; only with Kick
}

// Sessions returns to how many of the bridge's sessions the message was handed.
func (r Result) Sessions() int {
	return r.count(func(d *Delivery) bool { return d.Pusher == "" && d.Conn != 0 && d.Err == nil })
}

// Confirmed returns how many deliveries were acknowledged.
func (r Result) Confirmed() int { return r.count(func(d *Delivery) bool { return d.Confirmed }) }

func (r Result) count(is func(*Delivery) bool) (n int) {
	for i := range r.Deliveries {
		if is(&r.Deliveries[i]) {
			n++
		}
	}
	return n
}

// Delivery is what became of a message on one session. A user without a session has one too, of connection 0.
type Delivery struct {
	Pusher string // the name of the pusher; empty for the bridge's sessions
	UserID string
	// Conn and Device are the connection's number and the device class of the session that has acknowledged the message, or
	// of the last that it was handed to. 0 and 0 mean none.
	Conn   uint64
	Device uint16
	// Confirmed means that the session's client has dealt with the message. Without it and without Err the message was handed
	// over, and nobody knows more; with Push and Keep it may still wait for its user.
	Confirmed bool
	// Err is why the message was not delivered: bridge.ErrUserOffline, ErrExpired, ErrFull, ErrClosed, engine.Conn.Send's
	// error, or the pusher's.
	Err error
}

package seam

import (
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Conn is what an admission asks of a connection besides engine.Control. All methods may be called from any goroutine, also when the
// connection has ended, and return at once.
type Conn interface {
	// MaxBody returns the largest body of a message, both ways, in bytes: engine.Limits.MaxBody, or its default; less over UDP.
	MaxBody() int
	// Datagrams opens the way for datagrams to a client that is logging on, and returns the session's ID there, and the secret from which
	// its keys come. ok is false where there is no such way: without TLS, or without a listener for it. It is called once at most, before
	// Control.Admit.
	Datagrams() (id uint64, secret [32]byte, ok bool)
	// Look calls done when all bytes that have arrived by now have been read and have counted as a sign of life, as far as one read
	// takes them; they may still wait in the socket because the event loop was busy or the process stood still. Call it at a
	// deadline, before a connection is ended for its silence. busy reports whether messages of the client wait for their handlers
	// or are being handled; without engine.Config.Workers it is false. done is called once, on the event loop, and must not block.
	// While the loop is stuck in a handler done is not called. When the loop has ended, Look calls done itself.
	Look(done func(busy bool))
	// After calls t.TimedOut on a goroutine of its own when d has passed. Time in which the process stood still, or the connection's
	// event loop was stuck in a handler, does not count, because the server cannot read from the client in that time. All connections
	// with the same d share a timer; an admission uses few lengths. n is for StopAfter.
	After(d time.Duration, t Timed) (n uint32)
	// StopAfter prevents a call, and reports whether it was in time.
	StopAfter(d time.Duration, n uint32) bool
	// Unbind unbinds the connection's user: Dropped and End of the Binding are not called any more. An admission calls it before it
	// closes a connection whose session has ended, so that the close does not call the session. The first call keeps why if the
	// connection has not been let in yet.
	Unbind(why *protocol.CloseError) Unbound
	// UnboundEarly returns why the user was unbound before the connection was let in; nil if it was not. When Control.Admit has let the
	// connection in, the answer does not change any more.
	UnboundEarly() *protocol.CloseError
	// CountFailedLogon counts a failed log-on of the connection's address (engine.Bans.FailedLogons). An admission calls it when a
	// client that has been let in shows an invalid token.
	CountFailedLogon()
	// Waits returns how many bytes of the client wait to be handled, as far as they are counted, and how many wait to be sent to it, with the
	// memory that they take. It holds the connection's lock for a moment where bytes wait.
	Waits() (in, out int)
}

// Timed is what has a deadline.
type Timed interface{ TimedOut() }

// Unbound is the state of a connection when Unbind was called.
type Unbound struct {
	First   bool // it was bound
	LetIn   bool // Control.Admit was called
	Binding any  // its engine.Binding; nil for none
}

// AdmissionOf returns the Admission of the engine that c, an *engine.Conn, belongs to. Package engine sets it. It is called for every
// message to a user, so it takes no lock and allocates nothing.
var AdmissionOf func(c any) any

// ConnOf returns what c, an *engine.Conn, provides besides its methods. Package engine sets it, and allocates nothing in it.
var ConnOf func(c any) Conn

// HeartbeatTeller may be implemented by an engine.Admission. It tells how clients are watched for silence.
type HeartbeatTeller interface {
	// Heartbeat returns the silence after which a client is ended, 0 when clients are not watched; and the interval at which clients are
	// told to send something, 0 when they are not told an interval. It is called when Engine.Run begins.
	Heartbeat() (timeout, interval time.Duration)
}

// HandledTeller may be implemented by an engine.Binding. The engine calls it when messages have been handled.
type HandledTeller interface {
	// Handled is called, with engine.Config.Workers, when no message of the client waits or is being handled any more. It is called once
	// for each time that messages have come, from any goroutine, and may be called after End. It must take no lock.
	Handled()
}

// PeerEnder may be implemented by an engine.Binding. The engine calls it when the peer has ended its sending side while answers are
// still to be sent.
type PeerEnder interface {
	// PeerEnded is called once; End follows within engine.Timeouts.Close. No more bytes will come from the peer; this must not count as
	// silence. PeerEnded runs on the event loop, and must not block.
	PeerEnded()
}

// Relayer may be implemented by an engine.Admission that passes no message on, so that messages for other users are treated like all
// others: they count towards engine.Limits.MaxRequests.
type Relayer interface {
	// Relays reports whether Addressed is to be called at all. It is called when Engine.Run begins.
	Relays() bool
}

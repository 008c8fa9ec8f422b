package seam

import "context"

// Teller carries what a service on one server tells the service of the same name on the others. A bridge.Elsewhere may be one: a
// cluster.Node is. Any goroutine may call the methods.
type Teller interface {
	// Hear makes the service known, before the server has joined, once for a name. heard gets what the service tells on other servers:
	// from each of them in order and at most once, while some of it may be lost. from is the number of the other server's present life. The
	// body is valid until heard returns. changed gets the numbers of the other servers whenever they have changed. A number that is
	// not among them any more never comes back. Neither may block; both may be called from several goroutines at a time.
	Hear(service string, heard func(from uint32, body []byte), changed func(others []uint32)) (stop func())
	// Tell tells the service on the server with this number, or with 0 on all others, at most MaxTold bytes. It returns at once. What
	// cannot be sent now is lost. The body is copied.
	Tell(service string, to uint32, body []byte)
	// Online returns those of the users who are online on any server. It blocks within ctx.
	Online(ctx context.Context, userIDs ...string) (online []string, err error)
}

// MaxTold is the largest body of Teller.Tell, in bytes.
const MaxTold = 256 << 10

// TellerOf returns the Elsewhere of a *bridge.Bridge, if it is a Teller; otherwise nil. Package bridge sets it.
var TellerOf func(b any) Teller

// IsElsewhere reports whether a user is on another server, as p, a *presence.Service, knows. Package presence sets it. It asks no store.
var IsElsewhere func(p any, userID string) bool

package engine

import (
	"context"

	"github.com/rollcall-go/rollcall/protocol"
)

// Admission decides which connections may come in, and is notified when they end. Package bridge provides one.
type Admission interface {
	// First is called on the connection's event loop with its first message, which is valid until First returns. It must not
	// block. No further message of the connection is delivered until k.Admit is called, from any goroutine. k.Refuse and
	// Conn.Close turn the connection away. First may return nil when the Admission needs no Binding.
	First(k Control, m *protocol.Message) Binding
	// Addressed is called for an application's message, replies too, whose destination (DestUserID) is a user. It runs where message
	// handlers run, with middleware around it. It reports whether it has handled the message; if so, its error has the effect of a
	// Handler's error. Otherwise the message goes to the handler of its type. Such messages do not count towards Limits.MaxRequests.
	Addressed(c *Conn, m *protocol.Message) (handled bool, err error)
	// Drain is called while the engine stops, when every connection has been told to close. It waits until everything that the Admission
	// has bound is unbound, or until ctx ends, and returns the number of sessions that have not ended.
	Drain(ctx context.Context) (left int)
}

// Control has the methods of a connection that only an Admission may call; handlers get the Conn alone. It is one pointer: copy it, and
// compare it with ==. All methods may be called from any goroutine, also when the connection has ended. The zero value has no connection:
// its methods, except Conn, panic.
type Control struct{ conn *Conn }

// Conn returns the connection, or nil for the zero value.
func (k Control) Conn() *Conn { return k.conn }

// Admit lets in a connection that has waited since Admission.First. On a closing connection it does nothing. a must not be changed
// afterwards.
func (k Control) Admit(a *Admitted) { k.conn.letInAs(a) }

// Refuse turns away a connection that has waited since Admission.First: reply, when not nil, goes out, then the Close notice with why, and
// then the connection closes. why is as for Conn.Close.
func (k Control) Refuse(reply *protocol.Message, why error) { k.conn.refuse(reply, why) }

// Quiesce stops the delivery of messages. done is called once, from any goroutine, when no message handler of the connection runs any
// more, and the messages sent so far are counted and handed to the network, as far as the peer takes them. done must not block. See
// usermgr.Link.
func (k Control) Quiesce(done func()) { k.conn.quiesce(done) }

// WhenClosed calls f once when the connection's socket is closed, on its event loop. When the socket is closed already, WhenClosed calls f
// itself. f must not block.
func (k Control) WhenClosed(f func(protocol.CloseOutcome)) { k.conn.whenClosed(f) }

// Admitted says under which user ID, and how, a connection is let in.
type Admitted struct {
	// UserID is the user bound to the connection: every message is delivered under it.
	UserID string
	// StrictUserID closes the connection with WrongUserID when a message carries another user's ID.
	StrictUserID bool
	// Binding, when not nil, replaces the Binding that Admission.First returned, from now on.
	Binding Binding
	// Reply, when not nil, is sent before anything else.
	Reply *protocol.Message
	// Deliver, when not nil, is the first message, which is delivered to its handler. The Admission must not use its memory any more.
	Deliver *protocol.Message
}

// Binding receives what happens on one connection, for the Admission. Beat, Received and Sent are in the message path, on the
// connection's loop, from Admit on: they must take no lock, look nothing up and allocate nothing. Dropped and End are called
// rarely, from any goroutine, before Admit too.
type Binding interface {
	// Beat reports that bytes have come from the client.
	Beat()
	// Received counts messages that came in one read, and their bytes with headers; the last message was of type typ.
	// Heartbeats and other upkeep (Logon, Close) are not counted.
	Received(typ uint16, messages, bytes int)
	// Sent counts messages that were handed to the network, in the same way.
	Sent(typ uint16, messages, bytes int)
	// Dropped counts messages that were dropped because the client does not keep up, or is gone. It is called within about a
	// second, and before End. Messages that are dropped after End are not reported.
	Dropped(typ uint16, messages, bytes int)
	// End is called once, from any goroutine, when the connection begins to close, by any cause. It must not block.
	End(code protocol.CloseCode)
}

// noBinding is the Binding of an Admission that needs none.
type noBinding struct{}

func (noBinding) Beat()                     {}
func (noBinding) Received(uint16, int, int) {}
func (noBinding) Sent(uint16, int, int)     {}
func (noBinding) Dropped(uint16, int, int)  {}
func (noBinding) End(protocol.CloseCode)    {}

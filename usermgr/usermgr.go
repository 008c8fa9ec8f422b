// Package usermgr keeps the users who are online and their sessions. It decides what happens when a user logs on twice, falls silent or
// is thrown out, and counts their traffic. The package knows no socket and no frame: it uses a connection through the interface
// [Link]. A bridge uses the manager through the interface [UserManager].
//
//	users, err := usermgr.New(usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
//	users.Subscribe(usermgr.Events{
//		Online:  func(u usermgr.UserData) { log.Print(u.UserID, " is online") },
//		Offline: func(u usermgr.UserData) { log.Print(u.UserID, " is gone") },
//	})
//	wait, err := users.Kick("bob", &usermgr.KickOptions{Text: "no more puns", BanFor: time.Hour})
//
// [Manager] is the implementation. docs/guide.md introduces it together with the other parts; docs/contract.md has the rules that it
// keeps.
//
// # Turns
//
// The changes of one user happen in turns, one after another. A logon's turn has three steps. Prepare: the logon is checked. Claim:
// Config.Claims is called, where it is set. Complete: the sessions that may not live beside the new session end, then the Connected
// handlers of the new session run. The turn runs on the goroutine that called Register. While a logon waits for its claim, other
// sessions of the user may end: the logon lends its turn (lending.go). Without this, two managers that replace each other's sessions
// would wait for each other for ever.
//
// The end of a session takes several steps too (departure.go). Before Disconnected, the end waits until the session's last message
// handler has returned, or until Config.QuiesceTimeout has passed. When a logon, or the renewal of a session's token, ends another session,
// the caller's goroutine blocks during the wait. All other ends wait without a goroutine.
//
// # Locks
//
// Every lock is held for a few instructions. None is held while a handler, a Checker or a Link runs; [Link.Address] is the exception.
// Locks are taken in this order:
//
//   - a shard of the directory of users (directory.go)
//   - one user's entry (user.go)
//   - one of the locks below
//   - a timer's (internal/clock)
//
// A goroutine holds at most one of these locks at a time:
//
//   - a shard of an index of sessions (directory.go)
//   - the sessions whose claims are running (claims.go), or the context of one claim (claimcontext.go)
//   - a kick's record (kick.go)
//   - the banned users, or the revoked tokens (refusals.go)
//   - the ended sessions (ended.go)
//   - the counts of devices (lookup.go)
//   - the history of sessions (stats.go)
//   - the source of session IDs (sessionid.go)
//   - the subscribers (manager.go)
//   - the queue of turns' steps (runners.go)
//   - one wait for message handlers (quiesce.go)
//   - the owned checkers (checkers.go)
//   - the UserDisplayers, or the users that one shows (displayer.go)
//
// A lookup finds a user or a session without a lock, and copies the data under the user's lock.
package usermgr

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Address says which connection a session is on.
type Address struct {
	Conn   uint64         // the connection's number, never reused by this process
	Remote netip.AddrPort // the peer's network address; zero if the peer has none, as on a Unix socket
	Via    string         // the transport, such as "tcp", "tls" or "wss"; with package bridge it is engine.Conn.Transport
}

// String returns Remote; if Remote is zero, Via; and if Via is empty too, the connection's number.
func (a Address) String() string {
	switch {
	case a.Remote.IsValid():
		return a.Remote.String()
	case a.Via != "":
		return a.Via
	}
	return fmt.Sprint("connection ", a.Conn)
}

// Logon is the content of a client's Logon message, completed by the bridge.
type Logon struct {
	UserID string // of the first message, or as the authenticator returned it
	Device uint16 // device class; 0 is unspecified
	// Session is the ID of a client's last session, when the client comes back by itself. When that session, or a session that
	// continues it, lives, the logon takes that over, whatever the RelogonMode. When it has ended, the reason of the end decides
	// whether the client may come back: see Config.ReturnWins. It is the Logon message's field "session".
	Session string
	// Token names the login: the same token twice is one session. It is the Logon message's field "token", or the
	// authenticator's Identity.Token. Empty means the session ID. It is a secret.
	Token   string
	Fields  map[string]string // the Logon message's string map; nil when the first message was not a Logon
	Address Address           // the connection that asks
	// Renewal means that this is no logon, but a fresh token for the live session Session. An authenticator may require less for
	// it than for a logon. Only authenticators see a renewal, never Register.
	Renewal bool
}

// Link is a session's connection as the manager sees it. The bridge provides it; a test or another engine may provide its own.
//
// All methods may be called from any goroutine, never block, and stay callable after the connection has ended. No method calls the
// session or the manager before it returns, so that a manager may hold a lock during a call; Manager holds none.
type Link interface {
	// Address returns the connection's address, which never changes. The manager may call it with a lock held, so it must return
	// at once and must not call the manager.
	Address() Address
	// Quiesce stops the delivery of messages: no further message handler of the connection starts. done is called once, from any
	// goroutine, when no message handler runs and the messages sent until then are counted. It is also called when the
	// connection or its engine ends first. The manager may call Quiesce again.
	Quiesce(done func())
	// Close ends the connection: queued messages go out, then the notice with why's code and text, then the connection closes. done,
	// unless it is nil, is called once, from any goroutine, with the outcome, when the connection has ended; if the connection had
	// ended before, done is called at once. The manager calls Close for every session that was Connected, once, when the session's
	// Disconnected handlers have returned; on a connection that has already ended Close only releases the session. why is not nil, and
	// stays as it is.
	Close(why *protocol.CloseError, done func(protocol.CloseOutcome))
}

// UserManager is the interface that a bridge needs of a user manager. A program may provide its own.
//
// A UserManager may also implement [HeartbeatTimeouter], [OnlineAsker], [SessionLister] and [Kicker], and have these methods of
// [Manager], which bridge and push then use: SessionAt, for the device class in a push's result, for kicks of some sessions with notice
// and for groups; Subscribe, for pushes that are kept and for groups.
type UserManager interface {
	// Register brings a user online. It blocks until the logon is refused, or done, its Connected handlers included. When ctx ends
	// before the logon's turn has come the logon has no effect, and Register returns an error. A logon that has begun is
	// finished; the caller ends the session if it does not need it any more.
	//
	// A *protocol.CloseError has the code with which the connection is to be closed; any other error means InternalError.
	Register(ctx context.Context, l Logon, link Link) (Session, error)
	// Links returns the links of the user's sessions, as they were given to Register, or nil for a user who is not online. It is
	// called for every message to a user: it should cost one look-up and no allocation. Neither side may change the slice.
	Links(userID string) []Link
}

// HeartbeatTimeouter is an optional interface of a UserManager. With it the bridge tells clients how often to send heartbeats.
type HeartbeatTimeouter interface {
	// HeartbeatTimeout returns how long a client may be silent; 0 means for ever.
	HeartbeatTimeout() time.Duration
}

// OnlineAsker is an optional interface of a UserManager. The bridge uses it, and not Links, to find which users are online.
type OnlineAsker interface {
	// IsOnline reports whether the user counts as online, which may be without a session.
	IsOnline(userID string) bool
}

// SessionLister is an optional interface of a UserManager, for push.ToSessions.
type SessionLister interface {
	// Sessions yields the sessions that match, in no order.
	Sessions(f Filter) iter.Seq[SessionInfo]
}

// Kicker is an optional interface of a UserManager, for push.Service.Kick.
type Kicker interface {
	// Kick ends the user's sessions that o selects, all for nil, with o.Code and o.Text. It returns at once; Wait waits for the
	// ends. The error is ErrBlankID, or ErrUnknownID for a user who is not online.
	Kick(userID string, o *KickOptions) (Wait, error)
}

// Session is one user on one connection, from binding to unbinding, as the connection's engine sees it. Beat, Received and Sent are in
// the message path: they take no lock, look nothing up and allocate nothing. All methods may be called from any goroutine, and do
// nothing after the session has ended.
type Session interface {
	// ID returns the session's ID. It is a secret, because it can take the session over.
	ID() string
	// UserID returns the ID of the user.
	UserID() string
	// Beat reports that bytes have come from the client, also when they are no whole message yet.
	Beat()
	// Received counts messages, and their bytes in all, with headers; the last message was of type typ.
	Received(typ uint16, messages, bytes int)
	// Sent counts messages that were handed to the network.
	Sent(typ uint16, messages, bytes int)
	// Dropped counts messages for the client that were dropped.
	Dropped(typ uint16, messages, bytes int)
	// End reports that the connection is ending, and why. The first recorded cause stays. End returns at once; the manager calls
	// Close on the session's link when the session has ended.
	End(code protocol.CloseCode)
}

// Package usermgr keeps who is online: users, their sessions, what happens when a user logs on twice, falls silent or is
// thrown out, and how much each has sent and received. It knows no socket and no frame: a [Link] is all that it sees of
// a connection, and [UserManager] all that a bridge sees of it.
//
//	users, err := usermgr.New(usermgr.Config{Devices: usermgr.OnePerDevice()})
//	users.Subscribe(usermgr.Events{
//		Online:  func(u usermgr.UserData) { log.Print(u.UserID, " is online") },
//		Offline: func(u usermgr.UserData) { log.Print(u.UserID, " is gone") },
//	})
//	wait, err := users.Kick("bob", &usermgr.KickOptions{Text: "no more puns", BanFor: time.Hour})
//
// [Manager] is the implementation. docs/contract.md has the rules that it holds.
//
// # Turns
//
// What happens to one user happens in turns, one after another. A logon's turn is prepare, claim, complete: it is checked, then
// Config.Claims is asked, where there are some, then the sessions in its way end and it is Connected. It runs on the goroutine that
// called Register. While it waits for its claim the turn is lent to what ends sessions of the user. A session's end has steps too;
// between them, while its message handlers are waited for, the turn has no goroutine.
//
// # Locks
//
// Each is held for a few instructions, and never while a handler, a Checker or a Link runs, but for [Link.Address]. Two are
// taken in this order: a shard of the users (directory), then one user's entry. All others are leaves, behind which no other
// is taken: a shard of an index, the sessions whose claims are under way, a kick's record, the revoked tokens, the sessions that
// have ended, the counts of devices, the history of sessions, the source of session IDs, the subscribers, the displays, and what one display has shown. Those who look users and sessions
// up take no lock to find them, and the user's to describe them.
package usermgr

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Address says which connection a session is on.
type Address struct {
	Conn   uint64 // the connection's number, never reused by this process
	Remote string // the peer's network address, for people to read
}

// String returns Remote, or the connection's number where that is empty.
func (a Address) String() string {
	if a.Remote == "" {
		return fmt.Sprint("connection ", a.Conn)
	}
	return a.Remote
}

// Logon is what a client said of itself when it asked to come in, completed by the bridge.
type Logon struct {
	UserID string // who it is: the first message's user ID, or the authenticator's word for it
	Device uint16 // device class; 0 is unspecified
	// Session says that a client comes back by itself, with the session of this ID. Where that lives, or is continued by one
	// that lives, the logon takes it over, whatever the RelogonMode. Where it has ended, that decides whether the client may
	// come back: see Config.ReturnWins. It comes from the Logon message's field "session".
	Session string
	// Token names the login: the same token twice is one session. It is the Logon message's field "token", or what the
	// authenticator gave in its place. Empty means the session ID. It is a secret.
	Token   string
	Fields  map[string]string // the Logon message's string map; nil when the first message was not a Logon
	Address Address           // the connection that asks
	// Renewal: it is no logon, but a client that has the session Session, and shows a fresh token for it. An authenticator
	// may ask less of it than of a logon. Only a [Renewer] gets it otherwise, never Register.
	Renewal bool
}

// Link is a session's connection as the manager sees it. The bridge gives one; a test or another engine may too.
// All methods may be called from any goroutine, never block, and stay callable when the connection has ended. None calls a
// method of the session's or of the manager's before it returns, so that a manager may hold a lock around a call, though the
// one here holds none.
type Link interface {
	// Address returns the connection's address. It never changes. The manager may call it with a lock held: it must return
	// at once, and call nothing of the manager.
	Address() Address
	// Quiesce stops the delivery of messages: no message handler of the connection starts any more, and done is called
	// once, from any goroutine, when none is running and what was sent until then is counted. It is called too when the
	// connection or its engine ends first. The manager may call Quiesce again.
	Quiesce(done func())
	// Close ends the connection: what is queued goes out, then the notice with the code and the text, then it closes.
	// The manager calls it for every session that was Connected, once, when the session's Disconnected handlers have
	// returned; on a connection that has already ended there is nothing left to do but to release the session.
	Close(code protocol.CloseCode, text string)
}

// Looker is what a Link may be besides, as the bridge's is: one that can have a connection looked at before its session ends for
// its silence. Without it the session's silence is what the Checker says.
type Looker interface {
	// Look has done called once all that has come on the connection by now has counted as a sign of life: bytes may wait,
	// unread, while the server was too busy to read them, which is not the client's silence. busy reports whether messages of
	// the client's wait for their handlers or are being handled, which is no idleness. Look returns at once. done is called
	// once, from any goroutine, also when the connection has ended. While the connection cannot be looked at it is not called,
	// and the session does not end for its silence.
	Look(done func(busy bool))
}

// UserManager is what a bridge needs of a user manager. A program may bring its own.
//
// It may have methods of [Manager]'s besides, which are used where they are found: it may be a [HeartbeatTimeouter], an
// [OnlineAsker], a [SessionLister] and a [Kicker]; it may have DeviceAt, for the device class in a push's result, SessionAt, for kicks of some sessions with notice and for groups, and Subscribe, for pushes that are kept and for groups.
type UserManager interface {
	// Register brings a user online. It blocks until the logon is done, its Connected handlers included, or refused.
	// When ctx ends before the logon's turn has come nothing has happened, and the error says so; a logon that has
	// begun is finished, and the caller ends the session if it has no use for it any more.
	//
	// A *protocol.CloseError says with which code the connection is to be closed; any other error is an InternalError.
	Register(ctx context.Context, l Logon, link Link) (Session, error)
	// Links returns the links of the user's sessions, as Register got them, or nothing for a user who is not online. It is
	// called for every message to a user: it should cost a look-up and no allocation. Neither side changes the slice
	// afterwards.
	Links(userID string) []Link
}

// HeartbeatTimeouter is what a UserManager may be besides: its clients are told how often to send heartbeats.
type HeartbeatTimeouter interface {
	// HeartbeatTimeout returns how long a client may be silent; 0 means for ever.
	HeartbeatTimeout() time.Duration
}

// OnlineAsker is what a UserManager may be besides: it answers those who ask who is online, in the place of a look at Links.
type OnlineAsker interface {
	// IsOnline reports whether the user counts as online, which may be without a session.
	IsOnline(userID string) bool
}

// SessionLister is what a UserManager may be besides, for push.ToSessions.
type SessionLister interface {
	// Sessions yields the sessions that match, in no order.
	Sessions(f Filter) iter.Seq[SessionInfo]
}

// Kicker is what a UserManager may be besides, for push.Service.Kick.
type Kicker interface {
	// Kick ends the user's sessions that o means, all for nil, with o.Code and o.Text. It returns at once; Wait waits for the
	// ends. The error is ErrBlankID, or ErrUnknownID for a user who is not there.
	Kick(userID string, o *KickOptions) (Wait, error)
}

// Session is one user on one connection, from binding to unbinding, as the connection's engine sees it. Beat, Received and
// Sent stand in the message path: they take no lock, look nothing up and allocate nothing.
// All methods may be called from any goroutine, and do nothing once the session has ended.
type Session interface {
	// ID returns the session's ID. It can take the session over: treat it as a secret.
	ID() string
	// UserID returns the ID of the user.
	UserID() string
	// Beat says that bytes have come from the client, even if they are no whole message yet.
	Beat()
	// Received counts messages of so many bytes in all, with their headers; the last one was of type typ.
	Received(typ uint16, messages, bytes int)
	// Sent counts messages that were handed to the network.
	Sent(typ uint16, messages, bytes int)
	// Dropped counts messages for the client that were thrown away.
	Dropped(typ uint16, messages, bytes int)
	// End says that the connection is ending, and why. The first cause that is recorded stays. It returns at once;
	// Close is called on the session's link when all is done.
	End(code protocol.CloseCode)
}

// Renewer is what a [Session] may be besides: it is told of a token that takes the place of the session's. A session that is
// none has the token of its Logon to its end.
type Renewer interface {
	// Renew gives the session another token, l.Token, or refuses it: a *protocol.CloseError says with which code the client
	// is answered. It blocks until that has been decided, within ctx; when ctx ends first nothing has happened.
	Renew(ctx context.Context, l Logon) error
}

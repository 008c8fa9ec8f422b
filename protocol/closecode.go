package protocol

import "fmt"

// CloseCode says why a connection or a session ended, or why a request failed. The same codes are used on the wire, in events, in
// logs and as errors. A code is an error; a [CloseError] is a code with a text. errors.Is(err, protocol.UserOffline) finds both,
// and errors.As finds a CloseCode in both.
//
// The first digit of a code says what a program must do, also for unknown codes: after 1xxx and 3xxx a client may reconnect, with
// backoff; after 2xxx and 4xxx it must not; 5xxx belongs to one request and leaves the connection open. The application defines
// 3xxx and 4xxx. The table is in docs/protocol.md.
type CloseCode uint16

const (
	// ClientClosed: the client ended the connection, by a Close message or by ending its side between two frames.
	ClientClosed CloseCode = 1000
	// NetworkError: the connection was reset, or ended within a frame. It is never sent.
	NetworkError CloseCode = 1001
	// HeartbeatTimeout: nothing was heard from the client for longer than the heartbeat timeout.
	HeartbeatTimeout CloseCode = 1002
	// SlowConsumer: more bytes waited to be sent to the client than the outbound limit allows.
	SlowConsumer CloseCode = 1003
	// ServerStopping: the server is going down, or cleared its sessions.
	ServerStopping CloseCode = 1004
	// LogonTimeout: no first message came in time.
	LogonTimeout CloseCode = 1005
	// TooManyConnections: a limit on the number of connections is reached.
	TooManyConnections CloseCode = 1006
	// RateLimited: the client sent more per second than it may, or more than may wait for the server's handlers.
	RateLimited CloseCode = 1007
	// InternalError: the server failed: a handler panicked, an authenticator had no answer, a logon took too long.
	InternalError CloseCode = 1008
	// NodeLost: the server could not reach the other servers of its cluster for too long. A client may come back, to another
	// server too.
	NodeLost CloseCode = 1009
	// TokenExpired: the token of the client's Logon has expired and was not renewed (see [TypeRenew]). A client may come back
	// with a fresh token.
	TokenExpired CloseCode = 1010

	// PushedOut: the same user logged on again, and the new session replaced this one.
	PushedOut CloseCode = 2000
	// AlreadyLoggedOn: the user is online, and the server keeps the existing session.
	AlreadyLoggedOn CloseCode = 2001
	// KickedOut: the application threw the user out.
	KickedOut CloseCode = 2002
	// Unauthorized: the authenticator refused, or the first message was not a Logon.
	Unauthorized CloseCode = 2003
	// InvalidMessage: a frame broke the protocol.
	InvalidMessage CloseCode = 2004
	// WrongUserID: a message carried another user's ID, and the server is strict about it.
	WrongUserID CloseCode = 2005
	// MessageTooLarge: a header announced more than the limit allows.
	MessageTooLarge CloseCode = 2006
	// DeviceNotAllowed: the user may not log on with this device class.
	DeviceNotAllowed CloseCode = 2007
	// SessionExpired: nothing but heartbeats came from the client for longer than the server's idle time. A person has to log
	// on again; the client must not do that by itself.
	SessionExpired CloseCode = 2008

	// UserOffline: the user that a message was for is not online.
	UserOffline CloseCode = 5000
	// NoHandler: the server has no handler for this message type.
	NoHandler CloseCode = 5001
	// HandlerFailed: the handler could not do what was asked.
	HandlerFailed CloseCode = 5002
	// Refused: the application does not allow this request.
	Refused CloseCode = 5003
	// TimedOut: no answer came in time.
	TimedOut CloseCode = 5004
)

var closeCodeNames = map[CloseCode]string{
	ClientClosed: "ClientClosed", NetworkError: "NetworkError", HeartbeatTimeout: "HeartbeatTimeout",
	SlowConsumer: "SlowConsumer", ServerStopping: "ServerStopping", LogonTimeout: "LogonTimeout",
	TooManyConnections: "TooManyConnections", RateLimited: "RateLimited", InternalError: "InternalError",
	NodeLost: "NodeLost", TokenExpired: "TokenExpired", PushedOut: "PushedOut", AlreadyLoggedOn: "AlreadyLoggedOn", KickedOut: "KickedOut",
	Unauthorized:   "Unauthorized",
	InvalidMessage: "InvalidMessage", WrongUserID: "WrongUserID", MessageTooLarge: "MessageTooLarge",
	DeviceNotAllowed: "DeviceNotAllowed", SessionExpired: "SessionExpired",
	UserOffline: "UserOffline", NoHandler: "NoHandler", HandlerFailed: "HandlerFailed", Refused: "Refused",
	TimedOut: "TimedOut",

	NoSuchGroup: "NoSuchGroup", NotMember: "NotMember", GroupMuted: "GroupMuted", MemberMuted: "MemberMuted", Banned: "Banned",
	GroupNoAnonymous: "GroupNoAnonymous", GroupFull: "GroupFull", NotAdministrator: "NotAdministrator", GroupClosed: "GroupClosed",
	NoSuchUser: "NoSuchUser", ReceivingOff: "ReceivingOff", SendingOff: "SendingOff", Blocked: "Blocked",
	UserNoAnonymous: "UserNoAnonymous", NotFriends: "NotFriends", RequestsOff: "RequestsOff", AlreadyFriends: "AlreadyFriends",
	NoSuchMessage: "NoSuchMessage", NotYours: "NotYours", RecallExpired: "RecallExpired", Incomplete: "Incomplete",
	Busy: "Busy", NotStored: "NotStored",
}

// Error returns the code's name, or "code N" for one that this package does not know.
func (c CloseCode) Error() string {
	if name, ok := closeCodeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// MayReconnect reports whether a client that was closed with c may connect again, with backoff.
func (c CloseCode) MayReconnect() bool {
	switch c / 1000 {
	case 1, 3:
		return true
	}
	return false
}

// CloseError is a close code with a text: why a connection was closed, a logon refused or a request not served.
// Errorf makes one. Find it in a chain with errors.As, or its code with errors.Is.
type CloseError struct {
	Code CloseCode
	Text string // for people; may be empty
	// Info holds what a program may act on; nil for none. Known keys: "retry-ms", how long to wait before
	// reconnecting or asking again; "address", where to connect instead; and "until-ms", with [MemberMuted].
	Info map[string]string
}

// Errorf returns a *CloseError with the code and a text for people, which goes to the client.
func Errorf(code CloseCode, format string, args ...any) error {
	return &CloseError{Code: code, Text: fmt.Sprintf(format, args...)}
}

// Unwrap returns the code.
func (e *CloseError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Code
}

// Error returns the code's name and the text.
func (e *CloseError) Error() string {
	if e.Text == "" {
		return "rollcall: " + e.Code.Error()
	}
	return "rollcall: " + e.Code.Error() + ": " + e.Text
}

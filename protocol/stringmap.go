package protocol

import "github.com/rollcall-go/rollcall/internal/bodies"

// Keys of string maps that have a meaning for Rollcall. All others are the application's.
const (
	// FieldToken, in a Logon, is what the authenticator checks.
	FieldToken = "token"
	// FieldSession is a session ID: in a Logon's reply the ID of the new session, in a Logon the ID of the live session to
	// take over. It is a secret: a client that knows it can take the session over, once the client is authenticated.
	FieldSession = "session"
	// FieldHeartbeatMS, in a Logon's reply, is the interval in which a client has to send something, a Heartbeat if it has
	// nothing else to send: a third of the time after which the server ends a silent session, in milliseconds, in decimal.
	// "0", or a reply without the field, means that the client need not send heartbeats.
	FieldHeartbeatMS = "heartbeat-ms"
	// FieldExpiresMS, in the reply to a Logon or to a Renew, is the time after which the session ends unless the client renews
	// it, in milliseconds, in decimal. Without the field the session does not expire.
	FieldExpiresMS = "expires-ms"
	// FieldRetryMS, in a Close or an error reply, is the least time in milliseconds to wait before trying again, in
	// decimal.
	FieldRetryMS = "retry-ms"
	// FieldAddress, in a Close or an error reply, is the "host:port" to connect to instead.
	FieldAddress = "address"
)

// AppendStringMap appends m in the form that Logon and its reply carry: u8 count, then for each pair u8 key length,
// key, u16 value length, value. Pairs are in the order of their keys, so that equal maps give equal bytes.
//
// It returns dst as it was and an error if m has more than 255 pairs, an empty key or one over 255 bytes, a
// value over 65,535 bytes, or a key or value that is not UTF-8. It is safe for concurrent use.
func AppendStringMap(dst []byte, m map[string]string) ([]byte, error) {
	return bodies.AppendMap(dst, m)
}

// parseStringMap is [bodies.ParseMap], with InvalidMessage as the error's code.
func parseStringMap(b []byte) (map[string]string, error) {
	m, err := bodies.ParseMap(b)
	if err != nil {
		return nil, invalid("%v", err)
	}
	return m, nil
}

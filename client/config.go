package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// Handler is called for a message from the server, or from another user through the server. m.UserID is the sender; it is empty for
// the server itself. Handlers run one at a time, in the order of the messages, on one goroutine of the client; while a handler
// blocks the others wait. A handler may keep m and its body.
//
// An error that a handler returns answers m, as ReplyError does: a code from 3000 on (a protocol.CloseCode, or a
// *protocol.CloseError with its text) reaches the sender; any other error becomes HandlerFailed without a text. So a handler may
// end with return c.Reply(m, body). Nothing is sent where m has no ID, because its sender expects no answer, or where the handler
// has already answered m. The client has no log: a handler that needs to record an error does it itself.
//
// A handler that answers later, on a goroutine of its own, returns nil.
//
// A panic in a handler, or a call of runtime.Goexit, such as t.FailNow makes, ends the client: the server is told InternalError,
// and Err has the panic's value and stack in its text.
type Handler func(c *Client, m *protocol.Message) error

// Config holds the settings of a Client. Zero means the default, negative means none. Dial takes a copy; the maps must
// not change afterwards.
type Config struct {
	// UserID is the user that logs on. Empty means that the server's authenticator finds the user by the token.
	UserID string
	// Device is the device class; 0 is unspecified.
	Device uint16
	// Token, when set, is called before every logon and returns the token for the server's authenticator. The logon carries the
	// token as protocol.FieldToken, in place of a token in Fields; "" leaves Fields unchanged. ctx ends with the attempt. When
	// Token returns an error or panics the attempt fails, and the client tries again later, unless the error is a
	// *protocol.CloseError whose code forbids that. Token runs on a goroutine of its own, and must not call Close.
	//
	// When the server limits the time of the session, the client renews it by itself before a quarter of that time is left: it
	// calls Token, never twice at a time, and sends Fields with the new token. The client repeats a renewal that failed while
	// there is time, unless it was refused with 2xxx or 4xxx. When no renewal succeeds the server ends the session with
	// TokenExpired, and the client reconnects.
	Token func(ctx context.Context) (string, error)
	// Fields go with every logon: protocol.FieldToken for a token that never changes, protocol.FieldSession to take over a
	// session whose ID the program kept from an earlier run, and fields of the application. When the client reconnects it sends
	// its own last session ID as protocol.FieldSession.
	Fields map[string]string

	// Handle holds the handlers by message type, 0x0001 to 0xFEFF. Handlers may also be set for the system's types 0xFF06 to
	// 0xFF09, which belong to optional packages. Their messages come in order with the others; without a handler they are dropped, requests too.
	// For another type, or a nil handler, Dial returns an error.
	Handle map[uint16]Handler
	// HandleDefault gets the messages of the application's types that have no handler. Without it requests (messages with an ID)
	// are answered NoHandler, and other messages are dropped.
	HandleDefault Handler
	// OnPush, when set, is called for each push of the server; it may keep m. It runs on the handlers' goroutine, in order with
	// the other messages. When m.Confirm is set the client acknowledges the push after OnPush has returned, so OnPush should
	// return when the push has been handled. It should ignore kinds that it does not know. Without a connection at that time
	// the client sends the acknowledgement on the next connection. A push is not acknowledged when OnPush panics, or when the
	// client is closed before OnPush has returned.
	//
	// When an acknowledgement is lost, the server may send the push again. The client then acknowledges it again and does not
	// call OnPush: it remembers the last 1,024 pushes with Confirm. A new Client remembers none.
	//
	// Without OnPush pushes are dropped, and not acknowledged.
	OnPush func(c *Client, m *protocol.PushMessage)
	// OnState, when set, is called for every state, in order, on the handlers' goroutine. Online comes before the messages of its
	// connection, perhaps before Dial has returned; Reconnecting and Closed come after them. With Online err is nil. With
	// Reconnecting err is the reason for the loss; for each failed attempt OnState is called again, with the reason of the
	// failure. With Closed err is what Err returns. errors.As finds the server's *protocol.CloseError in err; for a connection
	// that ended without a notice its code is NetworkError. Closed comes once, and last. A Dial that fails does not call
	// OnState.
	OnState func(c *Client, s State, err error)

	// Reconnect says how the client comes back when its connection is lost.
	Reconnect Reconnect
	// Timeouts say how long the client waits, and how often it sends heartbeats.
	Timeouts Timeouts

	// MaxBody is the largest body in bytes, both ways. The server has a limit of its own, which its logon reply names if the limit
	// is not 1 MiB (max-body). The client sends no body over the server's limit, and accepts bodies up to that limit even if
	// MaxBody is less. A larger message from the server ends the client with MessageTooLarge; a Close, an error reply and the answer
	// to the Logon may be larger by 64 KiB. 0 means the server's limit, and 1 MiB at least for what is received; negative means
	// that the client accepts any size.
	MaxBody int
	// MaxInbound is how many bytes of messages may wait for handlers. Above it the client stops reading, and a server may end a
	// client that stays behind with SlowConsumer. While a request waits for its reply the client reads on, because the reply may
	// come after those messages, up to four times the limit; beyond that the connection ends with RateLimited, and the client
	// reconnects. 0 means 4 MiB; negative means no limit.
	MaxInbound int

	// TLS, when set, makes the client use TLS on every connection; with a ws:// address Dial then returns an error. Nil means plain
	// TCP, and for a wss:// address TLS with the system's root certificates. Without a ServerName the server's certificate must be
	// for the host that is dialled. For wss:// NextProtos are replaced by http/1.1. Do not change it after Dial. The handshake
	// counts towards Timeouts.Dial.
	TLS *tls.Config
	// UDP, when set, has the client ask for a second way beside TLS, by encrypted datagrams, for what may be lost: SendOptions.Unreliable.
	// It is the "host:port" of the server's listener for datagrams. Without a host, as in ":9001", that is the host that the client is
	// connected to, which is right where there are several servers. It has no effect where the connection is without TLS, or the server
	// has no such listener; where datagrams do not get through, all goes over TLS.
	UDP string
	// DialContext makes connections, those of WebSocket too. Nil means the DialContext of a net.Dialer. network is "tcp", or "udp" for
	// datagrams, and addr "host:port". With TLS set, and for wss://, it must return connections without TLS (not those of a tls.Dialer): the client adds TLS.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Reconnect says how a client comes back when its connection is lost.
//
// After a close code of 1xxx or 3xxx, and after a failure without a code, the client reconnects; after any other code it ends.
//
// While reconnecting, a logon may be refused with AlreadyLoggedOn because the server still holds the client's own dead connection.
// So the client repeats that logon until the server's heartbeat timeout has passed since the loss: three times the interval that
// the server asked for, or 30 s if it asked for none.
//
// When the server names another address the client tries that; after a failed attempt there it goes back to Dial's. A client that was
// connected by a URL puts a "host:port" that the server names into it, and does not go from wss:// to an address without TLS.
type Reconnect struct {
	// Min and Max bound the wait before each attempt. The wait is the server's retry-ms, if it sent one, up to an hour, plus a random time
	// between 0 and the lesser of Max and Min × 2ⁿ, evenly distributed, for attempt n from 0. n begins at 0 again after a
	// connection that has lasted for a minute. 0 means 200 ms and 30 s. With a negative Min the wait is retry-ms alone; with a
	// negative Max the client never reconnects.
	Min, Max time.Duration
	// First makes Dial try again too, in the same way, until its context ends.
	First bool
}

// Timeouts say how long a client waits, and how often it sends heartbeats.
type Timeouts struct {
	// Dial is how long an attempt at one address may take: Config.Token, connecting, TLS, the HTTP request of a WebSocket, and the logon. 0
	// means 15 s. Negative means no limit but Dial's context; an attempt to reconnect may then take for ever.
	Dial time.Duration
	// Write is how long the network may accept no byte before the connection counts as lost. So it also limits how long a Send may
	// block. 0 means 10 s; negative means for ever.
	Write time.Duration
	// Close is how long Client.Close waits for the server to end its side. 0 means 3 s. Negative means no wait: the notice, and
	// the messages sent last, may be lost.
	Close time.Duration
	// Heartbeat is the time without sending anything after which the client sends a Heartbeat. 0 means the interval that the
	// server's logon reply asks for, 100 ms at least, and 10 s where it asks for none. If Heartbeat is more than three times that interval, the
	// server ends the session. Negative means that the client sends no heartbeats and does not watch for a silent server.
	Heartbeat time.Duration
	// Server is how long the server may be silent before the connection counts as lost. After a third of that time the client sends
	// Heartbeats that the server must answer. 0 means three heartbeat intervals, and 3 s at least; negative means for ever. Time in
	// which the client itself does not read (see Config.MaxInbound) does not count as silence.
	Server time.Duration
}

const (
	defaultHeartbeat = 10 * time.Second
	// leastHeartbeat bounds what a server may ask for, so that it cannot make a client send without end.
	leastHeartbeat = 100 * time.Millisecond
	// mostRetry bounds retry-ms, so that a mistake of a server does not keep a client away for days.
	mostRetry = time.Hour
	// leastServerTimeout is the least default of Timeouts.Server, so that a short pause of a server with very short
	// intervals does not end the connection.
	leastServerTimeout = 3 * time.Second
	noLimit            = math.MaxInt / 8
	never              = time.Duration(math.MaxInt64 / 8) // sums of a few of them do not overflow
)

// check returns an error for a setting that makes no sense: a handler that is nil or would never be called, say.
func (c *Config) check() error {
	if _, port, err := net.SplitHostPort(c.UDP); c.UDP != "" && (err != nil || port == "") {
		return fmt.Errorf("rollcall: Config.UDP is %q, and has to be host:port, or :port for the host that the client is connected to", c.UDP)
	}
	for typ, h := range c.Handle {
		switch {
		case typ == 0 || typ >= protocol.FirstSystemType && !isOptional(typ):
			return fmt.Errorf("rollcall: no handler can be set for message type 0x%04x: the application's are 0x0001 to 0xFEFF, those of optional packages 0xFF06 to 0xFF09", typ)
		case h == nil:
			return fmt.Errorf("rollcall: a nil handler for message type 0x%04x", typ)
		}
	}
	return nil
}

func orDefault[T int | time.Duration](v, def, none T) T {
	switch {
	case v == 0:
		return def
	case v < 0:
		return none
	}
	return min(v, none)
}

// orNone is orDefault for a setting whose negative values are kept, because they have a meaning of their own.
func orNone(v, def time.Duration) time.Duration {
	switch {
	case v == 0:
		return def
	case v < 0:
		return -1
	}
	return min(v, never)
}

func (c Config) withDefaults() Config {
	c.Reconnect.Min = orNone(c.Reconnect.Min, 200*time.Millisecond)
	c.Reconnect.Max = orNone(c.Reconnect.Max, 30*time.Second)
	c.Timeouts.Dial = orDefault(c.Timeouts.Dial, 15*time.Second, never)
	c.Timeouts.Write = orDefault(c.Timeouts.Write, 10*time.Second, never)
	if c.Timeouts.Close == 0 {
		c.Timeouts.Close = 3 * time.Second
	}
	c.Timeouts.Close = min(max(c.Timeouts.Close, 0), never)
	c.MaxBody = orDefault(c.MaxBody, 0, noLimit)
	c.MaxInbound = orDefault(c.MaxInbound, 4<<20, noLimit)
	if c.DialContext == nil {
		c.DialContext = new(net.Dialer).DialContext
	}
	return c
}

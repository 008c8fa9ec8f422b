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

// Handler is told of a message from the server, or from another user by way of the server: m.UserID says whom it is
// from, and is empty for the server itself. Handlers run one at a time, in the order in which the messages came, on a
// goroutine of the client's own; while one blocks the others wait. m and its body are the handler's to keep.
//
// An error that a handler returns answers m, as ReplyError does: a code from 3000 on (a protocol.CloseCode, or a
// *protocol.CloseError with its text) reaches the sender, any other error is HandlerFailed without a text. So a handler may
// end with return c.Reply(m, body). Nothing is sent for the error where m has no ID, so that its sender expects no answer, or
// where the handler has answered m already: the first answer counts. The client keeps no log: a handler that wants to know of
// such an error looks at it itself.
//
// A handler that answers later, on a goroutine of its own, returns nil.
//
// A panic in a handler, or a call of runtime.Goexit as t.FailNow makes it, ends the client: the server is told
// InternalError, and Err has the panic's value and stack in its text.
type Handler func(c *Client, m *protocol.Message) error

// Config holds the settings of a Client. Zero means the default, negative means none. Dial takes a copy; the maps must
// not change afterwards.
type Config struct {
	// UserID is who logs on. Empty leaves it to the server's authenticator to know by the token.
	UserID string
	// Device is the device class; 0 is unspecified.
	Device uint16
	// Token, when set, is called before every logon, and returns what the server's authenticator checks: the logon has it as
	// protocol.FieldToken, in the place of one in Fields; "" leaves Fields as they are. ctx ends with the attempt. An error is the
	// attempt's, and by default the client tries again later; a *protocol.CloseError ends the client where its code says so. A
	// panic is an error of the attempt too. Token runs on a goroutine of its own, and must not call Close.
	//
	// Where the server says that the session is for a time only, the client renews it by itself, when a quarter of that time or
	// somewhat more is left: Token is called then too, never twice at a time, and the server gets Fields with the new token. A
	// renewal that fails is tried again while there is time, unless it was refused with a code of 2xxx or 4xxx. When none
	// succeeds the server ends the session with TokenExpired, and the client reconnects.
	Token func(ctx context.Context) (string, error)
	// Fields go with every logon: protocol.FieldToken, where the token is always the same, protocol.FieldSession to take over
	// a session whose ID was kept from an earlier run, and whatever the application wants. When the client reconnects it
	// puts its own last session ID there.
	Fields map[string]string

	// Handle has the handlers by message type, 0x0001 to 0xFEFF. With another type, or a nil handler, Dial returns an error.
	Handle map[uint16]Handler
	// HandleDefault gets the messages whose type has no handler. Without it a request of the server's (a message with an
	// ID) is answered NoHandler, and other messages are dropped.
	HandleDefault Handler
	// OnPush, when set, gets what the server pushes; m is its to keep. It runs where handlers do, in order with the other
	// messages. When it has returned the client acknowledges the push, if m.Confirm asks for that: so OnPush returns when
	// the push has been dealt with, and the kinds that it does not know it ignores. Where there is no connection then, the
	// acknowledgement goes out on the next. Not acknowledged is a push that it panics at, and one during which the client is
	// closed; one whose acknowledgement is lost on its way comes again, if the server sees to that. A push that comes again
	// after OnPush has returned from it is acknowledged once more and not delivered, as far as it is among the last 1,024
	// with Confirm; a Client that is new knows of none.
	//
	// Without OnPush pushes are dropped, and not acknowledged.
	OnPush func(c *Client, m *protocol.PushMessage)
	// OnState, when set, is told of every state, in order, on the handlers' goroutine: Online comes before the
	// messages of its connection, perhaps before Dial has returned; Reconnecting and Closed after them. err is nil with
	// Online; with Reconnecting, why the connection was lost, and again, for each attempt that failed, why it did; with
	// Closed, what Err returns. errors.As finds the server's *protocol.CloseError in it, with the code NetworkError for
	// a connection that ended without a word. Closed comes once, and last. A Dial that fails calls nothing.
	OnState func(c *Client, s State, err error)

	// Reconnect says how the client comes back when its connection is lost.
	Reconnect Reconnect
	// Timeouts say how long the client waits, and how often it shows that it lives.
	Timeouts Timeouts

	// MaxBody is the largest body in bytes, both ways. The server has a limit of its own, both ways, which it tells in its
	// logon reply where it is not 1 MiB (protocol.FieldMaxBody). What the server tells is accepted whatever MaxBody is, and a
	// larger body than the server takes is not sent. A message of the server's that is larger ends the client with
	// MessageTooLarge. 0 means the server's limit, and accepts 1 MiB at least; negative means to accept any size.
	MaxBody int
	// MaxInbound is how many bytes of messages may wait for handlers. When there are more the client stops reading, so
	// that the server feels it, and may end with SlowConsumer a client that stays behind. While a request waits for its
	// reply, which may be behind those messages, the client reads on, up to four times the limit; beyond that the
	// connection ends with RateLimited, and the client reconnects. 0 means 4 MiB; negative means no limit.
	MaxInbound int

	// TLS, when set, has the client speak TLS on every connection; nil means that it does not. Without a ServerName the
	// server's certificate must be for the host that is dialled. It must not be changed any more. The handshake counts
	// towards Timeouts.Dial.
	TLS *tls.Config
	// DialContext makes connections. Nil means net.Dialer's. With TLS set the client speaks TLS on what it returns, so that
	// it must not do that itself, as a tls.Dialer's would.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Reconnect says how a client comes back when its connection is lost.
//
// After a close code of 1xxx or 3xxx, and after a failure without a code, the client reconnects; after any other it ends. A
// logon that is refused with AlreadyLoggedOn while reconnecting is tried again until the server's heartbeat timeout (three
// times what it asked for, 30 s if it did not) has passed since the connection was lost, since the user who is logged on may
// be the client's own dead connection. When the server names another address the client tries that; once an attempt there
// has failed it goes back to Dial's.
type Reconnect struct {
	// Min and Max bound the waiting before each attempt. It is the server's retry-ms, if it gave one, and then a random time
	// between 0 and the lesser of Max and Min × 2ⁿ, evenly distributed, for attempt n from 0. n begins at 0 again when a
	// connection has lasted for a minute. 0 means 200 ms and 30 s. A negative Min means no waiting but for retry-ms; a negative
	// Max means that the client never reconnects.
	Min, Max time.Duration
	// First has Dial try again too, in the same way, until its context ends.
	First bool
}

// Timeouts say how long a client waits, and how often it shows that it lives.
type Timeouts struct {
	// Dial is how long an attempt may take at one address, from Config.Token over connecting to the logon's answer. 0 means
	// 15 s; negative leaves it to Dial's context alone, and an attempt to reconnect may take for ever.
	Dial time.Duration
	// Write is how long the network may take no byte at all before the connection counts as lost, and so how long a Send may
	// block. 0 means 10 s; negative means for ever.
	Write time.Duration
	// Close is how long Client.Close waits for the server to end its side. 0 means 3 s; negative means not at all: the notice,
	// and what was sent last, may be lost.
	Close time.Duration
	// Heartbeat is after how long without sending anything the client sends a Heartbeat. 0 means what the server asks for in
	// its logon reply, or else 10 s. A server throws out a client whose interval is over three times what it asks for.
	// Negative means no heartbeats, and no watch on the server either.
	Heartbeat time.Duration
	// Server is how long the server may be silent before the connection counts as lost. When nothing has come for a third of
	// it the client sends Heartbeats that the server must answer. 0 means three heartbeat intervals, and 3 s at least;
	// negative means for ever. While the client itself does not read, see Config.MaxInbound, nothing counts as silence.
	Server time.Duration
}

const (
	defaultHeartbeat = 10 * time.Second
	// leastServerTimeout keeps a server with very short intervals from being given up on over a pause.
	leastServerTimeout = 3 * time.Second
	noLimit            = math.MaxInt / 8
	never              = time.Duration(math.MaxInt64 / 8) // sums of a few of them do not overflow
)

// checkHandlers returns an error for a handler that would never be called, or could not be.
func (c *Config) checkHandlers() error {
	for typ, h := range c.Handle {
		switch {
		case typ == 0 || typ >= protocol.FirstSystemType:
			return fmt.Errorf("rollcall: no handler can be set for message type 0x%04x: the application's are 0x0001 to 0xFEFF", typ)
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

// orNone is orDefault where negative is not as much as can be, but a word of its own.
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
	if c.TLS != nil {
		c.DialContext = secured(c.DialContext, c.TLS)
	}
	return c
}

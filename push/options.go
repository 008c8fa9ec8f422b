package push

import (
	"math"
	"time"

	"go.uber.org/zap"
)

// Options say what a push waits for. Nil is the zero value: the message is handed over, and the push waits for nothing.
type Options struct {
	// Confirm asks every session for an acknowledgement. The session's client sends it when the client's handler has returned; a
	// Go client without client.Config.OnPush sends none.
	Confirm bool
	// First, together with Confirm, means that the acknowledgement of one session of a user is enough.
	First bool
	// Timeout limits the wait for acknowledgements. 0 means the deadline of Push's context, and 10 s where it has none; negative
	// means no limit. With Keep it limits how long Push waits, but not how long the message waits for its user.
	Timeout time.Duration
	// Keep is how long the message waits, in memory, for a user who has no session, or whose session has ended without an
	// acknowledgement. It goes out to each next session of the user, in order and before newer messages, until it is
	// acknowledged: by one session, or, with Confirm and without First, by as many sessions as it was handed to. A client that
	// has acknowledged the message drops further copies.
	//
	// With ToSessions the next session must have the device class of the lost one. With ToEveryone and ToSessions the message is
	// kept for users who had a session at the call. A kick, or the end of the client, does not end the wait. 0 or less means
	// that the message is not kept.
	Keep time.Duration
}

// Config holds the bounds of a service. The zero value is ready to use.
type Config struct {
	// MaxMessages limits the messages, kept or not, that wait for one user's acknowledgement. A message over the limit is not
	// sent, and its delivery is Refused. 0 means 1,000; negative means no limit. Clients remember the last 1,024 messages that
	// they have acknowledged: when more wait, a client could handle one twice.
	MaxMessages int
	// MaxBytes limits the kept messages that wait for one user, in bytes; a message counts as its body and 256 bytes. All of them
	// go out at once when the user returns, so MaxBytes should be less than the engine's Limits.MaxOutbound. A message over the
	// limit is sent but not kept: its delivery is Refused when no session acknowledges it. 0 means 256 KiB; negative means no
	// limit.
	MaxBytes int
	// MaxTotalBytes is MaxBytes for all users together. A message to many users counts once for each user. 0 means 64 MiB;
	// negative means no limit.
	MaxTotalBytes int64
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger
}

func (c *Config) setDefaults() {
	c.MaxMessages = orDefault(c.MaxMessages, 1000)
	c.MaxBytes = orDefault(c.MaxBytes, 256<<10)
	c.MaxTotalBytes = orDefault(c.MaxTotalBytes, 64<<20)
}

// orDefault returns the default for 0, and a number beyond any use for a negative one, which means no limit.
func orDefault[N int | int64](n, byDefault N) N {
	switch {
	case n == 0:
		return byDefault
	case n < 0:
		return N(math.MaxInt) / 2
	}
	return n
}

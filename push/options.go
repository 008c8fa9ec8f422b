package push

import (
	"math"
	"time"

	"go.uber.org/zap"
)

// Options say what is expected of a message. Nil is the zero value: the message is handed over, and nothing is waited for.
type Options struct {
	// Confirm asks every session for an acknowledgement, which its client gives when its handler has returned. A Go client
	// without client.Config.OnPush gives none.
	Confirm bool
	// First, with Confirm: the acknowledgement of one session of a user is enough.
	First bool
	// Timeout is how long an acknowledgement is waited for. 0 means until Push's context ends, where it has a deadline, and
	// otherwise 10 s; negative means without limit. With Keep it limits how long Push waits, and not how long the message
	// waits for its user.
	Timeout time.Duration
	// Keep is how long the message waits, in memory, for a user who has no session, or whose session has ended without an
	// acknowledgement. It goes out to the user's next session, in order, before anything newer, until it is acknowledged: as
	// Confirm and First say, and by one session where Confirm is not set. A client that gets a message again which it has
	// acknowledged drops it. With ToSessions the next session is one of the lost session's device class. A message that
	// is addressed to everyone or to sessions is kept for users who had a session at the call. Being thrown out, or closing
	// the client, does not end the wait: the message is for the user. 0 or less means that it is not kept.
	Keep time.Duration
}

// Config holds the bounds of a service. The zero value is ready to use.
type Config struct {
	// MaxMessages is how many messages may wait for the acknowledgement of one user, kept or not. A message over it is not
	// sent, and its delivery has ErrFull. 0 means 1,000; negative means no limit. Clients know the last 1,024 messages that
	// they have acknowledged: with more than that waiting, one could be handled twice.
	MaxMessages int
	// MaxBytes is how many bytes of kept messages may wait for one user, each with its body and 256 bytes. All of it goes
	// out at once when the user returns: it should be less than the engine's Limits.MaxOutbound. A message over it is sent, but
	// not kept: where no session acknowledges it, its delivery has ErrFull. 0 means 256 KiB; negative means no limit.
	MaxBytes int
	// MaxTotalBytes is MaxBytes for all users together. A message for many counts once a user. 0 means 64 MiB; negative
	// means no limit.
	MaxTotalBytes int64
	// Logger takes what an operator should know. Nil means warnings and errors, to standard error.
	Logger *zap.Logger
}

func (c *Config) setDefaults() {
	c.MaxMessages = orDefault(c.MaxMessages, 1000)
	c.MaxBytes = orDefault(c.MaxBytes, 256<<10)
	c.MaxTotalBytes = orDefault(c.MaxTotalBytes, 64<<20)
}

// orDefault returns the default for 0, and what no program reaches for a negative number, which means no limit.
func orDefault[N int | int64](n, byDefault N) N {
	switch {
	case n == 0:
		return byDefault
	case n < 0:
		return N(math.MaxInt) / 2
	}
	return n
}

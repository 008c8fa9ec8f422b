package bridge

import (
	"sync/atomic"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/protocol"
)

// LogonStats is a snapshot of a bridge's logons. Counters count from Attach on. The fields are read one after another, so that they
// may differ by a moment.
type LogonStats struct {
	LoggingOn      int // logons under way now
	Authenticating int // authenticators that run now, no more than Config.MaxAuthenticating
	// Refused counts the logons that failed, those refused by the user manager included, by the code that the client was told, or
	// by the code of the connection's end if that came first.
	Refused             map[protocol.CloseCode]uint64
	AuthenticatorPanics uint64 // authenticators that panicked
}

// Logons returns a snapshot. It takes a few hundred loads. Any goroutine may call it.
func (b *Bridge) Logons() LogonStats {
	return LogonStats{LoggingOn: int(b.underWay.Load()), Authenticating: b.authenticating.taken(), Refused: b.refused.All(),
		AuthenticatorPanics: b.authenticatorPanics.Load()}
}

// counters has the bridge's counters.
type counters struct {
	underWay            atomic.Int64
	refused             codes.Counter
	authenticatorPanics atomic.Uint64
}

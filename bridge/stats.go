package bridge

import (
	"sync/atomic"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/protocol"
)

// Stats is a snapshot of a bridge. What counts up does so since the bridge was attached. The parts are read one after
// another, so that they may be a moment apart.
type LogonStats struct {
	LoggingOn      int // logons under way now
	Authenticating int // authenticators that run now, no more than Config.MaxAuthenticating
	// Refused are the logons that came to nothing, by the code that the client was told; by the code of the connection's end
	// where that came first. What the user manager has refused is among them.
	Refused             map[protocol.CloseCode]uint64
	AuthenticatorPanics uint64 // authenticators that panicked
}

// Stats returns a snapshot. It takes a few hundred loads. Any goroutine may call it.
func (b *Bridge) Logons() LogonStats {
	return LogonStats{LoggingOn: int(b.underWay.Load()), Authenticating: b.authenticating.taken(), Refused: b.refused.All(),
		AuthenticatorPanics: b.authenticatorPanics.Load()}
}

// counters are the bridge's.
type counters struct {
	underWay            atomic.Int64
	refused             codes.Counter
	authenticatorPanics atomic.Uint64
}

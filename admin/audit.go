package admin

import (
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/logging"
)

// Stage is when the audit is told of an act.
type Stage string

const (
	// Begun: the act begins now.
	Begun Stage = "begun"
	// Done: the act is over; Outcome says what came of it.
	Done Stage = "done"
	// Refused: there is no act, because the request may not do it; Outcome says why.
	Refused Stage = "refused"
)

// Action is something that a request does, or was refused: one user, or one connection.
type Action struct {
	Who     string        // as Config.Authorize named it
	From    string        // the address that the request came from
	Do      string        // "kick", "kick and ban", "unban", "send type N" or "push"; for a refusal the request's method and path
	User    string        // "" for a connection without a user, and for a refusal
	Conn    uint64        // 0 for all of the user's sessions
	Text    string        // for the user; of a message that is sent 1,000 bytes, or how many bytes it has
	BanFor  time.Duration // 0 for none
	Stage   Stage
	Outcome string // "" when it begins
}

// auditLogger returns an audit that logs. Strangers can cause refusals, so that lines of these are left out when they come too often; no line
// of an act is left out.
func auditLogger(l *zap.Logger) func(Action) {
	limited := logging.OrDefault(l)
	if l == nil {
		cfg := zap.NewProductionConfig()
		cfg.Encoding, cfg.Sampling = "console", nil
		if built, err := cfg.Build(zap.WithCaller(false), zap.AddStacktrace(zap.FatalLevel)); err == nil {
			l = built
		} else { // standard error is gone
			l = zap.NewNop()
		}
	}
	return func(a Action) {
		fields := []zap.Field{zap.String("who", a.Who), zap.String("from", a.From), zap.String("do", a.Do), zap.String("stage", string(a.Stage)),
			zap.String("user", a.User), zap.Uint64("conn", a.Conn), zap.String("text", a.Text), zap.Duration("banFor", a.BanFor),
			zap.String("outcome", a.Outcome)}
		if a.Stage == Refused {
			limited.Warn("admin: a request was refused", fields...)
			return
		}
		l.Info("admin: an act", fields...)
	}
}

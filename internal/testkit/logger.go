package testkit

import "go.uber.org/zap"

// OrNop returns l; if it is nil, a logger that logs nothing.
func OrNop(l *zap.Logger) *zap.Logger {
	if l == nil {
		return zap.NewNop()
	}
	return l
}

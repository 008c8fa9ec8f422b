package testkit

import "go.uber.org/zap"

// OrNop returns l, or where that is nil a logger that says nothing.
func OrNop(l *zap.Logger) *zap.Logger {
	if l == nil {
		return zap.NewNop()
	}
	return l
}

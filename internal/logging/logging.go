// Package logging holds the logger that every package of the module uses when it is given none.
package logging

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// OrDefault returns l, or, when l is nil, a logger that writes warnings and errors to standard error and nothing below. What
// it returns leaves out what is said too often (limit.go): a message must be constant, and say in its fields what changes.
func OrDefault(l *zap.Logger) *zap.Logger {
	if l == nil {
		l = standard()
	}
	return l.WithOptions(zap.WrapCore(limit))
}

// standard returns the logger of those who have none.
func standard() *zap.Logger {
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(zapcore.WarnLevel)
	cfg.Encoding = "console"
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	cfg.Sampling = nil
	built, err := cfg.Build(zap.WithCaller(false), zap.AddStacktrace(zapcore.FatalLevel))
	if err != nil { // the configuration above is constant: this cannot happen unless standard error is gone
		return zap.NewNop()
	}
	return built
}

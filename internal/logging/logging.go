// Package logging holds the logger that every package of the module uses when it is given none.
package logging

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// OrDefault returns l, or, when l is nil, a logger that writes warnings and errors to standard error and nothing below.
// The logger that it returns leaves out lines that come too often (limit.go). So a message must be constant, and have
// what changes in its fields.
func OrDefault(l *zap.Logger) *zap.Logger {
	if l == nil {
		l = standard()
	}
	return l.WithOptions(zap.WrapCore(limit))
}

// standard returns the logger for packages that are given none.
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

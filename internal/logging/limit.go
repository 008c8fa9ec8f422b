package logging

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// interval is the time in which a message is logged most times at most.
	interval = 10 * time.Second
	most     = 10
	// maxKinds is how many messages are told apart. The rest count as one.
	maxKinds = 128
)

// limited is a Core that leaves out what is said too often: a stranger who can cause a line can cause a million. Of each
// message most lines are written in an interval; how many were left out stands in a line of its own, before the next one.
// Lines below info are not for production, and not limited.
type limited struct {
	zapcore.Core
	counts *counts
}

// counts are what a logger and those made from it have logged.
type counts struct {
	mu    sync.Mutex
	kinds map[kind]*count
	now   func() time.Time
}

type kind struct {
	level   zapcore.Level
	message string
}

type count struct {
	since           time.Time
	logged, leftOut int
}

func limit(core zapcore.Core) zapcore.Core {
	return &limited{core, &counts{kinds: make(map[kind]*count), now: time.Now}}
}

// With implements zapcore.Core.
func (l *limited) With(fields []zapcore.Field) zapcore.Core {
	return &limited{l.Core.With(fields), l.counts}
}

// Check implements zapcore.Core.
func (l *limited) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Level < zapcore.InfoLevel || e.Level > zapcore.ErrorLevel || !l.Enabled(e.Level) {
		return l.Core.Check(e, to)
	}
	write, leftOut := l.counts.add(kind{e.Level, e.Message})
	if leftOut > 0 {
		more := zapcore.Entry{Level: e.Level, Time: e.Time, LoggerName: e.LoggerName, Message: "lines were left out"}
		if c := l.Core.Check(more, nil); c != nil {
			c.Write(zap.String("message", e.Message), zap.Int("lines", leftOut))
		}
	}
	if !write {
		return to
	}
	return l.Core.Check(e, to)
}

// add counts a line. It says whether the line is to be written, and how many were left out in an interval that is over.
func (c *counts) add(k kind) (write bool, leftOut int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	n := c.kinds[k]
	if n == nil {
		if len(c.kinds) >= maxKinds {
			k = kind{level: k.level}
			n = c.kinds[k]
		}
		if n == nil {
			n = &count{since: now}
			c.kinds[k] = n
		}
	}
	if now.Sub(n.since) >= interval {
		leftOut = n.leftOut
		*n = count{since: now}
	}
	if n.logged == most {
		n.leftOut++
		return false, leftOut
	}
	n.logged++
	return true, leftOut
}

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
// message most lines are written in an interval; how many were left out stands in a line of its own, which comes when the
// interval is over, or at End. Lines below info are not for production, and not limited.
type limited struct {
	zapcore.Core
	counts *counts
}

// counts are what a logger and those made from it have logged.
type counts struct {
	core  zapcore.Core // what is told of lines that were left out goes there
	after func(time.Duration, func()) (stop func() bool)
	now   func() time.Time

	telling sync.Mutex // held while all is told, so that nothing is after End; locked before mu

	mu    sync.Mutex
	kinds map[kind]*count
	stop  func() bool // of the timer that tells of lines that were left out; nil for none
	ended bool        // no timer is started any more
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
	after := func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	return &limited{core, &counts{core: core, after: after, kinds: make(map[kind]*count), now: time.Now}}
}

// End tells of the lines that a logger of OrDefault's has left out until now. From then on it does so before the next line of the
// kind alone: nothing is logged any more by itself.
func End(log *zap.Logger) {
	if l, ok := log.Core().(*limited); ok {
		l.counts.end()
	}
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
	k := kind{e.Level, e.Message}
	write, leftOut := l.counts.add(k)
	l.counts.tell(k, leftOut)
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
		if c.stop == nil && !c.ended {
			c.stop = c.after(interval, c.tellAll)
		}
		return false, leftOut
	}
	n.logged++
	return true, leftOut
}

// tellAll tells of all lines that were left out. It runs when the timer has, so that a count is told within an interval of the
// first line of it.
func (c *counts) tellAll() {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.mu.Lock()
	c.stop = nil
	all := make(map[kind]int)
	for k, n := range c.kinds {
		if n.leftOut > 0 {
			all[k] = n.leftOut
			n.leftOut = 0
		}
	}
	c.mu.Unlock()
	for k, leftOut := range all {
		c.tell(k, leftOut)
	}
}

// end tells of what was left out, and stops the timer.
func (c *counts) end() {
	c.mu.Lock()
	c.ended = true
	if c.stop != nil {
		c.stop()
	}
	c.mu.Unlock()
	c.tellAll()
}

// tell writes how many lines were left out; none of 0.
func (c *counts) tell(k kind, leftOut int) {
	if leftOut == 0 {
		return
	}
	e := zapcore.Entry{Level: k.level, Time: c.now(), Message: "lines were left out"}
	if to := c.core.Check(e, nil); to != nil {
		to.Write(zap.String("message", k.message), zap.Int("lines", leftOut))
	}
}

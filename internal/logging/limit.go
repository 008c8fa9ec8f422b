package logging

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// interval is the time in which a message is logged at most most times.
	interval = 10 * time.Second
	most     = 10
	// maxKinds is how many messages are counted separately. All others count as one.
	maxKinds = 128
)

// limited is a Core that leaves out lines that come too often, because a client that can cause one line can cause a
// million. At most most lines of each message are written in an interval. A line of its own, at the end of the interval
// or at End, has the number of lines that were left out. Lines below info are not limited: they are not for production.
type limited struct {
	zapcore.Core
	counts *counts
}

// counts has the lines that a logger, and the loggers made from it, have logged.
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

// End logs how many lines a logger of OrDefault has left out until now. From then on such a number is logged only
// before the next line of its kind, and not by a timer.
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

// add counts a line. It returns whether to write the line, and how many lines were left out in an interval that is
// over.
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

// end logs the numbers of lines that were left out, and stops the timer.
func (c *counts) end() {
	c.mu.Lock()
	c.ended = true
	if c.stop != nil {
		c.stop()
	}
	c.mu.Unlock()
	c.tellAll()
}

// tell logs how many lines were left out, unless it is 0.
func (c *counts) tell(k kind, leftOut int) {
	if leftOut == 0 {
		return
	}
	e := zapcore.Entry{Level: k.level, Time: c.now(), Message: "lines were left out"}
	if to := c.core.Check(e, nil); to != nil {
		to.Write(zap.String("message", k.message), zap.Int("lines", leftOut))
	}
}

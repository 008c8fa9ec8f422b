package logging

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// newLimited returns a logger, what it has written, and its time.
func newLimited() (*zap.Logger, *observer.ObservedLogs, *time.Time) {
	core, logs := observer.New(zap.DebugLevel)
	now := time.Unix(1_000_000, 0)
	l := limit(core).(*limited)
	l.counts.now = func() time.Time { return now }
	l.counts.after = func(time.Duration, func()) func() bool { return func() bool { return true } }
	return zap.New(l), logs, &now
}

// What is said too often is counted, and the count is told when the interval is over; other lines are not touched.
func TestSomeLinesThenACount(t *testing.T) {
	log, logs, now := newLimited()
	for i := range 1000 {
		log.With(zap.Int("i", i)).Warn("a logon failed", zap.Int("n", i))
	}
	log.Warn("something else")
	log.Error("a logon failed")
	if n := logs.FilterMessage("a logon failed").FilterLevelExact(zap.WarnLevel).Len(); n != most {
		t.Errorf("%d lines of 1000 were written", n)
	}
	if logs.FilterMessage("something else").Len() != 1 || logs.FilterLevelExact(zap.ErrorLevel).Len() != 1 {
		t.Error("other lines are missing")
	}
	*now = now.Add(interval)
	for range 3 {
		log.Warn("a logon failed")
	}
	told := logs.FilterMessage("lines were left out").All()
	if len(told) != 1 || told[0].Level != zap.WarnLevel || told[0].ContextMap()["lines"] != int64(1000-most) ||
		told[0].ContextMap()["message"] != "a logon failed" {
		t.Errorf("told %+v", told)
	}
	if n := logs.FilterMessage("a logon failed").FilterLevelExact(zap.WarnLevel).Len(); n != most+3 {
		t.Errorf("%d lines in all", n)
	}
}

// The count is told within an interval also when no such line comes again, and at the end; then nothing is logged by itself.
func TestTheCountIsToldWithoutAnotherLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		log := zap.New(core).WithOptions(zap.WrapCore(limit))
		told := func() (lines []any) {
			for _, e := range logs.TakeAll() {
				if e.Message == "lines were left out" {
					lines = append(lines, e.ContextMap()["lines"])
				}
			}
			return lines
		}
		flood := func(n int) {
			for range n {
				log.With(zap.String("who", "a stranger")).Warn("a logon failed")
			}
		}
		flood(100)
		time.Sleep(interval)
		synctest.Wait()
		if got := told(); !slices.Equal(got, []any{int64(100 - most)}) {
			t.Errorf("after the interval: %v", got)
		}
		flood(50)
		End(log)
		if got := told(); !slices.Equal(got, []any{int64(50 - most)}) {
			t.Errorf("at the end: %v", got)
		}
		flood(50)
		time.Sleep(2 * interval)
		synctest.Wait()
		if got := told(); got != nil {
			t.Errorf("after the end: %v", got)
		}
	})
}

// Messages that are not constant do not fill the memory, or the log.
func TestLinesOfAllKinds(t *testing.T) {
	log, logs, _ := newLimited()
	for i := range 10_000 {
		log.Info(fmt.Sprint("line ", i))
	}
	if n := logs.Len(); n > maxKinds+most {
		t.Errorf("%d lines were written", n)
	}
}

// Debug is for development, and whole.
func TestDebugIsNotLimited(t *testing.T) {
	log, logs, _ := newLimited()
	for range 100 {
		log.Debug("detail")
	}
	if n := logs.Len(); n != 100 {
		t.Errorf("%d lines of 100", n)
	}
}

// A logger that writes nothing of a level counts nothing of it.
func TestWhatIsNotWrittenIsNotCounted(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	l := limit(core).(*limited)
	log := zap.New(l)
	for range 100 {
		log.Warn("a logon failed")
	}
	if logs.Len() != 0 || len(l.counts.kinds) != 0 {
		t.Errorf("%d lines, %d kinds", logs.Len(), len(l.counts.kinds))
	}
	var _ zapcore.Core = l
}

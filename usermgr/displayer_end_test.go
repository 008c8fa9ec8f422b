package usermgr_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A display that was stopped lets go of the displayer.
func TestStoppedDisplayLetsGoOfTheDisplayer(t *testing.T) {
	m := newManager(t, usermgr.Config{})
	d := new(listDisplayer)
	gone := weak.Make(d)
	m.Display(d, time.Hour)()
	d = nil
	for range 3 {
		runtime.GC()
	}
	if gone.Value() != nil {
		t.Error("the manager still holds the displayer")
	}
	m.Stats() // the manager itself is still there
}

// Rule 18: sets and removals of a user alternate truly while everybody comes and goes, and end on who is online.
func TestDisplayEndsOnTheTruthAfterAStorm(t *testing.T) {
	m, d := newManager(t, usermgr.Config{}), new(listDisplayer)
	m.Display(d, time.Microsecond)
	for i := range uint64(3000) {
		userID := fmt.Sprint("user", i%30)
		s := logOn(t, m, userID, newLink(i))
		s.Sent(1, 1, 10)
		if i%3 != 0 {
			s.End(protocol.ClientClosed)
		}
	}
	closeManager(t, m)
	shown := map[string]bool{}
	for _, line := range d.all()[1:] {
		call := strings.Fields(line)
		userID, _, _ := strings.Cut(call[1], "@")
		if call[0] == "remove" && !shown[userID] {
			t.Fatalf("%s was removed, but not shown", userID)
		}
		shown[userID] = call[0] == "set"
	}
	for userID, is := range shown {
		if is {
			t.Errorf("%s is shown, but nobody is online", userID)
		}
	}
	if len(shown) == 0 {
		t.Error("nobody was ever shown")
	}
}

// Rule 18: a displayer that blocks delays no user.
func TestBlockedDisplayerHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d := newManager(t, usermgr.Config{}), new(listDisplayer)
		block := make(chan struct{})
		d.during(func(string) { <-block })
		logOn(t, m, "ann", newLink(1))
		m.Display(d, 0)
		synctest.Wait()
		began := time.Now()
		logOn(t, m, "bob", newLink(2))
		logOn(t, m, "ann", newLink(3))
		clearAll(t, m)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the manager was held up for %v", waited)
		}
		close(block)
	})
}

// Rule 18: a panic of the displayer is recovered, logged once a look, and counted; the other users are shown.
func TestPanicInTheDisplayerIsRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		m, d, stop := displayed(t, usermgr.Config{Logger: zap.New(core)})
		d.during(func(string) { panic("no screen") })
		for i := range uint64(10) {
			logOn(t, m, fmt.Sprint("user", i), newLink(i))
		}
		nextLook()
		if n := len(d.all()); n != 10 {
			t.Errorf("the displayer was called %d times, want once for each of 10 users", n)
		}
		if n := m.Stats().HandlerPanics; n != 10 {
			t.Errorf("HandlerPanics is %d, want 10", n)
		}
		logOn(t, m, "late", newLink(10))
		nextLook()
		if n := logs.FilterField(zap.Any("panic", "no screen")).Len(); n != 2 {
			t.Errorf("the log has it %d times, want once for each of 2 looks", n)
		}
		stop()
	})
}

// After stop nothing is called any more; it waits for the call that is running.
func TestStopOfADisplayWaitsAndEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, stop := displayed(t, usermgr.Config{})
		d.during(func(string) { time.Sleep(time.Hour) })
		logOn(t, m, "ann", newLink(1))
		logOn(t, m, "bob", newLink(2))
		nextLook() // one of them is being shown
		began := time.Now()
		stop()
		stop()
		if waited := time.Since(began); waited != time.Hour {
			t.Errorf("stop waited for %v, and the call for an hour", waited)
		}
		logOn(t, m, "cid", newLink(3))
		time.Sleep(time.Minute)
		if n := len(d.all()); n != 1 {
			t.Errorf("the displayer was called %d times, want the one call that was running: %q", n, d.all())
		}
	})
}

// Close ends the displays after a last look, in which everybody is removed; no goroutine stays.
func TestCloseEndsDisplaysWithALastLook(t *testing.T) {
	before := goleak.IgnoreCurrent()
	m, d := newManager(t, usermgr.Config{}), new(listDisplayer)
	logOn(t, m, "ann", newLink(1))
	shown := make(chan struct{})
	d.during(func(call string) {
		if strings.HasPrefix(call, "set") {
			close(shown)
		}
	})
	stop := m.Display(d, time.Hour)
	<-shown
	closeManager(t, m)
	d.expect(t, "clear", "set ann@1 in 0 out 0", "remove ann ServerStopping")
	stop()
	m.Display(d, 0) // too late: does nothing
	goleak.VerifyNone(t, before)
	d.expect(t)
}

// E10, rule 17: a user is shown until the grace is over, also when a kick ends it, and removed with the cause of the last
// session's end.
func TestDisplayRemovesWhoseGraceIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, _ := displayed(t, usermgr.Config{OfflineGrace: 10 * time.Second})
		s := logOn(t, m, "ann", newLink(1))
		bobs := logOn(t, m, "bob", newLink(2))
		nextLook()
		d.clear()
		s.End(protocol.ClientClosed)
		bobs.End(protocol.NetworkError)
		nextLook()
		d.sort()
		d.expect(t, "set ann@0 in 0 out 0", "set bob@0 in 0 out 0") // online still, and nowhere
		d.clear()
		if k, err := m.Kick("bob", nil); err != nil {
			t.Error(err)
		} else if _, err := k(t.Context()); err != nil {
			t.Error(err)
		}
		nextLook()
		d.expect(t, "remove bob NetworkError")
		d.clear()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		d.expect(t, "remove ann ClientClosed")
	})
}

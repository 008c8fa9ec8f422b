package usermgr_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// lookedAt is a link on which bytes may wait.
type lookedAt struct {
	*testLink
	look func(done func(busy bool))

	looks atomic.Int64
}

func (l *lookedAt) Look(done func(busy bool)) {
	l.looks.Add(1)
	l.look(done)
}

// Rules 8 and 25: what waits on the connection is read before a session ends for its silence, however long that takes.
func TestALinkIsLookedAtBeforeItsSessionTimesOut(t *testing.T) {
	for name, c := range map[string]struct {
		look func(s usermgr.Session, done func(bool))
		end  bool
	}{
		"bytes waited":             {func(s usermgr.Session, done func(bool)) { s.Beat(); done(false) }, false},
		"nothing waited":           {func(_ usermgr.Session, done func(bool)) { done(false) }, true},
		"its loop is stuck":        {func(usermgr.Session, func(bool)) {}, false},
		"its loop is stuck awhile": {func(_ usermgr.Session, done func(bool)) { time.AfterFunc(5*time.Second, func() { done(false) }) }, true},
		"bytes waited behind a stuck loop": {func(s usermgr.Session, done func(bool)) {
			time.AfterFunc(5*time.Second, func() { s.Beat(); done(false) })
		}, false},
		"it panics": {func(usermgr.Session, func(bool)) { panic("a link of the program's own") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watched(t, usermgr.Config{HeartbeatTimeout: 10 * time.Second})
				var session atomic.Value
				l := &lookedAt{testLink: newLink(1)}
				l.look = func(done func(bool)) { c.look(session.Load().(usermgr.Session), done) }
				s := logOnAs(t, m, usermgr.Logon{UserID: "ann"}, l)
				session.Store(s)
				time.Sleep(18 * time.Second)
				synctest.Wait()
				if n := l.looks.Load(); n != 1 {
					t.Errorf("it was looked at %d times", n)
				}
				if c.end {
					j.expect(t, "Connected ann@1", "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout")
				} else {
					j.expect(t, "Connected ann@1")
					s.End(protocol.ClientClosed)
				}
			})
		})
	}
}

// Rules 8 and 25: a session whose messages wait or are being handled is not idle. Its idleness begins when they have been.
func TestASessionWhoseMessagesWaitIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{IdleTimeout: time.Minute})
		var busy atomic.Bool
		busy.Store(true)
		l := &lookedAt{testLink: newLink(1), look: func(done func(bool)) { done(busy.Load()) }}
		s := logOnAs(t, m, usermgr.Logon{UserID: "ann"}, l)
		s.Received(1, 10, 1000)
		time.Sleep(150 * time.Second)
		busy.Store(false)
		s.(interface{ Handled() }).Handled()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		j.expect(t, "Online ann@1", "Connected ann@1")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		j.expect(t, "Expired ann@1", "Disconnected ann@1 SessionExpired", "Offline ann")
	})
}

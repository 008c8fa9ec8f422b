package usermgr_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 8, E7: by default a silence is too long after 30 s, and found within another second. TimedOut comes first.
func TestSilentUserTimesOutThenDisconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		link := newLink(1)
		link.journal = j
		logOn(t, m, "ann", link)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		j.expect(t, "Connected ann@1")
		time.Sleep(time.Second)
		synctest.Wait()
		j.expect(t, "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout", "closed @1 HeartbeatTimeout")
	})
}

// Rule 8, E7: the user is removed when TimedOut's handlers have returned.
func TestUserIsOnlineWhileTimedOutRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		m.Subscribe(usermgr.Events{
			TimedOut: func(s usermgr.SessionInfo) {
				time.Sleep(time.Minute)
				j.add("online: %v", m.IsOnline(s.UserID))
			},
			Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) { j.add("online: %v", m.IsOnline(s.UserID)) },
		})
		logOn(t, m, "ann", newLink(1))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		j.expect(t, "Connected ann@1", "TimedOut ann@1", "online: true",
			"Disconnected ann@1 HeartbeatTimeout", "online: false")
	})
}

// Rule 8, E6: bytes from the client and Touch are signs of life; nothing that is sent to it is.
func TestSignsOfLife(t *testing.T) {
	for _, c := range []struct {
		name string
		sign func(*usermgr.Manager, usermgr.Session)
		want bool
	}{
		{"Beat", func(_ *usermgr.Manager, s usermgr.Session) { s.Beat() }, true},
		{"Touch", func(m *usermgr.Manager, s usermgr.Session) { m.Touch(s.UserID()) }, true},
		{"Sent", func(_ *usermgr.Manager, s usermgr.Session) { s.Sent(1, 1, 100) }, false},
		{"Dropped", func(_ *usermgr.Manager, s usermgr.Session) { s.Dropped(1, 1, 100) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newManager(t, usermgr.Config{HeartbeatTimeout: 10 * time.Second})
				s := logOn(t, m, "ann", newLink(1))
				for range 4 {
					time.Sleep(5 * time.Second)
					c.sign(m, s)
				}
				synctest.Wait()
				if got := m.IsOnline("ann"); got != c.want {
					t.Errorf("after 20 s with a sign every 5 s, and a timeout of 10 s: online %v, want %v", got, c.want)
				}
			})
		})
	}
}

// E6, E9: Touch tells whether the user is there, and ignores who is not.
func TestTouchTellsWhetherTheUserIsOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1))
		if !m.Touch("ann") || m.Touch("bob") {
			t.Errorf("Touch: ann %v, bob %v", m.Touch("ann"), m.Touch("bob"))
		}
	})
}

// Rule 8: silence is checked again when the turn comes.
func TestSilenceIsLookedAtAgainInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checker := newHandChecker()
		m, j := watched(t, usermgr.Config{HeartbeatChecker: checker})
		logOn(t, m, "ann", newLink(1))
		checker.report(1) // the checker says so, but by now bytes have come
		synctest.Wait()
		j.expect(t, "Connected ann@1")
		checker.watches[0].quiet = true
		checker.report(2) // twice before the turn comes
		synctest.Wait()
		j.expect(t, "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout")
	})
}

// Rule 9: the silence of a connection that was replaced does not touch the new session.
func TestSilenceOfAReplacedSessionIsHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checker := newHandChecker()
		m, j := watched(t, usermgr.Config{HeartbeatChecker: checker})
		logOn(t, m, "ann", newLink(1))
		logOn(t, m, "ann", newLink(2))
		j.expect(t, "Connected ann@1", "PushedOut ann@1 by @2", "Disconnected ann@1 PushedOut", "Connected ann@2")
		checker.watches[0].quiet = true
		checker.report(1)
		synctest.Wait()
		j.expect(t)
		if !checker.watches[0].stopped || checker.watches[1].stopped {
			t.Errorf("watches stopped: old %v, new %v", checker.watches[0].stopped, checker.watches[1].stopped)
		}
	})
}

// Rule 8: the time until Register returns is no silence, because the client's bytes cannot be reported before that.
func TestSlowLogonIsNotASilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{HeartbeatTimeout: 10 * time.Second})
		m.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { time.Sleep(time.Minute) }})
		logOn(t, m, "ann", newLink(1))
		synctest.Wait()
		j.expect(t, "Connected ann@1")
		time.Sleep(12 * time.Second)
		synctest.Wait()
		j.expect(t, "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout")
	})
}

// E7: the checker is replaceable, and belongs to the manager, which closes it.
func TestCheckerIsReplaceable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checker := newHandChecker()
		m := newManager(t, usermgr.Config{HeartbeatChecker: checker})
		if got := m.HeartbeatTimeout(); got != checker.Timeout() {
			t.Errorf("HeartbeatTimeout is %v, the checker's is %v", got, checker.Timeout())
		}
		closeManager(t, m)
		if !checker.closed {
			t.Error("the checker was not closed with the manager")
		}
	})
}

// E7: with a negative HeartbeatTimeout no session is ever silent.
func TestOffWatchesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{HeartbeatTimeout: -1})
		logOn(t, m, "ann", newLink(1))
		time.Sleep(time.Hour)
		synctest.Wait()
		j.expect(t, "Connected ann@1")
	})
}

// handChecker reports a silence when the test says so. It is used within a bubble, between Waits.
type handChecker struct {
	watches []*handWatch
	closed  bool
}

type handWatch struct {
	silent         func()
	quiet, stopped bool
}

func newHandChecker() *handChecker { return new(handChecker) }

func (c *handChecker) Watch(silent func()) heartbeat.Watch {
	w := &handWatch{silent: silent}
	c.watches = append(c.watches, w)
	return w
}

func (c *handChecker) Timeout() time.Duration { return 7 * time.Second }
func (c *handChecker) Close()                 { c.closed = true }

// report reports the first watch so many times.
func (c *handChecker) report(times int) {
	for range times {
		c.watches[0].silent()
	}
}

func (w *handWatch) Beat()        { w.quiet = false }
func (w *handWatch) Silent() bool { return w.quiet }
func (w *handWatch) Stop()        { w.stopped = true }

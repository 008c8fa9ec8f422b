package usermgr_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// listDisplayer notes how it is called. on, if given, runs inside every call.
type listDisplayer struct {
	journal
	on func(call string) // guarded by mu
}

func (d *listDisplayer) during(on func(call string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on = on
}

func (d *listDisplayer) call(format string, args ...any) {
	d.add(format, args...)
	d.mu.Lock()
	on := d.on
	d.mu.Unlock()
	if on != nil {
		on(fmt.Sprintf(format, args...))
	}
}

func (d *listDisplayer) ClearAll() { d.call("clear") }

func (d *listDisplayer) SetOrUpdateUserItem(i usermgr.DisplayItem) {
	d.call("set %s@%d in %d out %d", i.UserID, i.Address.Conn, i.In.Messages, i.Out.Messages)
}

func (d *listDisplayer) RemoveUser(userID string, cause protocol.CloseCode) {
	d.call("remove %s %s", userID, cause)
}

// displayed returns a manager and what is shown of it every second; the first look is over.
func displayed(t *testing.T, cfg usermgr.Config) (*usermgr.Manager, *listDisplayer, func()) {
	m, d := newManager(t, cfg), new(listDisplayer)
	stop := m.Display(d, 0)
	synctest.Wait()
	d.expect(t, "clear")
	return m, d, stop
}

// nextLook lets a second pass, and the look at its end.
func nextLook() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// E10: the list is cleared, then shows who is online already, at once.
func TestDisplayBeginsWithWhoIsOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d := newManager(t, usermgr.Config{}), new(listDisplayer)
		logOn(t, m, "ann", newLink(1))
		m.Display(d, time.Hour)
		synctest.Wait()
		d.expect(t, "clear", "set ann@1 in 0 out 0")
	})
}

// E10: the item has the address, and the totals of the user with the last type, each way.
func TestDisplayItemHasAddressAndTotals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		s := logOn(t, m, "ann", newLink(1))
		s.Received(1, 2, 20)
		s.Sent(2, 3, 30)
		s = logOn(t, m, "ann", newLink(2))
		s.Received(3, 1, 10)
		s.Sent(4, 1, 10)
		var d itemDisplayer
		m.Display(&d, time.Hour)
		synctest.Wait()
		want := usermgr.DisplayItem{
			UserID: "ann", Address: newLink(2).Address(),
			In:  protocol.Traffic{Messages: 3, Bytes: 30, LastType: 3},
			Out: protocol.Traffic{Messages: 4, Bytes: 40, LastType: 4},
		}
		if d.last != want {
			t.Errorf("shown is\n%+v\nwant\n%+v", d.last, want)
		}
	})
}

type itemDisplayer struct {
	listDisplayer
	last usermgr.DisplayItem
}

func (d *itemDisplayer) SetOrUpdateUserItem(i usermgr.DisplayItem) { d.last = i }

// Rule 18: at most once a user an interval, however many messages flow.
func TestDisplayShowsAUserOnceAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, _ := displayed(t, usermgr.Config{})
		s := logOn(t, m, "ann", newLink(1))
		for range 10 {
			for range 1000 {
				s.Received(1, 1, 10)
			}
			time.Sleep(300 * time.Millisecond)
		}
		synctest.Wait()
		d.expect(t, "set ann@1 in 4000 out 0", "set ann@1 in 7000 out 0", "set ann@1 in 10000 out 0")
	})
}

// Rule 18: the interval counts from the end of a look, so that a slow displayer is not called without a pause.
func TestDisplayPausesAfterASlowLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, stop := displayed(t, usermgr.Config{})
		s := logOn(t, m, "ann", newLink(1))
		var ends []time.Duration
		began := time.Now()
		d.during(func(string) {
			time.Sleep(1500 * time.Millisecond)
			ends = append(ends, time.Since(began))
			s.Sent(1, 1, 10)
		})
		time.Sleep(5500 * time.Millisecond)
		stop()
		if want := []time.Duration{2500 * time.Millisecond, 5 * time.Second}; !slices.Equal(ends, want) {
			t.Errorf("looks ended after %v, want %v", ends, want)
		}
	})
}

// E10: a user whose numbers and address are as they were shown is not shown again.
func TestDisplayShowsOnlyWhatHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, _ := displayed(t, usermgr.Config{})
		ann := logOn(t, m, "ann", newLink(1))
		logOn(t, m, "bob", newLink(2))
		nextLook()
		d.sort() // users are shown in any order
		d.expect(t, "set ann@1 in 0 out 0", "set bob@2 in 0 out 0")
		ann.Sent(1, 1, 10)
		nextLook()
		d.expect(t, "set ann@1 in 0 out 1")
		ann.Beat()
		nextLook()
		d.expect(t)
	})
}

// E10: who leaves is removed with the cause, and not shown again until the next logon.
func TestDisplayRemovesWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, _ := displayed(t, usermgr.Config{})
		s := logOn(t, m, "ann", newLink(1))
		nextLook()
		s.Sent(1, 1, 10) // changed since it was shown, but gone
		endUser(m, "ann", protocol.KickedOut, "")
		nextLook()
		nextLook()
		logOn(t, m, "ann", newLink(2))
		nextLook()
		d.expect(t, "set ann@1 in 0 out 0", "remove ann KickedOut", "set ann@2 in 0 out 0")
	})
}

// Rules 6 and 18: a replacement is no departure, and the cause is that of the session that was the user's last.
func TestDisplayKeepsAUserThroughAReplacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, _ := displayed(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1))
		nextLook()
		logOn(t, m, "ann", newLink(2))
		nextLook()
		d.expect(t, "set ann@1 in 0 out 0", "set ann@2 in 0 out 0")
		last := logOn(t, m, "ann", newLink(3))
		last.End(protocol.NetworkError)
		nextLook()
		d.expect(t, "remove ann NetworkError")
	})
}

// Rule 18: one who left and came back between two looks is shown as online, with one call.
func TestDisplayShowsWhoCameBackAsOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, _ := displayed(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1)).Sent(1, 1, 10)
		nextLook()
		wait(t, endUser(m, "ann", protocol.KickedOut, ""))
		logOn(t, m, "ann", newLink(2))
		nextLook()
		d.expect(t, "set ann@1 in 0 out 1", "set ann@2 in 0 out 0")
		wait(t, endUser(m, "ann", protocol.KickedOut, ""))
		logOn(t, m, "ann", newLink(3)).End(protocol.ClientClosed)
		nextLook()
		d.expect(t, "remove ann ClientClosed")
	})
}

// Rule 18: one who came and left between two looks was never shown, and is not removed.
func TestDisplayNeverShowsWhoCameAndLeftBetweenLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, _ := displayed(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1)).End(protocol.ClientClosed)
		nextLook()
		d.expect(t)
	})
}

// Rule 18: one who comes and leaves is not removed, either, if a look saw a departure that was still going on.
func TestDisplayNeverShowsWhoIsOnTheWayOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, d, _ := displayed(t, usermgr.Config{})
		unsubscribe := m.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) {
			time.Sleep(1500 * time.Millisecond)
		}})
		logOn(t, m, "ann", newLink(1)).End(protocol.ClientClosed)
		nextLook()
		unsubscribe()
		nextLook()
		logOn(t, m, "ann", newLink(2)).End(protocol.ClientClosed)
		nextLook()
		d.expect(t)
	})
}

// Rule 18: what happens to a user while a look is going on is told with the cause of the user's last departure.
func TestDisplayTellsTheLastCauseOfAChangeDuringALook(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*testing.T, *usermgr.Manager) // what happens to ann before the look
		during func(*testing.T, *usermgr.Manager) // and while it is going on, before it comes to ann
		want   string
	}{
		{
			"gone, then back and gone again",
			func(t *testing.T, m *usermgr.Manager) { endUser(m, "ann", protocol.KickedOut, "") },
			func(t *testing.T, m *usermgr.Manager) { logOn(t, m, "ann", newLink(2)).End(protocol.ClientClosed) },
			"remove ann ClientClosed",
		},
		{
			"replaced, then on the way out",
			func(t *testing.T, m *usermgr.Manager) { logOn(t, m, "ann", newLink(2)) },
			func(t *testing.T, m *usermgr.Manager) { endUser(m, "ann", protocol.SlowConsumer, "") },
			"remove ann SlowConsumer",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, d := newManager(t, usermgr.Config{}), new(listDisplayer)
				m.Subscribe(usermgr.Events{Disconnected: func(_ usermgr.SessionInfo, why protocol.CloseCode) {
					if why == protocol.SlowConsumer {
						time.Sleep(5 * time.Second) // offline, but the display has not heard of it
					}
				}})
				logOn(t, m, "ann", newLink(1))
				m.Display(d, 0)
				synctest.Wait()
				for i := range uint64(50) { // so many that the look meets another before ann
					logOn(t, m, fmt.Sprint("user", i), newLink(100+i))
				}
				c.before(t, m)
				synctest.Wait()
				resume := make(chan struct{})
				d.during(func(string) { <-resume })
				nextLook() // is going on
				c.during(t, m)
				synctest.Wait()
				close(resume)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				removed := slices.DeleteFunc(d.all(), func(call string) bool { return !strings.HasPrefix(call, "remove ann") })
				if !slices.Equal(removed, []string{c.want}) {
					t.Errorf("told was %q, want %q", removed, c.want)
				}
			})
		})
	}
}

// A displayer that is a Refresher is told when a look that called it is over.
func TestRefreshFollowsEveryLookThatShowedSomething(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		var d refreshDisplayer
		m.Display(&d, 0)
		synctest.Wait()
		logOn(t, m, "ann", newLink(1))
		nextLook()
		nextLook()
		d.expect(t, "clear", "refresh", "set ann@1 in 0 out 0", "refresh")
	})
}

type refreshDisplayer struct{ listDisplayer }

func (d *refreshDisplayer) Refresh() { d.call("refresh") }

// Several displays of one manager are fed independently.
func TestDisplaysAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, often, _ := displayed(t, usermgr.Config{})
		var calls atomic.Int64
		rare := &listDisplayer{on: func(string) { calls.Add(1) }}
		m.Display(rare, time.Minute)
		synctest.Wait()
		s := logOn(t, m, "ann", newLink(1))
		for range 29 {
			s.Received(1, 1, 10)
			s.Beat()
			nextLook()
		}
		if n := len(often.all()); n != 29 {
			t.Errorf("the display of every second was called %d times, want 29", n)
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("the display of every minute was called %d times, want ClearAll alone so far", n)
		}
	})
}

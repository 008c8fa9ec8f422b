package usermgr_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// E6: a user can be kicked by ID, by session and by address, with a code of the application's; the connection is told the
// code and the text.
func TestKickEndsTheSessionAndTellsTheConnection(t *testing.T) {
	for _, c := range []struct {
		by   string
		kick func(*usermgr.Manager, usermgr.Session, *testLink) usermgr.Wait
	}{
		{"user", func(m *usermgr.Manager, s usermgr.Session, _ *testLink) usermgr.Wait {
			return endUser(m, s.UserID(), 4001, "be nice")
		}},
		{"session", func(m *usermgr.Manager, s usermgr.Session, _ *testLink) usermgr.Wait {
			return endSession(m, s.ID(), 4001, "be nice")
		}},
		{"address", func(m *usermgr.Manager, _ usermgr.Session, l *testLink) usermgr.Wait {
			return endAt(m, l.Address().Conn, 4001, "be nice")
		}},
	} {
		t.Run(c.by, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watched(t, usermgr.Config{})
				link := newLink(1)
				s := logOn(t, m, "ann", link)
				logOn(t, m, "bob", newLink(2))
				if n := wait(t, c.kick(m, s, link)); n != 1 {
					t.Errorf("the kick ended %d sessions, want 1", n)
				}
				j.expect(t, "Connected ann@1", "Connected bob@2", "Disconnected ann@1 code 4001")
				told := link.closings()
				if len(told) != 1 || told[0].Code != 4001 || told[0].Text != "be nice" {
					t.Errorf("the connection was told %v", told)
				}
			})
		})
	}
}

// E6, E9: a kick of a user or session that is not online is ignored.
func TestKickOfWhoIsNotThereEndsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1))
		j.expect(t, "Connected ann@1")
		for what, c := range map[string]usermgr.Wait{
			"an unknown user":       endUser(m, "bob", protocol.KickedOut, ""),
			"no user":               endUser(m, "", protocol.KickedOut, ""),
			"an unknown session":    endSession(m, "0190b3a2-0000-7000-8000-000000000000", protocol.KickedOut, ""),
			"no session ID":         endSession(m, "ann", protocol.KickedOut, ""),
			"an unknown connection": endAt(m, 2, protocol.KickedOut, ""),
		} {
			if n := wait(t, c); n != 0 {
				t.Errorf("%s: %d sessions were ended", what, n)
			}
		}
		j.expect(t)
	})
}

// Rule 10: Kick returns at once, and its cause counts from the call; Wait waits for the handlers.
func TestKickReturnsAtOnceAndWaitWaitsForTheHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		m.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { time.Sleep(time.Hour) }})
		logOn(t, m, "ann", newLink(1))
		began := time.Now()
		c := endUser(m, "ann", protocol.KickedOut, "")
		returned := time.Since(began)
		ended, err := c(t.Context())
		if waited := time.Since(began); returned != 0 || waited != time.Hour {
			t.Errorf("Kick returned after %v and Wait after %v, want 0 and 1h", returned, waited)
		}
		if len(ended) != 1 || err != nil {
			t.Errorf("Wait: %d sessions, %v", len(ended), err)
		}
	})
}

// Rule 10: Clear returns when the event handlers of the sessions that it ends have returned.
func TestClearWaitsForTheHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		m.Subscribe(usermgr.Events{Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { time.Sleep(time.Hour) }})
		logOn(t, m, "ann", newLink(1))
		began := time.Now()
		n, err := m.Clear(t.Context())
		if waited := time.Since(began); waited != time.Hour || n != 1 || err != nil {
			t.Errorf("Clear returned %d sessions and %v after %v, want 1, nil and 1h", n, err, waited)
		}
	})
}

// Rule 10: the kick concerns the session and the logons that exist at the call, and no later one.
func TestEndOfAUserConcernsTheLogonsOfTheMomentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		thaw := make(chan struct{})
		unsubscribe := m.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { <-thaw }})
		beginLogOn(t, m, "ann", newLink(1)) // has begun
		synctest.Wait()
		beginLogOn(t, m, "ann", newLink(2)) // waits
		synctest.Wait()
		kick := endUser(m, "ann", protocol.KickedOut, "")
		beginLogOn(t, m, "ann", newLink(3)) // is later
		synctest.Wait()
		unsubscribe()
		close(thaw)
		if n := wait(t, kick); n != 2 {
			t.Errorf("the kick ended %d sessions, want the one that had begun and the one that waited", n)
		}
		synctest.Wait()
		j.expect(t, "Connected ann@1", "Disconnected ann@1 KickedOut",
			"Connected ann@2", "Disconnected ann@2 KickedOut", "Connected ann@3")
	})
}

// Rule 10: a session that replaced the one of the call while it waited is a later one.
func TestKickSessionConcernsThatSessionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		old := logOn(t, m, "ann", newLink(1))
		logOn(t, m, "ann", newLink(2))
		j.expect(t, "Connected ann@1", "PushedOut ann@1 by @2", "Disconnected ann@1 PushedOut", "Connected ann@2")
		if n := wait(t, endSession(m, old.ID(), protocol.KickedOut, "")); n != 0 {
			t.Errorf("%d sessions were ended", n)
		}
		if n := wait(t, endAt(m, 1, protocol.KickedOut, "")); n != 0 {
			t.Errorf("%d sessions were ended", n)
		}
		j.expect(t)
	})
}

// Rule 10: inside a handler a change of the handler's own user queues behind it; waiting for it ends with the context.
func TestWaitingForOnesOwnUserInAHandlerEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		var waited error
		m.Subscribe(usermgr.Events{Connected: func(s usermgr.SessionInfo) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, waited = endUser(m, s.UserID, protocol.KickedOut, "")(ctx)
		}})
		logOn(t, m, "ann", newLink(1))
		if !errors.Is(waited, context.DeadlineExceeded) {
			t.Errorf("Wait ended with %v, want the context's deadline", waited)
		}
		synctest.Wait()
		j.expect(t, "Connected ann@1", "Disconnected ann@1 KickedOut")
	})
}

// Rule 10: a handler may wait for another user's change.
func TestAHandlerMayWaitForAnotherUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		logOn(t, m, "bob", newLink(2))
		m.Subscribe(usermgr.Events{Connected: func(s usermgr.SessionInfo) {
			wait(t, endUser(m, "bob", protocol.KickedOut, ""))
			j.add("waited")
		}})
		logOn(t, m, "ann", newLink(1))
		j.expect(t, "Connected bob@2", "Connected ann@1", "Disconnected bob@2 KickedOut", "waited")
	})
}

// Rule 16, E6: Clear ends every session of the moment with ServerStopping, and who comes while they end stays.
func TestClearEndsEverySessionOfTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		thaw := make(chan struct{})
		var mu sync.Mutex
		causes := map[protocol.CloseCode]int{}
		unsubscribe := m.Subscribe(usermgr.Events{Disconnected: func(_ usermgr.SessionInfo, why protocol.CloseCode) {
			<-thaw
			mu.Lock()
			defer mu.Unlock()
			causes[why]++
		}})
		for i := range uint64(1000) {
			logOn(t, m, fmt.Sprint("user", i), newLink(i))
		}
		cleared := make(chan int)
		go func() { cleared <- clearAll(t, m) }()
		synctest.Wait()
		logOn(t, m, "later", newLink(1000))
		close(thaw)
		if n := <-cleared; n != 1000 {
			t.Errorf("Clear ended %d sessions, want 1000", n)
		}
		unsubscribe()
		if len(causes) != 1 || causes[protocol.ServerStopping] != 1000 {
			t.Errorf("the causes were %v, want 1000 ServerStopping", causes)
		}
		if online := slices.Collect(m.Users()); !slices.Equal(online, []string{"later"}) {
			t.Errorf("%v are online, want [later]", online)
		}
	})
}

func TestClearOfNobodyIsDoneAtOnce(t *testing.T) {
	m := newManager(t, usermgr.Config{})
	if n := clearAll(t, m); n != 0 {
		t.Errorf("Clear ended %d sessions of nobody", n)
	}
}

// Rule 16: when Close returns everybody has had Disconnected, and nothing of the manager runs any more.
func TestCloseEndsEverySessionAndEveryGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	m, j := watched(t, usermgr.Config{})
	counts := make(chan int, 2)
	m.Subscribe(usermgr.Events{UserCountChanged: func(n int) { counts <- n }})
	logOn(t, m, "ann", newLink(1))
	if n := <-counts; n != 1 {
		t.Errorf("%d online were told, want 1", n)
	}
	closeManager(t, m)
	j.expect(t, "Connected ann@1", "Disconnected ann@1 ServerStopping")
	select {
	case n := <-counts:
		if n != 0 {
			t.Errorf("%d online were told in the end, want 0", n)
		}
	default:
		t.Error("Close did not wait for the last UserCountChanged")
	}
	goleak.VerifyNone(t, before)
}

// Close waits for a frozen handler until its context ends, and can be called again.
func TestCloseWaitsForHandlersUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		thaw := make(chan struct{})
		m.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { <-thaw }})
		beginLogOn(t, m, "ann", newLink(1))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close ended with %v, want the context's deadline", err)
		}
		close(thaw)
		closeManager(t, m)
		j.expect(t, "Connected ann@1", "Disconnected ann@1 ServerStopping")
	})
}

func TestCloseMayBeCalledByManyAtOnce(t *testing.T) {
	m := newManager(t, usermgr.Config{})
	logOn(t, m, "ann", newLink(1))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { closeManager(t, m) })
	}
	all.Wait()
}

// Rule 5: a message handler that is stuck is given up on after QuiesceTimeout, and counted.
func TestStuckMessageHandlerIsGivenUpOn(t *testing.T) {
	for _, c := range []struct{ set, want time.Duration }{
		{0, 5 * time.Second}, {time.Minute, time.Minute}, {-1, 0},
	} {
		t.Run(c.set.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watched(t, usermgr.Config{QuiesceTimeout: c.set})
				link := newLink(1)
				s := logOn(t, m, "ann", link)
				link.handlerStarts()
				began := time.Now()
				s.End(protocol.ClientClosed)
				logOn(t, m, "ann", newLink(2))
				if waited := time.Since(began); waited != c.want {
					t.Errorf("the user was kept from logging on for %v, want %v", waited, c.want)
				}
				if n := m.Stats().HandlersFrozen; n != 1 {
					t.Errorf("HandlersFrozen is %d, want 1", n)
				}
				link.handlerReturns() // too late, and harmless
				synctest.Wait()
				j.expect(t, "Connected ann@1", "Disconnected ann@1 ClientClosed", "Connected ann@2")
			})
		})
	}
}

// Rule 5: the last message handler returns before Disconnected's handlers start, for every cause of the end.
func TestEndWaitsForTheRunningMessageHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		link := newLink(1)
		logOn(t, m, "ann", link)
		link.handlerStarts()
		kick := endUser(m, "ann", protocol.KickedOut, "")
		time.Sleep(4 * time.Second)
		j.expect(t, "Connected ann@1")
		link.handlerReturns()
		wait(t, kick)
		j.expect(t, "Disconnected ann@1 KickedOut")
		if n := m.Stats().HandlersFrozen; n != 0 {
			t.Errorf("HandlersFrozen is %d, but nobody was given up on", n)
		}
	})
}

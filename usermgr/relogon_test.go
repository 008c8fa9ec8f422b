package usermgr_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 4, E4: the order of a replacement. The old connection is closed when its Disconnected handlers have returned.
func TestReplaceOldIsPushedOutThenDisconnectedThenConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		old := newLink(1)
		old.journal = j
		logOn(t, m, "ann", old)
		logOn(t, m, "ann", newLink(2))
		j.expect(t, "Connected ann@1",
			"PushedOut ann@1 by @2", "Disconnected ann@1 PushedOut", "closed @1 PushedOut", "Connected ann@2")
	})
}

// Rule 6, E4: while PushedOut's handlers run lookups answer with the old address, from Disconnected on with the new.
func TestReplacementTurnsLookupsOverBetweenPushedOutAndDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1))
		var seen []string
		look := func(event string) {
			addresses := addressesOf(m, "ann")
			if len(addresses) != 1 {
				t.Errorf("in %s ann is at %v, want one address", event, addresses)
				return
			}
			_, atOld := m.SessionAt(1)
			_, atNew := m.SessionAt(2)
			seen = append(seen, fmt.Sprintf("%s: ann at %d; old knows her: %v, new: %v", event, addresses[0].Conn, atOld, atNew))
		}
		unsubscribe := m.Subscribe(usermgr.Events{
			PushedOut:    func(usermgr.SessionInfo, usermgr.Address) { look("PushedOut") },
			Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { look("Disconnected") },
			Connected:    func(usermgr.SessionInfo) { look("Connected") },
		})
		logOn(t, m, "ann", newLink(2))
		unsubscribe()
		want := []string{
			"PushedOut: ann at 1; old knows her: true, new: false",
			"Disconnected: ann at 2; old knows her: false, new: true",
			"Connected: ann at 2; old knows her: false, new: true",
		}
		if !slices.Equal(seen, want) {
			t.Errorf("seen:\n%q\nwant:\n%q", seen, want)
		}
	})
}

// Rule 6: there is no moment at which the user is offline, so the number of users does not change.
func TestReplacementDoesNotChangeTheUserCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		var counts []int
		m.Subscribe(usermgr.Events{UserCountChanged: func(n int) { counts = append(counts, n) }})
		logOn(t, m, "ann", newLink(1))
		synctest.Wait()
		logOn(t, m, "ann", newLink(2))
		synctest.Wait()
		if !slices.Equal(counts, []int{1}) {
			t.Errorf("UserCountChanged told %v, want [1]", counts)
		}
	})
}

// Rule 5: PushedOut's handlers start when the old session's last message handler has returned.
func TestReplacementWaitsForTheRunningMessageHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		old := newLink(1)
		logOn(t, m, "ann", old)
		old.handlerStarts()
		beginLogOn(t, m, "ann", newLink(2))
		synctest.Wait()
		j.expect(t, "Connected ann@1")
		old.handlerReturns()
		synctest.Wait()
		j.expect(t, "PushedOut ann@1 by @2", "Disconnected ann@1 PushedOut", "Connected ann@2")
	})
}

// Rules 3, 4 and 7: a session that has ended by itself is not pushed out, nor in the way of, the logon that comes next
// in turn; it is finished first.
func TestSessionThatHasEndedIsNotPushedOut(t *testing.T) {
	modes := map[string]usermgr.RelogonMode{"ReplaceOld": usermgr.ReplaceOld, "IgnoreNew": usermgr.IgnoreNew}
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watched(t, usermgr.Config{RelogonMode: mode})
				thaw := make(chan struct{})
				unsubscribe := m.Subscribe(usermgr.Events{Connected: func(s usermgr.SessionInfo) { <-thaw }})
				beginLogOn(t, m, "ann", newLink(1))
				synctest.Wait()
				beginLogOn(t, m, "ann", newLink(2)) // waits for the handler
				synctest.Wait()
				d, _ := m.User("ann")
				endSession(m, d.Sessions[0].ID, protocol.KickedOut, "") // behind the logon in turn
				unsubscribe()
				close(thaw)
				synctest.Wait()
				j.expect(t, "Connected ann@1", "Disconnected ann@1 KickedOut", "Connected ann@2")
			})
		})
	}
}

// Rules 3 and 9: a connection's own end is told once, also where the logon that comes next in turn finishes the session first.
func TestSessionThatHasEndedIsFinishedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		s := logOn(t, m, "ann", newLink(1))
		thaw := make(chan struct{})
		unsubscribe := m.Subscribe(usermgr.Events{Tagged: func(usermgr.SessionInfo, string) { <-thaw }})
		m.SetSessionTag(s.ID(), "busy")
		synctest.Wait()
		beginLogOn(t, m, "ann", newLink(2)) // waits for the handler
		synctest.Wait()
		s.End(protocol.NetworkError) // behind the logon in turn
		unsubscribe()
		close(thaw)
		synctest.Wait()
		j.expect(t, "Connected ann@1", "Disconnected ann@1 NetworkError", "Connected ann@2")
	})
}

// Rule 3: the first cause that is recorded stays, in the event and in what the connection is told.
func TestFirstCauseStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		link := newLink(1)
		s := logOn(t, m, "ann", link)
		link.handlerStarts() // holds the end up
		s.End(protocol.SlowConsumer)
		s.End(protocol.NetworkError)
		kick := endUser(m, "ann", protocol.KickedOut, "out")
		link.handlerReturns()
		if n := wait(t, kick); n != 0 {
			t.Errorf("the kick says that it ended %d sessions, but another cause came first", n)
		}
		j.expect(t, "Connected ann@1", "Disconnected ann@1 SlowConsumer")
		if got := link.closings(); !slices.Equal(causes(got), []protocol.CloseCode{protocol.SlowConsumer}) {
			t.Errorf("the link was closed with %v, want once with SlowConsumer", got)
		}
	})
}

func causes(closings []protocol.CloseError) (codes []protocol.CloseCode) {
	for _, c := range closings {
		codes = append(codes, c.Code)
	}
	return codes
}

// Rule 9, E4: the end of an old connection never touches the newer session of the same user.
func TestStaleEndIsHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		old := logOn(t, m, "ann", newLink(1))
		logOn(t, m, "ann", newLink(2))
		j.expect(t, "Connected ann@1", "PushedOut ann@1 by @2", "Disconnected ann@1 PushedOut", "Connected ann@2")
		old.End(protocol.NetworkError)
		synctest.Wait()
		j.expect(t)
		if got := addressesOf(m, "ann"); len(got) != 1 || got[0].Conn != 2 {
			t.Errorf("ann is at %v, want connection 2", got)
		}
	})
}

// Rule 7, E5: the mapping is unchanged, the new connection is refused and gets no Connected and no Disconnected.
func TestIgnoreNewKeepsTheSessionAndRefusesTheLogon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{RelogonMode: usermgr.IgnoreNew})
		logOn(t, m, "ann", newLink(1))
		second := newLink(2)
		_, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann"}, second)
		if got := refusal(t, err); got != protocol.AlreadyLoggedOn {
			t.Errorf("the second logon ended with %v, want AlreadyLoggedOn", got)
		}
		synctest.Wait()
		j.expect(t, "Connected ann@1", "Ignored ann@2")
		if got := addressesOf(m, "ann"); len(got) != 1 || got[0].Conn != 1 {
			t.Errorf("ann is at %v, want connection 1", got)
		}
		if _, ok := m.SessionAt(second.Address().Conn); ok || len(second.closings()) != 0 {
			t.Errorf("the refused connection has a user: %v, was closed by the manager: %v", ok, second.closings())
		}
	})
}

// Rule 7: a logon that carries the ID of the user's live session takes it over, in the order of a replacement.
func TestIgnoreNewLetsASessionBeTakenOverByItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{RelogonMode: usermgr.IgnoreNew})
		ghost := logOn(t, m, "ann", newLink(1))
		_, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Session: ghost.ID()}, newLink(2))
		if err != nil {
			t.Fatalf("the client that knows the session's ID was refused: %v", err)
		}
		j.expect(t, "Connected ann@1", "PushedOut ann@1 by @2", "Disconnected ann@1 PushedOut", "Connected ann@2")
	})
}

// Rules 7 and 26: only the ID of this user's own session counts, and one that has ended takes over no newer session.
func TestIgnoreNewRefusesATakeOverWithAnotherID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{RelogonMode: usermgr.IgnoreNew})
		past := logOn(t, m, "ann", newLink(1))
		past.End(protocol.ClientClosed)
		synctest.Wait()
		logOn(t, m, "ann", newLink(2))
		bobs := logOn(t, m, "bob", newLink(3))
		j.expect(t, "Connected ann@1", "Disconnected ann@1 ClientClosed", "Connected ann@2", "Connected bob@3")
		for id, want := range map[string]protocol.CloseCode{past.ID(): protocol.PushedOut,
			bobs.ID(): protocol.AlreadyLoggedOn, "no UUID": protocol.AlreadyLoggedOn} {
			_, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Session: id}, newLink(4))
			if got := refusal(t, err); got != want {
				t.Errorf("with session %q: %v, want %v", id, got, want)
			}
		}
		j.expect(t, "Ignored ann@4", "Ignored ann@4")
	})
}

// Rule 7: a session whose end is recorded is not in the way of the next.
func TestIgnoreNewAdmitsAfterAnEndThatWasJustRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{RelogonMode: usermgr.IgnoreNew})
		link := newLink(1)
		s := logOn(t, m, "ann", link)
		link.handlerStarts()
		s.End(protocol.ClientClosed)
		beginLogOn(t, m, "ann", newLink(2))
		synctest.Wait()
		link.handlerReturns()
		synctest.Wait()
		j.expect(t, "Connected ann@1", "Disconnected ann@1 ClientClosed", "Connected ann@2")
	})
}

// Rule 3: a session is connected and disconnected once, and closed once, however many callers end it.
func TestEverySessionEndsOnce(t *testing.T) {
	m, j := watched(t, usermgr.Config{})
	const rounds = 200
	links := make([]*testLink, rounds)
	for i := range links {
		links[i] = newLink(uint64(i))
		s := logOn(t, m, "ann", links[i])
		go s.End(protocol.ClientClosed)
		go endUser(m, "ann", protocol.KickedOut, "")
		go endAt(m, links[i].Address().Conn, protocol.KickedOut, "")
	}
	closeManager(t, m)
	connected, disconnected, online := 0, 0, false
	for _, line := range j.all() {
		var event, who, why string
		fmt.Sscan(line, &event, &who, &why) //nolint:errcheck // Connected has no cause
		switch event {
		case "Connected":
			if online {
				t.Fatalf("two sessions in a row without an end in between: %s", line)
			}
			connected++
			online = true
		case "Disconnected":
			disconnected++
			online = false
		}
	}
	if connected != rounds || disconnected != rounds {
		t.Errorf("%d Connected and %d Disconnected, want %d of each", connected, disconnected, rounds)
	}
	for i, l := range links {
		if n := len(l.closings()); n != 1 {
			t.Errorf("link %d was closed %d times", i, n)
		}
	}
}

// Rules 6 and 7: there is no third mode, and none that is taken for one of the two.
func TestAnUnknownRelogonModePanics(t *testing.T) {
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "RelogonMode 2") {
			t.Errorf("New panicked with %v", v)
		}
	}()
	_ = testkit.Must(usermgr.New(usermgr.Config{RelogonMode: usermgr.IgnoreNew + 1})).Close(context.Background())
}

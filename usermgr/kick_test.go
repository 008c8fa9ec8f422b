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

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// reportingLink is a link whose connection ends at ends.
type reportingLink struct {
	*testLink

	mu      sync.Mutex
	outcome protocol.CloseOutcome
	tell    func(protocol.CloseOutcome)
}

func newReportingLink(conn uint64) *reportingLink { return &reportingLink{testLink: newLink(conn)} }

func (l *reportingLink) Close(why *protocol.CloseError, done func(protocol.CloseOutcome)) {
	l.testLink.Close(why, nil)
	l.mu.Lock()
	o := l.outcome
	l.tell = done
	l.mu.Unlock()
	if o != protocol.OutcomePending && done != nil {
		done(o)
	}
}

// ends is the end of the connection.
func (l *reportingLink) ends(o protocol.CloseOutcome) {
	l.mu.Lock()
	tell := l.tell
	l.outcome, l.tell = o, nil
	l.mu.Unlock()
	if tell != nil {
		tell(o)
	}
}

// kicked waits for a kick and tells what became of each session, "connection outcome".
func kicked(t *testing.T, k usermgr.Wait, err error) (told []string) {
	t.Helper()
	if err != nil {
		t.Fatalf("the kick was refused: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all, err := k(ctx)
	for _, s := range all {
		told = append(told, fmt.Sprintf("%d %v", s.Session.Address.Conn, s.Outcome))
	}
	if err != nil {
		told = append(told, err.Error())
	}
	return told
}

// Rule 10, H2, E12: a kick ends a session, a device class or a whole user, with a text, and no other session. The
// oldest session ends first.
func TestKickEndsWhatItNames(t *testing.T) {
	for _, c := range []struct {
		name string
		kick func(*usermgr.Manager, []usermgr.Session, usermgr.KickOptions) (usermgr.Wait, error)
		want []uint64
	}{
		{"session", func(m *usermgr.Manager, all []usermgr.Session, o usermgr.KickOptions) (usermgr.Wait, error) {
			return m.KickSession(all[1].ID(), &o)
		}, []uint64{2}},
		{"device", func(m *usermgr.Manager, _ []usermgr.Session, o usermgr.KickOptions) (usermgr.Wait, error) {
			o.Devices = []uint16{0}
			return m.Kick("ann", &o)
		}, []uint64{1, 3}},
		{"user", func(m *usermgr.Manager, _ []usermgr.Session, o usermgr.KickOptions) (usermgr.Wait, error) {
			return m.Kick("ann", &o)
		}, []uint64{1, 2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 3}})
				var sessions []usermgr.Session
				links := map[uint64]*testLink{}
				for i, device := range []uint16{0, 5, 0} {
					link := newLink(uint64(i + 1))
					links[link.conn] = link
					sessions = append(sessions, onDevice(t, m, "ann", device, link))
				}
				onDevice(t, m, "bob", 0, newLink(9))
				j.clear()
				k, err := c.kick(m, sessions, usermgr.KickOptions{Text: "be nice"})
				var told, want []string
				told = kicked(t, k, err)
				var lines []string
				for _, conn := range c.want {
					want = append(want, fmt.Sprintf("%d told", conn))
					lines = append(lines, fmt.Sprintf("Disconnected ann@%d KickedOut", conn))
					closed := links[conn].closings()
					if len(closed) != 1 || closed[0].Code != protocol.KickedOut || closed[0].Text != "be nice" {
						t.Errorf("connection %d was told %v", conn, closed)
					}
				}
				if len(c.want) == 3 {
					lines = append(lines, "Offline ann")
				}
				j.expect(t, lines...)
				if !slices.Equal(told, want) {
					t.Errorf("the kick told %q, want %q", told, want)
				}
				if !m.IsOnline("bob") || len(sessionsOf(m, "ann")) != 3-len(c.want) {
					t.Errorf("bob is online: %v, ann has %d sessions", m.IsOnline("bob"), len(sessionsOf(m, "ann")))
				}
			})
		})
	}
}

// H2: blank and unknown IDs are errors of their own, and nothing happens.
func TestKickOfBlankAndUnknownIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{})
		gone := logOn(t, m, "bob", newLink(1))
		gone.End(protocol.ClientClosed)
		logOn(t, m, "ann", newLink(2))
		synctest.Wait()
		j.clear()
		for what, c := range map[string]struct {
			kick func() (usermgr.Wait, error)
			want error
		}{
			"no user":        {func() (usermgr.Wait, error) { return m.Kick("", nil) }, usermgr.ErrBlankID},
			"no user's":      {func() (usermgr.Wait, error) { return m.Kick("", &usermgr.KickOptions{Devices: []uint16{1}}) }, usermgr.ErrBlankID},
			"no session":     {func() (usermgr.Wait, error) { return m.KickSession("", nil) }, usermgr.ErrBlankID},
			"unknown user":   {func() (usermgr.Wait, error) { return m.Kick("eve", nil) }, usermgr.ErrUnknownID},
			"offline user":   {func() (usermgr.Wait, error) { return m.Kick("bob", nil) }, usermgr.ErrUnknownID},
			"unknown device": {func() (usermgr.Wait, error) { return m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{1}}) }, usermgr.ErrUnknownID},
			"past session":   {func() (usermgr.Wait, error) { return m.KickSession(gone.ID(), nil) }, usermgr.ErrUnknownID},
			"no session ID":  {func() (usermgr.Wait, error) { return m.KickSession("ann", nil) }, usermgr.ErrUnknownID},
		} {
			if k, err := c.kick(); !errors.Is(err, c.want) || k != nil {
				t.Errorf("%s: %v, %v; want %v", what, k, err, c.want)
			}
		}
		synctest.Wait()
		j.expect(t)
	})
}

// Rule 10: a user who has gone offline is unknown while that is still being told; one who is logging on is not.
func TestKickOfWhoHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		thaw := make(chan struct{})
		m.Subscribe(usermgr.Events{Offline: func(usermgr.UserData) { <-thaw }})
		s := logOn(t, m, "ann", newLink(1))
		s.End(protocol.ClientClosed)
		synctest.Wait()
		kicks := map[string]func() (usermgr.Wait, error){
			"user":    func() (usermgr.Wait, error) { return m.Kick("ann", nil) },
			"device":  func() (usermgr.Wait, error) { return m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{0}}) },
			"session": func() (usermgr.Wait, error) { return m.KickSession(s.ID(), nil) },
		}
		unknown := func() {
			t.Helper()
			for what, kick := range kicks {
				if k, err := kick(); !errors.Is(err, usermgr.ErrUnknownID) {
					t.Errorf("%s: %v, %v; want %v", what, k, err, usermgr.ErrUnknownID)
				}
			}
		}
		unknown()

		ctx, cancel := context.WithCancel(t.Context())
		withdrawn := make(chan error)
		go func() {
			_, err := m.Register(ctx, usermgr.Logon{UserID: "ann"}, newLink(2))
			withdrawn <- err
		}()
		synctest.Wait()
		if _, err := kicks["user"](); err != nil {
			t.Errorf("while a logon waits: %v", err)
		}
		cancel()
		<-withdrawn
		unknown()
		close(thaw)
	})
}

// E12: a kick tells of each session whether its peer was told, ended first, or was closed by force after the deadline.
func TestKickTellsWhatBecameOfEachConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 4}, HeartbeatTimeout: -1})
		for conn, outcome := range []protocol.CloseOutcome{protocol.OutcomeTold, protocol.OutcomeClosedByPeer, protocol.OutcomeForced} {
			l := newReportingLink(uint64(conn))
			logOnAs(t, m, usermgr.Logon{UserID: "ann"}, l)
			if outcome == protocol.OutcomeClosedByPeer {
				l.ends(outcome) // has ended already; who reads from it is about to say so
			} else {
				time.AfterFunc(10*time.Second, func() { l.ends(outcome) })
			}
		}
		logOn(t, m, "ann", newLink(3)) // ends at once
		began := time.Now()
		k, err := m.Kick("ann", nil)
		if returned := time.Since(began); returned != 0 {
			t.Errorf("Kick returned after %v", returned)
		}
		told := kicked(t, k, err)
		if want := []string{"0 told", "1 closed by its peer", "2 closed by force", "3 told"}; !slices.Equal(told, want) {
			t.Errorf("the kick told %q, want %q", told, want)
		}
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("Wait returned after %v, the connections after 10 s", waited)
		}
		if again := kicked(t, k, nil); !slices.Equal(again, told) {
			t.Errorf("asked again the kick told %q", again)
		}
	})
}

// Rule 10: Wait ends with its context, and tells what is known by then.
func TestKickWaitsUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}, HeartbeatTimeout: -1})
		told, silent := newReportingLink(1), newReportingLink(2)
		logOnAs(t, m, usermgr.Logon{UserID: "ann"}, told)
		logOnAs(t, m, usermgr.Logon{UserID: "ann"}, silent)
		k, err := m.Kick("ann", nil)
		told.ends(protocol.OutcomeTold)
		synctest.Wait()
		if got, want := kicked(t, k, err), []string{"1 told", "2 pending", context.DeadlineExceeded.Error()}; !slices.Equal(got, want) {
			t.Errorf("the kick told %q, want %q", got, want)
		}
		silent.ends(protocol.OutcomeForced)
	})
}

// Rules 3 and 12: a kick has the sessions' final descriptions, tags and all, whatever happens to the user afterwards.
func TestKickHasTheFinalCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{HeartbeatTimeout: -1})
		var s usermgr.Session
		var last usermgr.SessionInfo
		unsubscribe := m.Subscribe(usermgr.Events{Disconnected: func(i usermgr.SessionInfo, _ protocol.CloseCode) { last = i }})
		link := newLink(1)
		s = logOnAs(t, m, usermgr.Logon{UserID: "ann", Token: "x"}, link)
		m.SetTag("ann", "user's")
		m.SetSessionTag(s.ID(), "session's")
		link.handlerStarts()
		k, err := m.Kick("ann", nil)
		s.Received(1, 1, 10) // the last message handler's
		link.handlerReturns()
		synctest.Wait()
		unsubscribe()
		s.Received(1, 1, 10) // too late
		logOn(t, m, "ann", newLink(2))
		m.SetTag("ann", "another")
		if err != nil {
			t.Fatal(err)
		}
		all, err := k(t.Context())
		if len(all) != 1 || err != nil {
			t.Fatalf("kicked were %+v, %v", all, err)
		}
		got := all[0].Session
		if got.In != last.In || got.In.Bytes != 10 || got.Tag != "session's" || got.UserTag != "user's" || got.Token != "x" {
			t.Errorf("the kick tells of\n%+v\nDisconnected did of\n%+v", got, last)
		}
	})
}

// Rule 3: a session whose end was recorded first is not the kick's.
func TestKickLeavesAnEarlierCauseAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
		link := newLink(1)
		first := logOn(t, m, "ann", link)
		logOn(t, m, "ann", newLink(2))
		j.clear()
		link.handlerStarts() // holds the end up
		first.End(protocol.NetworkError)
		k, err := m.Kick("ann", nil)
		link.handlerReturns()
		if got := kicked(t, k, err); !slices.Equal(got, []string{"2 told"}) {
			t.Errorf("the kick told %q", got)
		}
		j.expect(t, "Disconnected ann@1 NetworkError", "Disconnected ann@2 KickedOut", "Offline ann")
	})
}

// Rule 5: a kick waits for the last message handler of each session, and gives up on one that is stuck.
func TestKickWaitsForTheRunningMessageHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}})
		stuck, slow := newLink(1), newLink(2)
		logOn(t, m, "ann", stuck)
		logOn(t, m, "ann", slow)
		j.clear()
		stuck.handlerStarts()
		slow.handlerStarts()
		k, err := m.Kick("ann", nil)
		time.Sleep(5*time.Second - 1)
		synctest.Wait()
		j.expect(t)
		time.Sleep(time.Second)
		synctest.Wait()
		j.expect(t, "Disconnected ann@1 KickedOut")
		slow.handlerReturns()
		kicked(t, k, err)
		j.expect(t, "Disconnected ann@2 KickedOut", "Offline ann")
		if n := m.Stats().HandlersFrozen; n != 1 {
			t.Errorf("HandlersFrozen is %d, want 1", n)
		}
	})
}

// Rule 10: a kick concerns the sessions and logons of the moment: those that wait end once they have come online.
func TestKickConcernsTheLogonsOfTheMomentOnly(t *testing.T) {
	for device, want := range map[int][]string{
		-1: {"Connected ann@1", "Disconnected ann@1 KickedOut", "Offline ann",
			"Online ann@2", "Connected ann@2", "Disconnected ann@2 KickedOut", "Offline ann", "Online ann@3", "Connected ann@3"},
		7: {"Connected ann@1", "Connected ann@2", "Disconnected ann@2 KickedOut", "Connected ann@3"},
	} {
		t.Run(fmt.Sprint("device ", device), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
				thaw := make(chan struct{})
				unsubscribe := m.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { <-thaw }})
				begin := func(device uint16, conn uint64) {
					go onDevice(t, m, "ann", device, newLink(conn))
					synctest.Wait()
				}
				begin(1, 1) // has begun
				begin(7, 2) // waits
				var k usermgr.Wait
				var err error
				if device < 0 {
					k, err = m.Kick("ann", nil)
				} else {
					k, err = m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{uint16(device)}})
				}
				begin(7, 3) // is later
				unsubscribe()
				close(thaw)
				kicked(t, k, err)
				synctest.Wait()
				j.expect(t, append([]string{"Online ann@1"}, want...)...)
			})
		})
	}
}

// Rule 10: a handler may kick its own user; waiting for that ends with the context.
func TestKickInAHandlerOfTheSameUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{})
		var waited []error
		kick := func(s usermgr.SessionInfo) {
			for _, f := range []func() (usermgr.Wait, error){
				func() (usermgr.Wait, error) { return m.KickSession(s.ID, nil) },
				func() (usermgr.Wait, error) { return m.Kick("ann", &usermgr.KickOptions{Devices: []uint16{0}}) },
				func() (usermgr.Wait, error) { return m.Kick("ann", nil) },
			} {
				k, err := f()
				if err != nil {
					t.Errorf("the kick was refused: %v", err)
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err = k(ctx)
				cancel()
				waited = append(waited, err)
			}
		}
		m.Subscribe(usermgr.Events{Connected: kick})
		logOn(t, m, "ann", newLink(1))
		synctest.Wait()
		j.expect(t, "Online ann@1", "Connected ann@1", "Disconnected ann@1 KickedOut", "Offline ann")
		if len(waited) != 3 || slices.Contains(waited, nil) {
			t.Errorf("waiting in the handler ended with %v", waited)
		}
	})
}

// Rule 10: kicks may come from many goroutines at once; each session is one kick's.
func TestKicksOfManyGoroutines(t *testing.T) {
	m, _ := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{MaxSessions: 8}})
	var mu sync.Mutex
	var told []string
	var all sync.WaitGroup
	for conn := range uint64(8) {
		logOnAs(t, m, usermgr.Logon{UserID: "ann"}, newReportingLink(conn))
	}
	for _, s := range sessionsOf(m, "ann") {
		for range 4 {
			all.Go(func() {
				var k usermgr.Wait
				var err error
				if s.Address.Conn%2 == 0 {
					k, err = m.KickSession(s.ID, &usermgr.KickOptions{RevokeFor: time.Hour})
				} else {
					k, err = m.Kick("ann", &usermgr.KickOptions{RevokeFor: time.Hour})
				}
				if err != nil {
					return // another kick was faster
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				_, _ = k(ctx) // while sessions are added to it
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				kicked, _ := k(ctx) // the connections never end
				mu.Lock()
				defer mu.Unlock()
				for _, s := range kicked {
					told = append(told, s.Session.ID)
				}
			})
		}
	}
	all.Wait()
	closeManager(t, m)
	slices.Sort(told)
	if n := len(slices.Compact(told)); n != 8 || len(told) != 8 {
		t.Errorf("the kicks told of %d sessions, %d different ones; want 8", len(told), n)
	}
}

func TestCloseOutcomesHaveNames(t *testing.T) {
	for o, want := range map[protocol.CloseOutcome]string{
		protocol.OutcomePending: "pending", protocol.OutcomeTold: "told", protocol.OutcomeClosedByPeer: "closed by its peer",
		protocol.OutcomeForced: "closed by force", 9: "CloseOutcome(9)",
	} {
		if got := o.String(); got != want {
			t.Errorf("%d is %q, want %q", uint8(o), got, want)
		}
	}
}

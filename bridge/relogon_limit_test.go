package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const relogonBurst = 3

// refusal returns the notice that a logon was refused with; nil where it was let in.
func refusal(t *testing.T, err error) *protocol.CloseError {
	var ce *protocol.CloseError
	if err != nil && !errors.As(err, &ce) {
		t.Fatal(err)
	}
	return ce
}

// Rule 13: a user whose logons push each other out, or are refused since another is there, is slowed down when the burst is
// used up. The wait doubles up to a bound, and a logon that has waited too long is told when to come back. Another user behind
// the same address is let in as ever.
func TestUserWhoseLogonsPushEachOtherOutIsSlowedDown(t *testing.T) {
	for name, mode := range map[string]usermgr.RelogonMode{"ReplaceOld": usermgr.ReplaceOld, "IgnoreNew": usermgr.IgnoreNew} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, options{users: usermgr.Config{RelogonMode: mode}, bridge: bridge.Config{RelogonBurst: relogonBurst}})
			turn := s.bridge.HoldRelogons(time.Millisecond)
			s.start()
			s.logOn("ann")
			relogon := func() *protocol.CloseError {
				_, err := s.dial().tryLogOn("ann")
				return refusal(t, err)
			}
			goesOn := func(what string) {
				ce := relogon()
				if want := mode == usermgr.IgnoreNew; (ce != nil) != want || want && ce.Code != protocol.AlreadyLoggedOn {
					t.Fatalf("%s: %v", what, ce)
				}
			}
			for i := range relogonBurst + 1 {
				goesOn(fmt.Sprint("relogon ", i))
			}
			for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
				for range 2 { // who is refused does not make it longer
					ce := relogon()
					if ce == nil || ce.Code != protocol.RateLimited || ce.Info[protocol.FieldRetryMS] != strconv.Itoa(int(wait.Milliseconds())) {
						t.Fatalf("before %v have passed: %v, %+v", wait, ce, ce)
					}
				}
				turn(wait)
				goesOn(fmt.Sprint("after ", wait))
				if wait == 5*time.Second {
					break
				}
			}
			s.logOn("bob").ask("behind the same address")
			turn(20 * time.Second)
			for range relogonBurst + 1 {
				goesOn("after a time of calm")
			}
		})
	}
}

// Rule 13: a logon of a user who is slowed down has no place among the logons while it waits, and ends with its connection.
func TestLogonThatIsSlowedDownIsInNobodysWay(t *testing.T) {
	s := newServer(t, options{bridge: bridge.Config{RelogonBurst: relogonBurst, MaxLogons: 1, LogonDeadline: time.Hour}})
	s.bridge.HoldRelogons(time.Hour)
	s.start()
	for range relogonBurst + 2 {
		s.logOn("ann")
	}
	first, second := s.dial(), s.dial()
	first.send(logonMessage("ann"))
	second.send(logonMessage("ann"))
	eventually(t, "both are under way", func() bool { return s.bridge.Logons().LoggingOn == 2 })
	s.logOn("bob").ask("past them")
	first.reset()
	second.reset()
	eventually(t, "both have ended", func() bool { return s.bridge.Logons().LoggingOn == 0 })
}

// Rule 13: the wait of a user who is slowed down counts towards LogonDeadline.
func TestLogonThatIsSlowedDownHasADeadline(t *testing.T) {
	s := newServer(t, options{bridge: bridge.Config{RelogonBurst: 1, LogonDeadline: 2 * time.Second}})
	s.bridge.HoldRelogons(time.Hour)
	s.start()
	for range 1 + 2 {
		s.logOn("ann")
	}
	c := s.dial()
	c.send(logonMessage("ann"))
	c.expectRefused(protocol.InternalError)
	eventually(t, "it has ended", func() bool { return s.bridge.Logons().LoggingOn == 0 })
}

// Rule 13: two clients that push each other out, ignore every notice and come back at once are delayed, but let in.
func TestTwoClientsThatHeedNothingAreSlowedDown(t *testing.T) {
	s := serve(t, options{bridge: bridge.Config{RelogonBurst: relogonBurst}})
	began := time.Now()
	var clients sync.WaitGroup
	logons := make(chan struct{})
	ctx, end := context.WithCancel(context.Background())
	for range 2 {
		clients.Go(func() {
			for {
				c, err := dialRaw(s.addr())
				if err != nil {
					t.Error(err)
					return
				}
				stop := context.AfterFunc(ctx, func() { c.conn.Close() })
				_, err = c.tryLogOn("ann")
				select {
				case logons <- struct{}{}:
				case <-ctx.Done():
					return
				}
				for err == nil {
					_, err = c.read()
				}
				if stop() {
					c.conn.Close()
				}
			}
		})
	}
	const logonsInAll = 1 + (relogonBurst + 1) + 4 // the last four have waited 100, 200, 400 and 800 ms
	for range logonsInAll {
		receive(t, "a logon", logons)
	}
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("%d logons took %v", logonsInAll, took)
	}
	end()
	clients.Wait()
}

// A user whose logons replace no session is not remembered.
func TestUsersWhoReplaceNobodyAreNotRemembered(t *testing.T) {
	s := serve(t, options{})
	s.logOn("ann").conn.Close()
	eventually(t, "ann is gone", func() bool { return !s.users.IsOnline("ann") })
	s.logOn("ann")
	s.logOn("bob")
	if n := s.bridge.Relogons(); n != 0 {
		t.Errorf("%d users are remembered", n)
	}
	s.logOn("bob")
	if n := s.bridge.Relogons(); n != 1 {
		t.Errorf("%d users are remembered, and one has replaced a session", n)
	}
}

package usermgr_test

import (
	"errors"
	"reflect"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/heartbeat"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

var failures = map[string]func(){"panic": func() { panic("on purpose") }, "Goexit": runtime.Goexit}

// Rule 10: whatever event a handler fails at, by a panic or a Goexit, the other subscribers still run, in the same order, the
// user can log on again, and the failure is counted. A new event is covered by itself.
func TestAFailureInAnyEventHandlerStopsNothing(t *testing.T) {
	for how, fail := range failures {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, j := newManager(t, usermgr.Config{IdleTimeout: time.Hour, HeartbeatTimeout: time.Minute}), new(journal)
				var bad usermgr.Events
				var told [20]atomic.Int32
				fields := reflect.ValueOf(&bad).Elem()
				for i := range fields.NumField() {
					f := fields.Field(i)
					f.Set(reflect.MakeFunc(f.Type(), func([]reflect.Value) []reflect.Value {
						told[i].Add(1)
						fail()
						return nil
					}))
				}
				m.Subscribe(bad)
				m.Subscribe(j.handlers())
				m.Subscribe(j.rest())
				logOn(t, m, "ann", newLink(1))
				m.SetTag("ann", "x")
				synctest.Wait()
				s := logOn(t, m, "ann", newLink(2))
				m.SetSessionTag(s.ID(), "y")
				time.Sleep(2 * time.Minute) // ann is silent
				idle := logOn(t, m, "bob", newLink(3))
				stop := beats(idle)
				time.Sleep(2 * time.Hour)
				stop()
				logOn(t, m, "ann", newLink(4)).End(protocol.ClientClosed)
				synctest.Wait()
				j.expect(t, "Online ann@1", "Connected ann@1", `UserTagged ann "x", was ""`, "PushedOut ann@1 by @2",
					"Disconnected ann@1 PushedOut", "Connected ann@2", `Tagged ann@2 "y", was ""`, "TimedOut ann@2",
					"Disconnected ann@2 HeartbeatTimeout", "Offline ann", "Online bob@3", "Connected bob@3", "Expired bob@3",
					"Disconnected bob@3 SessionExpired", "Offline bob", "Online ann@4", "Connected ann@4",
					"Disconnected ann@4 ClientClosed", "Offline ann")
				total := 0
				for i := range fields.NumField() {
					total += int(told[i].Load())
					if told[i].Load() == 0 && fields.Type().Field(i).Name != "Ignored" {
						t.Errorf("nothing was told to %s: the test must make it happen", fields.Type().Field(i).Name)
					}
				}
				if n := m.Stats().HandlerPanics; n != uint64(total) {
					t.Errorf("%d failures were counted, there were %d", n, total)
				}
			})
		})
	}
}

// The same for Ignored.
func TestAFailureInIgnoredStopsNothing(t *testing.T) {
	for how, fail := range failures {
		t.Run(how, func(t *testing.T) {
			m := newManager(t, usermgr.Config{RelogonMode: usermgr.IgnoreNew, HeartbeatTimeout: -1})
			m.Subscribe(usermgr.Events{Ignored: func(string, usermgr.Address) { fail() }})
			logOn(t, m, "ann", newLink(1))
			for range 2 {
				link := newLink(2)
				_, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Address: link.Address()}, link)
				if !errors.Is(err, protocol.AlreadyLoggedOn) {
					t.Errorf("Register returned %v", err)
				}
			}
		})
	}
}

// failingLink is a Link of the application's own that fails in one method.
type failingLink struct {
	*testLink
	where string
	fail  func()
}

func (l *failingLink) at(where string) {
	if l.where == where {
		l.fail()
	}
}

func (l *failingLink) Address() usermgr.Address {
	l.at("Address")
	return l.testLink.Address()
}

func (l *failingLink) Quiesce(done func()) {
	l.at("Quiesce")
	l.testLink.Quiesce(done)
	l.at("Quiesce, at its end")
}

func (l *failingLink) Close(why *protocol.CloseError, done func(protocol.CloseOutcome)) {
	l.at("Close")
	l.testLink.Close(why, done)
	l.at("Close, at its end")
}

func (l *failingLink) Look(then func(busy bool)) {
	l.at("Look")
	then(false)
}

// Rule 10: a failing Link of the application's own prevents no other logon, and the manager still closes.
func TestAFailureInALinkHoldsNobodyUp(t *testing.T) {
	for how, fail := range failures {
		for _, where := range []string{"Address", "Quiesce", "Quiesce, at its end", "Close", "Close, at its end", "Look"} {
			t.Run(how+" in "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, j := watched(t, usermgr.Config{IdleTimeout: time.Hour, HeartbeatTimeout: time.Minute})
					link := &failingLink{newLink(1), where, fail}
					_, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann"}, link)
					if where == "Address" {
						if !errors.Is(err, protocol.InternalError) {
							t.Errorf("Register returned %v", err)
						}
						logOn(t, m, "ann", newLink(2))
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					j.expect(t, "Connected ann@1")
					if where == "Look" {
						time.Sleep(2 * time.Minute)
						synctest.Wait()
						j.expect(t, "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout")
					} else {
						k, err := m.Kick("ann", nil)
						if err != nil {
							t.Fatal(err)
						}
						kicked, err := k(t.Context())
						if len(kicked) != 1 || err != nil {
							t.Errorf("the kick ended with %v, %v", kicked, err)
						}
						j.expect(t, "Disconnected ann@1 KickedOut")
					}
					logOn(t, m, "ann", newLink(2))
					j.expect(t, "Connected ann@2")
				})
			})
		}
	}
}

// failingChecker is a Checker of the application's own that fails in one method.
type failingChecker struct {
	heartbeat.Checker
	where string
	fail  func()
}

type failingWatch struct {
	heartbeat.Watch
	checker *failingChecker
}

func (c *failingChecker) at(where string) {
	if c.where == where {
		c.fail()
	}
}

func (c *failingChecker) Watch(silent func()) heartbeat.Watch {
	c.at("Watch")
	return failingWatch{c.Checker.Watch(silent), c}
}

func (c *failingChecker) Close() {
	c.Checker.Close()
	c.at("Close")
}

func (w failingWatch) Beat() {
	w.checker.at("Beat")
	w.Watch.Beat()
}

func (w failingWatch) Silent() bool {
	w.checker.at("Silent")
	return w.Watch.Silent()
}

func (w failingWatch) Stop() {
	w.Watch.Stop()
	w.checker.at("Stop")
}

// Rule 10: a Checker of the application's own that fails delays no user. Without a Watch there is no logon.
func TestAFailureInACheckerHoldsNobodyUp(t *testing.T) {
	for how, fail := range failures {
		for _, where := range []string{"Watch", "Beat", "Silent", "Stop", "Close"} {
			t.Run(how+" in "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := &failingChecker{heartbeat.New(time.Second, time.Minute), where, fail}
					m, j := watched(t, usermgr.Config{HeartbeatChecker: c})
					_, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann"}, newLink(1))
					if where == "Watch" {
						if !errors.Is(err, protocol.InternalError) {
							t.Errorf("Register returned %v", err)
						}
						c.where = ""
					} else {
						if err != nil {
							t.Fatal(err)
						}
						time.Sleep(2 * time.Minute)
						synctest.Wait()
						if where != "Silent" {
							j.expect(t, "Connected ann@1", "TimedOut ann@1", "Disconnected ann@1 HeartbeatTimeout")
						}
					}
					j.clear()
					logOn(t, m, "ann", newLink(2)).End(protocol.ClientClosed)
					synctest.Wait()
					if where != "Silent" {
						j.expect(t, "Connected ann@2", "Disconnected ann@2 ClientClosed")
					}
				})
			})
		}
	}
}

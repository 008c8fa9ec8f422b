package usermgr_test

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// carryParts counts the parts that were added, because each needs a name of its own.
var carryParts atomic.Int64

// everyMethod calls each method of a Manager, but for those that wait for turns, for the user of a session.
var everyMethod = map[string]func(*usermgr.Manager, usermgr.SessionInfo){
	"AddCarryPart": func(m *usermgr.Manager, _ usermgr.SessionInfo) {
		m.AddCarryPart(fmt.Sprint("part ", carryParts.Add(1)), nil)
	},
	"BannedUntil": func(m *usermgr.Manager, s usermgr.SessionInfo) { m.BannedUntil(s.UserID) },
	"Clear":       func(m *usermgr.Manager, _ usermgr.SessionInfo) { startClear(m) },
	"Closed":      func(m *usermgr.Manager, _ usermgr.SessionInfo) { m.Closed() },
	"Count":       func(m *usermgr.Manager, _ usermgr.SessionInfo) { m.Count() },
	"Display":     func(m *usermgr.Manager, _ usermgr.SessionInfo) { m.Display(new(listDisplayer), time.Minute)() },
	"Evict": func(m *usermgr.Manager, s usermgr.SessionInfo) {
		id, _ := uuid.Parse(s.ID)
		m.Evict(id, usermgr.Address{Conn: 9}, protocol.PushedOut)
	},
	"HeartbeatTimeout": func(m *usermgr.Manager, _ usermgr.SessionInfo) { m.HeartbeatTimeout() },
	"IsOnline":         func(m *usermgr.Manager, s usermgr.SessionInfo) { m.IsOnline(s.UserID) },
	"Kick": func(m *usermgr.Manager, s usermgr.SessionInfo) {
		_, _ = m.Kick(s.UserID, &usermgr.KickOptions{RevokeFor: time.Minute})
	},
	"KickSession": func(m *usermgr.Manager, s usermgr.SessionInfo) {
		_, _ = m.KickSession(s.ID, nil)
	},
	"Links":       func(m *usermgr.Manager, s usermgr.SessionInfo) { m.Links(s.UserID) },
	"Session":     func(m *usermgr.Manager, s usermgr.SessionInfo) { m.Session(s.ID) },
	"SessionPage": func(m *usermgr.Manager, _ usermgr.SessionInfo) { _, _ = m.SessionPage(usermgr.PageQuery{Page: 1}) },
	"Sessions": func(m *usermgr.Manager, _ usermgr.SessionInfo) {
		for range m.Sessions(usermgr.Filter{Tag: "tag"}) {
		}
	},
	"SessionAt":     func(m *usermgr.Manager, s usermgr.SessionInfo) { m.SessionAt(s.Address.Conn) },
	"SetSessionTag": func(m *usermgr.Manager, s usermgr.SessionInfo) { m.SetSessionTag(s.ID, "handler's") },
	"SetTag":        func(m *usermgr.Manager, s usermgr.SessionInfo) { m.SetTag(s.UserID, "handler's") },
	"Stats":         func(m *usermgr.Manager, _ usermgr.SessionInfo) { m.Stats() },
	"Subscribe":     func(m *usermgr.Manager, _ usermgr.SessionInfo) { m.Subscribe(usermgr.Events{})() },
	"Touch":         func(m *usermgr.Manager, s usermgr.SessionInfo) { m.Touch(s.UserID) },
	"TouchSession":  func(m *usermgr.Manager, s usermgr.SessionInfo) { m.TouchSession(s.ID) },
	"Unban":         func(m *usermgr.Manager, s usermgr.SessionInfo) { m.Unban(s.UserID) },
	"User":          func(m *usermgr.Manager, s usermgr.SessionInfo) { m.User(s.UserID) },
	"UserPage":      func(m *usermgr.Manager, _ usermgr.SessionInfo) { _, _ = m.UserPage(usermgr.PageQuery{}) },
	"Users": func(m *usermgr.Manager, _ usermgr.SessionInfo) {
		for range m.Users() {
		}
	},
}

// Rule 10: a handler of any event may call any method of the manager for its own user, without a deadlock. Register and
// Close wait for turns: see TestHandlerMayLogItsOwnUserOn.
func TestHandlersMayCallEveryMethodForTheirOwnUser(t *testing.T) {
	methods := []string{"Close", "Register"}
	for name := range everyMethod {
		methods = append(methods, name)
	}
	slices.Sort(methods)
	var all []string
	for i := range reflect.TypeFor[*usermgr.Manager]().NumMethod() {
		all = append(all, reflect.TypeFor[*usermgr.Manager]().Method(i).Name)
	}
	if !slices.Equal(methods, all) {
		t.Fatalf("the manager's methods are\n%q; called are\n%q", all, methods)
	}
	for i := range reflect.TypeFor[usermgr.Events]().NumField() {
		event := reflect.TypeFor[usermgr.Events]().Field(i)
		t.Run(event.Name, func(t *testing.T) {
			for name, call := range everyMethod {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { callInHandler(t, event.Name, call) })
				})
			}
			t.Run("all", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					callInHandler(t, event.Name, func(m *usermgr.Manager, s usermgr.SessionInfo) {
						for _, call := range everyMethod {
							call(m, s)
						}
					})
				})
			})
		})
	}
}

// callInHandler has ann go through a life in which every event comes, but that either PushedOut or Ignored does, and either
// TimedOut or Expired, and calls a method when the event comes for the first time.
func callInHandler(t *testing.T, event string, call func(*usermgr.Manager, usermgr.SessionInfo)) {
	var cfg usermgr.Config
	switch event {
	case "Ignored":
		cfg.RelogonMode = usermgr.IgnoreNew
	case "Expired":
		cfg.IdleTimeout = 20 * time.Second // before the 30 of silence
	}
	m := newManager(t, cfg)
	var returned atomic.Bool
	var once sync.Once
	handler := reflect.ValueOf(new(usermgr.Events)).Elem()
	field := handler.FieldByName(event)
	field.Set(reflect.MakeFunc(field.Type(), func([]reflect.Value) []reflect.Value {
		once.Do(func() {
			s := usermgr.SessionInfo{UserID: "ann", Address: newLink(1).Address()}
			if all := sessionsOf(m, "ann"); len(all) > 0 {
				s = all[0]
			}
			call(m, s)
			returned.Store(true)
		})
		return nil
	}))
	m.Subscribe(handler.Interface().(usermgr.Events))
	s := logOn(t, m, "ann", newLink(1))
	m.SetTag("ann", "tag")
	m.SetSessionTag(s.ID(), "tag")
	synctest.Wait()
	_, _ = m.Register(t.Context(), usermgr.Logon{UserID: "ann"}, newLink(2))
	time.Sleep(time.Minute)
	if !returned.Load() {
		t.Error("the handler has not returned")
	}
	if n := m.Count(); n != 0 {
		t.Errorf("%d users are online", n)
	}
}

// Rule 10: a handler may log its own user on; the logon waits for its turn behind the handler.
func TestHandlerMayLogItsOwnUserOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watched(t, usermgr.Config{})
		unsubscribe := m.Subscribe(usermgr.Events{Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) {
			beginLogOn(t, m, s.UserID, newLink(s.Address.Conn+1))
			time.Sleep(time.Second)
			j.add("handler returns")
		}})
		s := logOn(t, m, "ann", newLink(1))
		s.End(protocol.ClientClosed)
		time.Sleep(2 * time.Second)
		unsubscribe()
		j.expect(t, "Connected ann@1", "Disconnected ann@1 ClientClosed", "handler returns", "Connected ann@2")
	})
}

// Rule 4: events of one user never overlap.
func TestEventsOfOneUserNeverOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		running, told := 0, 0 // without a lock: if events overlapped the race detector would say so too
		event := func() {
			told++
			if running++; running > 1 { // said at once: what follows need not end
				t.Errorf("rule 4: %d events run at the same time", running)
			}
			time.Sleep(time.Second)
			running--
		}
		m.Subscribe(usermgr.Events{
			Connected:    func(usermgr.SessionInfo) { event() },
			PushedOut:    func(usermgr.SessionInfo, usermgr.Address) { event() },
			Disconnected: func(usermgr.SessionInfo, protocol.CloseCode) { event() },
		})
		for conn := range uint64(20) {
			beginLogOn(t, m, "ann", newLink(conn))
			endUser(m, "ann", protocol.KickedOut, "")
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if told < 20 {
			t.Errorf("%d events were told, fewer than there were logons", told)
		}
	})
}

// Rule 10: a panic is recovered, logged and counted; the other subscribers still run, and the user goes on.
func TestPanicInAHandlerIsRecoveredLoggedAndCounted(t *testing.T) {
	for name, subscribe := range map[string]func(*usermgr.Manager, usermgr.Events){
		"the application's": func(m *usermgr.Manager, h usermgr.Events) { m.Subscribe(h) },
		"this module's":     func(m *usermgr.Manager, h usermgr.Events) { seam.SubscribeTrusted(m, h) },
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testPanicInAHandler(t, subscribe) }) })
	}
}

func testPanicInAHandler(t *testing.T, subscribe func(*usermgr.Manager, usermgr.Events)) {
	core, logs := observer.New(zap.ErrorLevel)
	m := newManager(t, usermgr.Config{Logger: zap.New(core)})
	subscribe(m, usermgr.Events{Connected: func(usermgr.SessionInfo) { panic("oh no") }})
	var j journal
	m.Subscribe(j.handlers())
	s := logOn(t, m, "ann", newLink(1))
	s.End(protocol.ClientClosed)
	synctest.Wait()
	j.expect(t, "Connected ann@1", "Disconnected ann@1 ClientClosed")
	if n := m.Stats().HandlerPanics; n != 1 {
		t.Errorf("HandlerPanics is %d, want 1", n)
	}
	found := logs.FilterField(zap.String("event", "Connected")).FilterField(zap.Any("panic", "oh no"))
	if found.Len() != 1 {
		t.Errorf("the log has %v", logs.All())
	}
}

// Subscribers are called in the order in which they subscribed, and no more when they have unsubscribed.
func TestSubscribersAreCalledInOrderUntilTheyUnsubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := newManager(t, usermgr.Config{}), new(journal)
		note := func(name string) usermgr.Events {
			return usermgr.Events{Connected: func(s usermgr.SessionInfo) { j.add("%s: %s", name, s.UserID) }}
		}
		m.Subscribe(note("first"))
		unsubscribe := m.Subscribe(note("second"))
		m.Subscribe(note("third"))
		logOn(t, m, "ann", newLink(1))
		unsubscribe()
		unsubscribe()
		logOn(t, m, "bob", newLink(2))
		j.expect(t, "first: ann", "second: ann", "third: ann", "first: bob", "third: bob")
	})
}

// Rule 3: Connected and Disconnected describe the same session; the latter has its final counters.
func TestDisconnectedHasTheFinalCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		var first, last usermgr.SessionInfo
		m.Subscribe(usermgr.Events{
			Connected:    func(s usermgr.SessionInfo) { first = s },
			Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) { last = s },
		})
		s, err := m.Register(t.Context(), usermgr.Logon{UserID: "ann", Device: 3}, newLink(1))
		if err != nil {
			t.Fatal(err)
		}
		s.Received(7, 2, 64)
		s.Sent(8, 1, 32)
		time.Sleep(time.Second) // of the bubble's clock
		s.Dropped(9, 3, 96)
		s.End(protocol.ClientClosed)
		synctest.Wait()
		want := first
		want.In = protocol.Traffic{Messages: 2, Bytes: 64, LastType: 7}
		want.Out = protocol.Traffic{Messages: 1, Bytes: 32, LastType: 8}
		want.Dropped = protocol.Traffic{Messages: 3, Bytes: 96, LastType: 9}
		if want.LastDropped = last.LastDropped; want.LastDropped.Sub(first.LogonTime) < 500*time.Millisecond { // to 100 ms, and a tick of the clock
			t.Errorf("messages were last dropped at %v, and the logon was at %v", want.LastDropped, first.LogonTime)
		}
		if !reflect.DeepEqual(last, want) {
			t.Errorf("Disconnected had\n%+v\nwant\n%+v", last, want)
		}
		if first.ID != s.ID() || first.Device != 3 || first.Address != newLink(1).Address() {
			t.Errorf("Connected had %+v", first)
		}
	})
}

// Rule 12, E8: every change of the number of users is told, by itself if its handler keeps up.
func TestUserCountChangedTellsEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		var told []int
		m.Subscribe(usermgr.Events{UserCountChanged: func(n int) { told = append(told, n) }})
		ann := logOn(t, m, "ann", newLink(1))
		synctest.Wait()
		logOn(t, m, "bob", newLink(2))
		synctest.Wait()
		ann.End(protocol.ClientClosed)
		synctest.Wait()
		if want := []int{1, 2, 1}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

// Rule 12: changes are coalesced while the handler runs, no logon waits for it, and the last call has the true number.
func TestUserCountChangedCoalescesAndEndsOnTheTrueNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		var told []int
		m.Subscribe(usermgr.Events{UserCountChanged: func(n int) {
			told = append(told, n)
			time.Sleep(time.Second)
		}})
		logOn(t, m, "user0", newLink(0))
		synctest.Wait()
		for i := uint64(1); i < 100; i++ {
			logOn(t, m, fmt.Sprint("user", i), newLink(i))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if want := []int{1, 100}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

// Rule 12: the true number is told even if the manager closes while the handler runs.
func TestUserCountChangedEndsOnTheTrueNumberAtClose(t *testing.T) {
	for range 8 { // the change and the end of the manager are found in either order
		synctest.Test(t, func(t *testing.T) {
			m := newManager(t, usermgr.Config{})
			var told []int
			m.Subscribe(usermgr.Events{UserCountChanged: func(n int) {
				told = append(told, n)
				time.Sleep(time.Second)
			}})
			logOn(t, m, "ann", newLink(1))
			synctest.Wait()
			closeManager(t, m)
			if want := []int{1, 0}; !slices.Equal(told, want) {
				t.Errorf("told %v, want %v", told, want)
			}
		})
	}
}

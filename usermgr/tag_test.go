package usermgr_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// S1, H4: tags are seen at once, and each change is told in order, with what was before; no change is no event.
func TestTagsAreSeenAtOnceAndToldInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}})
		first, second := onDevice(t, m, "ann", 1, newLink(1)), onDevice(t, m, "ann", 2, newLink(2))
		j.clear()
		for _, tag := range []string{"a", "a", "b", ""} {
			if !m.SetSessionTag(first.ID(), tag) || !m.SetTag("ann", "user's "+tag) {
				t.Error("ann is said to be offline")
			}
			s, _ := m.Session(first.ID())
			other, _ := m.Session(second.ID())
			if s.Tag != tag || s.UserTag != "user's "+tag || other.Tag != "" || other.UserTag != s.UserTag {
				t.Errorf("after %q the tags are %q and %q, on the other device %q and %q", tag, s.Tag, s.UserTag, other.Tag, other.UserTag)
			}
		}
		synctest.Wait()
		j.expect(t, `Tagged ann@1 "a", was ""`, `UserTagged ann "user's a", was ""`,
			`Tagged ann@1 "b", was "a"`, `UserTagged ann "user's b", was "user's a"`,
			`Tagged ann@1 "", was "b"`, `UserTagged ann "user's ", was "user's b"`)
	})
}

// Rules 4 and 10: a tag that is set in a handler is seen at once and told behind it; each event has its own tag.
func TestTagEventsQueueBehindTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{})
		m.Subscribe(usermgr.Events{Connected: func(s usermgr.SessionInfo) {
			m.SetSessionTag(s.ID, "x")
			m.SetTag(s.UserID, "y")
			m.SetSessionTag(s.ID, "z")
			time.Sleep(time.Second)
			j.add("handler returns")
		}})
		logOn(t, m, "ann", newLink(1))
		synctest.Wait()
		j.expect(t, "Online ann@1", "Connected ann@1", "handler returns",
			`Tagged ann@1 "x", was ""`, `UserTagged ann "y", was ""`, `Tagged ann@1 "z", was "x"`)
	})
}

// Rules 3 and 17: of a session that has ended, and of a user who went offline, no tag is told, not even when the user is
// back by then; the final description still has them.
func TestTagsEndWithTheirOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, j := watchedAll(t, usermgr.Config{})
		link := newLink(1)
		s := logOn(t, m, "ann", link)
		j.clear()
		link.handlerStarts() // holds the end up
		s.End(protocol.ClientClosed)
		beginLogOn(t, m, "ann", newLink(2))
		synctest.Wait()
		m.SetSessionTag(s.ID(), "x")
		m.SetTag("ann", "y")
		var final usermgr.SessionInfo
		unsubscribe := m.Subscribe(usermgr.Events{Disconnected: func(s usermgr.SessionInfo, _ protocol.CloseCode) { final = s }})
		link.handlerReturns()
		synctest.Wait()
		unsubscribe()
		j.expect(t, "Disconnected ann@1 ClientClosed", "Offline ann", "Online ann@2", "Connected ann@2")
		if final.Tag != "x" || final.UserTag != "y" {
			t.Errorf("Disconnected had the tags %q and %q", final.Tag, final.UserTag)
		}
		if d, _ := m.User("ann"); d.Tag != "" || d.Sessions[0].Tag != "" || d.Sessions[0].UserTag != "" {
			t.Errorf("ann is back with %+v", d)
		}
		if m.SetSessionTag(s.ID(), "z") || m.SetSessionTag("", "z") || m.SetTag("bob", "z") {
			t.Error("somebody who is not there was tagged")
		}
	})
}

// Rule 10: a panic in a tag's handler is recovered and counted, and the other subscribers still run.
func TestTagHandlersMayPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		m.Subscribe(usermgr.Events{
			Tagged:     func(usermgr.SessionInfo, string) { panic("oh") },
			UserTagged: func(usermgr.UserData, string) { panic("no") },
		})
		j := new(journal)
		m.Subscribe(j.rest())
		s := logOn(t, m, "ann", newLink(1))
		m.SetSessionTag(s.ID(), "x")
		m.SetTag("ann", "y")
		synctest.Wait()
		j.expect(t, "Online ann@1", `Tagged ann@1 "x", was ""`, `UserTagged ann "y", was ""`)
		if n := m.Stats().HandlerPanics; n != 2 {
			t.Errorf("HandlerPanics is %d, want 2", n)
		}
	})
}

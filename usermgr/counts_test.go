package usermgr_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rule 12, E9: messages and bytes are counted each way, with the last type; what was dropped is counted apart.
func TestMessagesAndBytesAreCountedEachWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		s := logOn(t, m, "ann", newLink(1))
		s.Received(1, 1, 10)
		s.Received(2, 3, 30)
		s.Sent(3, 2, 200)
		s.Sent(4, 1, 100)
		s.Dropped(5, 1, 1000)
		got, ok := m.Session(s.ID())
		if !ok {
			t.Fatal("the session is not found")
		}
		if want := (protocol.Traffic{Messages: 4, Bytes: 40, LastType: 2}); got.In != want {
			t.Errorf("in %+v, want %+v", got.In, want)
		}
		if want := (protocol.Traffic{Messages: 3, Bytes: 300, LastType: 4}); got.Out != want {
			t.Errorf("out %+v, want %+v", got.Out, want)
		}
		if want := (protocol.Traffic{Messages: 1, Bytes: 1000, LastType: 5}); got.Dropped != want {
			t.Errorf("dropped %+v, want %+v", got.Dropped, want)
		}
	})
}

// Rule 12: a user's totals go on through a replacement, the session's begin anew.
func TestTotalsOfAUserSurviveAReplacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		var second usermgr.Session
		for conn := range uint64(3) {
			s := logOn(t, m, "ann", newLink(conn))
			s.Received(10+uint16(conn), 1, 10)
			s.Sent(20, 2, 100)
			s.Dropped(30, 3, 1000)
			second = s
		}
		second.Received(9, 1, 10)
		logOn(t, m, "ann", newLink(3)) // has counted nothing: the last types are the earlier session's
		d, _ := m.User("ann")
		if want := (protocol.Traffic{Messages: 4, Bytes: 40, LastType: 9}); d.In != want {
			t.Errorf("in %+v, want %+v", d.In, want)
		}
		if want := (protocol.Traffic{Messages: 6, Bytes: 300, LastType: 20}); d.Out != want {
			t.Errorf("out %+v, want %+v", d.Out, want)
		}
		if want := (protocol.Traffic{Messages: 9, Bytes: 3000, LastType: 30}); d.Dropped != want {
			t.Errorf("dropped %+v, want %+v", d.Dropped, want)
		}
		var none protocol.Traffic
		if s := d.Sessions[0]; s.In != none || s.Out != none || s.Dropped != none {
			t.Errorf("the session begins with %+v", s)
		}
	})
}

// Rule 12: totals are since coming online, also for one who comes back so fast that the logon waited for the end.
func TestTotalsBeginAnewWhenTheUserWasOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		logOn(t, m, "ann", newLink(1)).Received(1, 1, 10)
		link := newLink(2)
		s := logOn(t, m, "ann", link)
		s.Received(1, 1, 10)
		link.handlerStarts()
		s.End(protocol.ClientClosed)
		beginLogOn(t, m, "ann", newLink(3))
		synctest.Wait()
		link.handlerReturns()
		synctest.Wait()
		if d, online := m.User("ann"); d.In != (protocol.Traffic{}) || !online {
			t.Errorf("ann, online: %v, begins with %+v", online, d.In)
		}
	})
}

// Rule 9, E9: what comes for a session that is over touches neither the user's next session nor the user's totals.
func TestCountsOfAnEndedSessionAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, usermgr.Config{})
		old := logOn(t, m, "ann", newLink(1))
		logOn(t, m, "ann", newLink(2))
		before, _ := m.User("ann")
		old.Received(1, 1, 10)
		old.Sent(1, 1, 10)
		old.Dropped(1, 1, 10)
		old.Beat()
		after, _ := m.User("ann")
		if before.In != after.In || before.Out != after.Out || before.Dropped != after.Dropped ||
			before.LastActive != after.LastActive {
			t.Errorf("before:\n%+v\nafter:\n%+v", before, after)
		}
	})
}

// Rule 12: the counters lose nothing when loops and senders count at the same time as others read.
func TestCountsAreExactUnderConcurrency(t *testing.T) {
	m := newManager(t, usermgr.Config{})
	s := logOn(t, m, "ann", newLink(1))
	const goroutines, each = 8, 1000
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range each {
				s.Received(1, 1, 10)
				s.Sent(2, 1, 20)
				s.Dropped(3, 1, 30)
				m.User("ann")
			}
		})
	}
	all.Wait()
	d, _ := m.User("ann")
	const n = goroutines * each
	for what, c := range map[string]struct{ got, want protocol.Traffic }{
		"in":      {d.In, protocol.Traffic{Messages: n, Bytes: 10 * n, LastType: 1}},
		"out":     {d.Out, protocol.Traffic{Messages: n, Bytes: 20 * n, LastType: 2}},
		"dropped": {d.Dropped, protocol.Traffic{Messages: n, Bytes: 30 * n, LastType: 3}},
	} {
		if c.got != c.want {
			t.Errorf("%s: %+v, want %+v", what, c.got, c.want)
		}
	}
}

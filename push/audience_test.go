package push_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// S4: a push to everyone, after any number of pushes, goes to all who are online at the call: to each client that has the answer
// to its Logon, and not to a connection that has ended.
func TestPushToEveryoneFollowsWhoComesAndGoes(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Engine: engine.Config{Loops: 2}, Users: usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2}}})
	var online []string
	clients := map[string]*client.Client{}
	got := make(chan *protocol.PushMessage, 1000)
	for i := range 40 {
		if i%3 == 2 {
			gone := online[0]
			_ = clients[gone].Close()
			online = online[1:]
			rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline(gone) }, "%s is offline", gone)
		} else {
			user := fmt.Sprintf("user-%02d", i)
			cfg := receiver(got)
			cfg.Device = uint16(i)
			clients[user] = srv.Client(t, user, cfg)
			online = append(online, user)
		}
		for range 2 {
			r := mustPush(t, service, push.ToEveryone(), push.Text(fmt.Sprint(i)), nil)
			var users []string
			for _, d := range r.Deliveries {
				users = append(users, d.UserID)
				if want, _ := srv.Users.SessionAt(d.Conn); d.Err != nil || d.Device != want.Device || d.Conn == 0 {
					t.Errorf("a delivery is %+v", d)
				}
			}
			slices.Sort(users)
			if !slices.Equal(users, online) {
				t.Fatalf("it went to %v, and %v are online", users, online)
			}
			for range online {
				if m := receive(t, "a push", got); string(m.Content) != fmt.Sprint(i) {
					t.Fatalf("%q came", m.Content)
				}
			}
		}
	}
}

// Who was pushed to is kept no longer than it is of use: not where there is no push for a while, nor when a connection has come or
// gone.
func TestAnAudienceIsForgotten(t *testing.T) {
	push.KeepAudience(t, time.Hour) // the test looks
	srv, service := newServer(t, rollcall.Config{})
	c := srv.Client(t, "ann", client.Config{})
	all := func() { mustPush(t, service, push.ToEveryone(), push.Text("hi"), nil) }
	all()
	if !service.LookAtAudience() {
		t.Error("it is not kept over a look although it was used")
	}
	if service.LookAtAudience() {
		t.Error("it is kept although it was not used")
	}
	all()
	_ = c.Close()
	rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline("ann") }, "ann is offline")
	if service.LookAtAudience() {
		t.Error("it is kept although a connection has gone")
	}
	r := mustPush(t, service, push.ToEveryone(), push.Text("hi"), nil)
	if len(r.Deliveries) != 0 {
		t.Errorf("there are the deliveries %+v", r.Deliveries)
	}
}

// What a push to everyone has told stays as it is, whatever a later one tells: pushes may share what went well.
func TestWhatAPushToEveryoneToldStays(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Engine: engine.Config{Limits: engine.Limits{MaxBody: 1000}}})
	names := []string{"ann", "bob", "carl"}
	for _, user := range names {
		srv.Client(t, user, client.Config{})
	}
	first := mustPush(t, service, push.ToEveryone(), push.Text("hi"), nil)
	before := slices.Clone(first.Deliveries)
	large := mustPush(t, service, push.ToEveryone(), push.Binary(make([]byte, 2000)), nil)
	_ = append(first.Deliveries, push.Delivery{UserID: "the caller's own"})
	last := mustPush(t, service, push.ToEveryone(), push.Text("hi"), nil)
	if !slices.Equal(first.Deliveries, before) || !slices.Equal(last.Deliveries, before) || first.Sessions() != len(names) {
		t.Errorf("the pushes went to\n%+v and\n%+v, before that to\n%+v", first.Deliveries, last.Deliveries, before)
	}
	for i, d := range large.Deliveries {
		if !errors.Is(d.Err, protocol.MessageTooLarge) || d.UserID != before[i].UserID || d.Conn != before[i].Conn {
			t.Errorf("the delivery of what is too large is %+v", d)
		}
	}
	if len(large.Deliveries) != len(names) {
		t.Errorf("what is too large has %d deliveries", len(large.Deliveries))
	}
}

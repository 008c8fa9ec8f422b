package cluster_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// becomes waits until the clients have got just these pushes since the last call.
func (p *pushing) becomes(t *testing.T, want ...string) {
	t.Helper()
	rollcalltest.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.got) >= len(want)
	}, "the clients have got %d pushes", len(want))
	p.mu.Lock()
	defer p.mu.Unlock()
	if fmt.Sprint(p.got) != fmt.Sprint(want) {
		t.Errorf("the clients have got %q, want %q", p.got, want)
	}
	p.got = nil
}

// keepsNothing waits until nothing is kept, and no mark is left.
func (p *pushing) keepsNothing(t *testing.T, users ...string) {
	t.Helper()
	rollcalltest.Eventually(t, func() bool {
		for _, r := range testkit.Must(p.store.Look(context.Background(), users...)) {
			if len(cluster.Marks(r)) > 0 {
				return false
			}
		}
		for _, s := range p.services {
			if s.Stats().Kept > 0 {
				return false
			}
		}
		return true
	}, "nothing is kept any more")
}

// Rule 27: what is kept for a user who is away goes out on the node where the user logs on, in order and once, and its outcome is told
// where it was pushed.
func TestWhatIsKeptGoesOutOnAnotherServer(t *testing.T) {
	p := newPushing(t, 2, nil)
	outcomes := make(chan push.Delivery, 10)
	for i := range 3 {
		p.services[0].Go(push.ToUsers("bob"), push.Text(fmt.Sprint(i)), &push.Options{Keep: time.Hour}, func(r push.Result, err error) {
			for _, d := range r.Deliveries {
				if d.Pusher == "" {
					outcomes <- d
				}
			}
		})
	}
	rollcalltest.Eventually(t, func() bool {
		return len(cluster.Marks(testkit.Must(p.store.Look(context.Background(), "bob"))[0])) == 1
	}, "the record has a mark")
	p.client(t, 1, "bob", 0)
	p.becomes(t, "bob/0: 0", "bob/0: 1", "bob/0: 2")
	for range 3 {
		select {
		case d := <-outcomes:
			if !d.Confirmed || d.Err != nil || d.UserID != "bob" {
				t.Errorf("%+v", d)
			}
		case <-time.After(testkit.Patience):
			t.Fatal("no outcome is told")
		}
	}
	p.keepsNothing(t, "bob")
}

// Rule 27: a message whose session has ended before it was confirmed goes to the user's next session, wherever that is; with a filter, to
// one of the same device class.
func TestAMessageFollowsAUserWhoLeavesBeforeConfirming(t *testing.T) {
	p := newPushing(t, 2, func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true })
	deaf := p.all[0].Client(t, "bob", client.Config{Device: 7}) // confirms nothing
	for i, to := range []push.Target{push.ToUsers("bob"), push.ToSessions(usermgr.Filter{Devices: []uint16{7}})} {
		if _, err := p.services[0].Push(t.Context(), to, push.Text(fmt.Sprint(i)), &push.Options{Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	deaf.Close()
	p.client(t, 1, "bob", 8)
	p.becomes(t, "bob/8: 0")
	rollcalltest.Eventually(t, func() bool { return p.services[0].Stats().Kept == 1 }, "the first message is confirmed")
	p.client(t, 1, "bob", 7)
	p.becomes(t, "bob/7: 1")
	p.keepsNothing(t, "bob")
}

// Rule 27: a message that a session elsewhere confirms at once is not kept, and nothing is written into the store for it.
func TestAMessageThatIsConfirmedElsewhereIsNotKept(t *testing.T) {
	p := newPushing(t, 2, nil)
	p.client(t, 1, "bob", 0)
	version := testkit.Must(p.store.Look(context.Background(), "bob"))[0].Version
	r, err := p.services[0].Push(t.Context(), push.ToUsers("bob"), push.Text("hi"), &push.Options{Confirm: true, Keep: time.Hour})
	if got := elsewhere(r); err != nil || got != "bob/0 confirmed" || r.Confirmed() != 1 {
		t.Errorf("elsewhere: %s, %v; %+v", got, err, r)
	}
	p.becomes(t, "bob/0: hi")
	p.keepsNothing(t, "bob")
	if now := testkit.Must(p.store.Look(context.Background(), "bob"))[0].Version; now != version {
		t.Errorf("the record has version %d after %d", now, version)
	}
	p.client(t, 0, "bob", 0)
	r, err = p.services[0].Push(t.Context(), push.ToUsers("bob"), push.Text("ho"), &push.Options{Confirm: true})
	if err != nil || r.Confirmed() != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	p.becomes(t, "bob/0: ho")
}

// A message whose time is over is told TimedOut, and its mark leaves the record.
func TestAKeptMessageThatExpiresLeavesNoMark(t *testing.T) {
	p := newPushing(t, 2, nil)
	done := make(chan error, 2)
	p.services[0].Go(push.ToUsers("bob"), push.Text("hi"), &push.Options{Keep: 100 * time.Millisecond}, func(r push.Result, _ error) {
		for _, d := range r.Deliveries {
			if d.Pusher == "" {
				done <- d.Err
			}
		}
	})
	if err := <-done; codeOf(err) != protocol.TimedOut {
		t.Errorf("the outcome is %v", err)
	}
	p.keepsNothing(t, "bob")
}

// Rule 27: a push is kept for a session that has ended. The node's pusher is late, and reaches the device's next session on another server. That session
// confirms, and then nothing stays kept.
func TestAKeptPushIsConfirmedByTheNextSessionThatALatePusherReaches(t *testing.T) {
	for name, change := range map[string]func(*rollcall.Config){
		"one session": nil, "one a device class": func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPushing(t, 2, change)
			r := p.roamer(t, p.all[0], "bob", 1, func() {})
			r.leave(false)
			p.hold = func() {
				testkit.ComesTrue(testkit.Patience, func() bool { return online(p.all[1], "bob") })
			}
			done := p.keptPush("bob")
			r.arrive(p.all[1])
			confirmed := false
			for range 2 { // the session may also get the message from where it is kept, before the pusher comes
				d := testkit.Receive(t, "an outcome", done)
				if confirmed = confirmed || d.Confirmed; !d.Confirmed && codeOf(d.Err) != protocol.UserOffline {
					t.Errorf("%+v", d)
				}
			}
			if !confirmed {
				t.Error("no delivery is confirmed")
			}
			p.keepsNothing(t, "bob")
			p.becomes(t, "bob/1: hi")
		})
	}
}

// Rule 27: one of a user's devices is lost, and another one stays. The user's record has a mark of the server that keeps the push, so that the server
// where the lost device comes back asks for it.
func TestTheRecordSaysThatAMessageIsKeptForALostDevice(t *testing.T) {
	p := newPushing(t, 2, func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true })
	confirm := make(chan struct{})
	wait := func() { <-confirm }
	p.roamer(t, p.all[0], "bob", 2, wait)
	lost := p.roamer(t, p.all[0], "bob", 1, wait)
	p.keptPush("bob")
	rollcalltest.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.got) == 2
	}, "both devices have the message")
	lost.leave(true)
	rollcalltest.Eventually(t, func() bool {
		return len(cluster.Marks(testkit.Must(p.store.Look(context.Background(), "bob"))[0])) == 1
	}, "the record has a mark")
	close(confirm)
}

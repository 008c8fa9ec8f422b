package push_test

import (
	"context"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// pushing pushes with Confirm on a goroutine of its own, for a minute at most, which is longer than any test waits.
func pushing(t *testing.T, service *push.Service, to push.Target, m *push.Message) <-chan push.Result {
	return pushingWith(t, service, to, m, confirm)
}

func pushingWith(t *testing.T, service *push.Service, to push.Target, m *push.Message, o *push.Options) <-chan push.Result {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	return pushingUntil(ctx, t, service, to, m, o, cancel)
}

// pushingUntil pushes on a goroutine of its own, and then calls cancel.
func pushingUntil(ctx context.Context, t *testing.T, service *push.Service, to push.Target, m *push.Message, o *push.Options, cancel func()) <-chan push.Result {
	result := make(chan push.Result, 1)
	go func() {
		defer cancel()
		r, err := service.Push(ctx, to, m, o)
		if err != nil {
			t.Error(err)
		}
		result <- r
	}()
	return result
}

// With Confirm the result says who has acknowledged: once the handler has returned, until the context ends.
func TestConfirm(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{})
	hold := make(chan struct{})
	entered := make(chan struct{}, 1)
	srv.Client(t, "slow", client.Config{OnPush: func(_ *client.Client, p *protocol.PushMessage) {
		entered <- struct{}{}
		<-hold
	}})
	srv.Client(t, "deaf", client.Config{}) // takes no pushes, so it never acknowledges
	got := make(chan *protocol.PushMessage, 10)
	srv.Client(t, "ann", receiver(got))
	m := push.Text("please")
	ctx, cancel := context.WithCancel(t.Context())
	result := pushingUntil(ctx, t, service, push.ToUsers("ann", "slow", "deaf", "gone"), m, confirm, func() {})
	receive(t, "the push to ann", got)
	receive(t, "the push to slow", entered)
	cancel()
	ds := deliveries(t, receive(t, "the result", result), nil)
	for user, sessions := range map[string]int{"slow": 1, "deaf": 1, "gone": 0} {
		if d := ds[user]; d.Confirmed != 0 || d.Sessions != sessions {
			t.Errorf("%+v", d)
		}
	}
	close(hold)

	m = push.Text("again")
	if d := deliveries(t, mustPush(t, service, push.ToUsers("ann", "slow"), m, confirm), nil); d["ann"].Confirmed != 1 || d["slow"].Confirmed != 1 {
		t.Errorf("all have confirmed, and the result is %+v", d)
	}

	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := service.Push(ctx, push.ToUsers("deaf"), push.Text("hello?"), confirm)
	if d := deliveries(t, r, err); d["deaf"].Confirmed != 0 || d["deaf"].Sessions != 1 || ctx.Err() == nil {
		t.Errorf("at the deadline (%v) the result is %+v", ctx.Err(), d)
	}
}

// A message that is under way twice is confirmed to both who wait.
func TestOneConfirmationDoesForBoth(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{})
	hold := make(chan struct{})
	srv.Client(t, "ann", client.Config{OnPush: func(*client.Client, *protocol.PushMessage) { <-hold }})
	m := push.Text("twice")
	var results []<-chan push.Result
	for range 2 {
		again := *m
		results = append(results, pushing(t, service, push.ToUsers("ann"), &again))
	}
	rollcalltest.Eventually(t, func() bool { s := sessionsOf(srv.Users, "ann"); return s[0].Out.Messages == 2 }, "both are out")
	close(hold)
	for i := range 2 {
		if r := receive(t, "a result", results[i]); r.Confirmed() != 1 {
			t.Errorf("one of the two has %+v", r)
		}
	}
}

// A client whose connection is lost while it deals with a push acknowledges it on the next one, and that counts: once for
// the connection that it has lost.
func TestAnAcknowledgementOnTheNextConnectionCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		lose   func(*testing.T, *network)
		first  bool // the handler returns while there is no connection
		manual bool // the server leaves the connection that was lost open
	}{
		"reset":                             {lose: func(_ *testing.T, n *network) { n.reset() }},
		"reset, done in between":            {lose: func(_ *testing.T, n *network) { n.reset() }, first: true},
		"pushed out by its next connection": {lose: func(t *testing.T, n *network) { n.lose(t) }},
		"pushed out and not closed":         {lose: func(t *testing.T, n *network) { n.lose(t) }, manual: true},
	} {
		t.Run(name, func(t *testing.T) {
			srv, service := newServer(t, rollcall.Config{Bridge: bridge.Config{ManualClose: tc.manual}})
			var n network
			entered, back := make(chan struct{}, 1), make(chan struct{})
			release, away := make(chan struct{}), make(chan struct{})
			logons := 0
			ann := srv.Client(t, "ann", client.Config{DialContext: n.dial, Reconnect: client.Reconnect{Min: -1},
				Token: func(context.Context) (string, error) {
					if logons++; logons > 1 {
						<-away
					}
					return "", nil
				},
				OnPush: func(*client.Client, *protocol.PushMessage) {
					entered <- struct{}{}
					<-release
				},
			})
			srv.Users.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) { close(back) }})
			result := pushing(t, service, push.ToUsers("ann"), push.Text("hold on"))
			receive(t, "the push", entered)
			old := sessionsOf(srv.Users, "ann")[0].ID
			tc.lose(t, &n)
			if tc.first {
				rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline("ann") && ann.State() == client.Reconnecting },
					"both have noticed")
				close(release)
				close(away)
			} else {
				close(away)
				receive(t, "the next logon", back)
				rollcalltest.Eventually(t, func() bool { s := sessionsOf(srv.Users, "ann"); return len(s) == 1 && s[0].ID != old }, "ann is back")
				close(release)
			}
			if d := deliveries(t, receive(t, "the result", result), nil)["ann"]; d.Sessions != 1 || d.Confirmed != 1 || d.Err != nil {
				t.Errorf("the delivery is %+v", d)
			}
		})
	}
}

// A client that has ended the connection, was thrown out, or was told that the server stops, does not come back to acknowledge:
// Push does not wait for it, not for what is kept either.
func TestNobodyWaitsForASessionThatHasEndedForGood(t *testing.T) {
	for name, end := range map[string]func(*rollcalltest.Server, *client.Client){
		"closed by the client": func(_ *rollcalltest.Server, c *client.Client) { _ = c.Close() },
		"kicked":               func(s *rollcalltest.Server, _ *client.Client) { _, _ = s.Users.Kick("deaf", nil) },
		"stopped":              func(s *rollcalltest.Server, _ *client.Client) { s.Stop() },
	} {
		for kept, o := range map[string]*push.Options{"": {Confirm: true}, ", kept": {Confirm: true, Keep: time.Hour}} {
			t.Run(name+kept, func(t *testing.T) {
				srv, service := newServer(t, rollcall.Config{})
				c := srv.Client(t, "deaf", client.Config{Reconnect: client.Reconnect{Max: -1}}) // takes no pushes, so it never acknowledges
				result := pushingWith(t, service, push.ToUsers("deaf"), push.Text("before the end"), o)
				rollcalltest.Eventually(t, func() bool { return sessionsOf(srv.Users, "deaf")[0].Out.Messages == 1 }, "the push is out")
				end(srv, c)
				if d := deliveries(t, receive(t, "the result", result), nil)["deaf"]; d.Confirmed != 0 || d.Sessions != 1 {
					t.Errorf("the delivery is %+v", d)
				}
			})
		}
	}
}

// pushToDeafAndWell pushes m, until cancel is called, to two sessions of ann's: on device 1 one that acknowledges nothing, on
// device 2 one that has got it, and comes back when its network is reset.
func pushToDeafAndWell(t *testing.T, m *push.Message, deaf, well *network) (srv *rollcalltest.Server, service *push.Service,
	cancel context.CancelFunc, result <-chan push.Result) {
	srv, service = newServer(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}})
	srv.Client(t, "ann", client.Config{Device: 1, DialContext: deaf.dial, Reconnect: client.Reconnect{Max: -1}})
	got := make(chan *protocol.PushMessage, 10)
	cfg := receiver(got)
	cfg.Device, cfg.DialContext, cfg.Reconnect.Min = 2, well.dial, -1
	srv.Client(t, "ann", cfg)
	ctx, cancel := context.WithCancel(t.Context())
	result = pushingUntil(ctx, t, service, push.ToUsers("ann"), m, confirm, func() {})
	receive(t, "the push", got)
	return srv, service, cancel, result
}

// A session that was lost is not confirmed by another one of its user, which was asked itself, however often that
// acknowledges.
func TestASessionAcknowledgesForItselfAlone(t *testing.T) {
	var deaf, well network
	m := push.Text("twice")
	srv, service, cancel, result := pushToDeafAndWell(t, m, &deaf, &well)
	deaf.reset()
	rollcalltest.Eventually(t, func() bool { return len(sessionsOf(srv.Users, "ann")) == 1 }, "the lost session is over")
	again := mustPush(t, service, push.ToUsers("ann"), m, confirm)
	if again.Confirmed() != 1 || again.Sessions() != 1 {
		t.Errorf("the second result is %+v", again)
	}
	cancel()
	if r := receive(t, "the result", result); r.Confirmed() != 1 || r.Sessions() != 2 {
		t.Errorf("the first result is %+v", r)
	}
}

// Nor is it by a client that has acknowledged, was lost as well, is back, and acknowledges the message once more.
func TestAClientThatIsBackAcknowledgesForItselfAlone(t *testing.T) {
	var deaf, well network
	m := push.Text("twice")
	srv, service, cancel, result := pushToDeafAndWell(t, m, &deaf, &well)
	if r := mustPush(t, service, push.ToSessions(usermgr.Filter{Devices: []uint16{2}}), push.Text("and this"), confirm); r.Confirmed() != 1 {
		t.Fatalf("the acknowledgement of what came later is missing: %+v", r)
	}
	deaf.reset()
	rollcalltest.Eventually(t, func() bool { return len(sessionsOf(srv.Users, "ann")) == 1 }, "the deaf session is over")
	old := sessionsOf(srv.Users, "ann")[0].ID
	well.reset()
	rollcalltest.Eventually(t, func() bool { s := sessionsOf(srv.Users, "ann"); return len(s) == 1 && s[0].ID != old }, "the other is back")
	if r := mustPush(t, service, push.ToUsers("ann"), m, confirm); r.Confirmed() != 1 {
		t.Errorf("the second result is %+v", r)
	}
	cancel()
	if r := receive(t, "the result", result); r.Confirmed() != 1 || r.Sessions() != 2 {
		t.Errorf("the first result is %+v", r)
	}
}

// Push waits for Options.Timeout; without it and a deadline of the caller's, for 10 s; with a negative one for as long as it takes.
func TestTimeout(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{})
	hold := make(chan struct{})
	srv.Client(t, "slow", client.Config{OnPush: func(*client.Client, *protocol.PushMessage) { <-hold }})
	if d := push.SetConfirmTimeout(t, 50*time.Millisecond); d != 10*time.Second {
		t.Errorf("it is %v by default", d)
	}
	for _, timeout := range []time.Duration{0, 60 * time.Millisecond} {
		began := time.Now()
		r, err := service.Push(context.Background(), push.ToUsers("slow"), push.Text("please"), &push.Options{Confirm: true, Timeout: timeout})
		if took := time.Since(began); err != nil || r.Sessions() != 1 || r.Confirmed() != 0 || took < max(timeout, 50*time.Millisecond) {
			t.Errorf("after %v the result is %+v, %v", took, r, err)
		}
	}
	result := make(chan push.Result, 1)
	go func() {
		r, _ := service.Push(context.Background(), push.ToUsers("slow"), push.Text("please"), &push.Options{Confirm: true, Timeout: -1})
		result <- r
	}()
	select {
	case r := <-result:
		t.Errorf("without a limit it has ended with %+v", r)
	case <-time.After(150 * time.Millisecond):
	}
	close(hold)
	if r := receive(t, "the result", result); r.Confirmed() != 1 {
		t.Errorf("the result is %+v", r)
	}
}

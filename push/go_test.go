package push_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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

// told returns a function for Go, and where what it is told goes, one result a call.
func told(t *testing.T) (func(push.Result, error), <-chan push.Result) {
	results := make(chan push.Result, 1000)
	return func(r push.Result, err error) {
		if err != nil {
			t.Error(err)
		}
		results <- r
	}, results
}

// Rule 27: a device that never acknowledges holds nothing up. The others get each message at once, in the order of the calls,
// and each session's outcome is told by its connection and device.
func TestADeviceThatConfirmsLateHoldsUpNothing(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}})
	release := make(chan struct{})
	srv.Client(t, "ann", client.Config{Device: 1, OnPush: func(*client.Client, *protocol.PushMessage) { <-release }})
	got := make(chan *protocol.PushMessage, 100)
	cfg := receiver(got)
	cfg.Device = 2
	srv.Client(t, "ann", cfg)
	conns := make(map[uint16]uint64)
	for _, s := range sessionsOf(srv.Users, "ann") {
		conns[s.Device] = s.Address.Conn
	}
	const messages = 20
	all := make([]<-chan push.Result, messages)
	for i := range all {
		var done func(push.Result, error)
		done, all[i] = told(t)
		service.Go(push.ToUsers("ann"), push.Text(fmt.Sprint(i)), &push.Options{Confirm: true, Timeout: time.Minute}, done)
	}
	tell := func(i int, device uint16, pending int) {
		t.Helper()
		r := receive(t, "the news", all[i])
		if len(r.Deliveries) != 1 || r.Pending != pending {
			t.Fatalf("message %d: %+v", i, r)
		}
		if d := r.Deliveries[0]; d.UserID != "ann" || d.Device != device || d.Conn != conns[device] || !d.Confirmed || d.Err != nil {
			t.Errorf("message %d: %+v", i, d)
		}
	}
	for i := range messages {
		if p := receive(t, "the next message", got); string(p.Content) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, p.Content)
		}
		tell(i, 2, 1)
	}
	close(release)
	for i := range messages {
		tell(i, 1, 0)
	}
}

// First is told by one session's acknowledgement, and with it what is known of the others.
func TestFirstIsEnough(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}})
	srv.Client(t, "ann", client.Config{Device: 1}) // takes no pushes, so it never acknowledges
	got := make(chan *protocol.PushMessage, 10)
	cfg := receiver(got)
	cfg.Device = 2
	srv.Client(t, "ann", cfg)
	o := &push.Options{Confirm: true, First: true, Timeout: time.Minute}
	done, news := told(t)
	service.Go(push.ToUsers("ann"), push.Text("a"), o, done)
	var ds []push.Delivery
	for pending := 1; pending > 0; {
		r := receive(t, "the news", news)
		ds, pending = append(ds, r.Deliveries...), r.Pending
	}
	for _, ds := range [][]push.Delivery{ds, mustPush(t, service, push.ToUsers("ann"), push.Text("b"), o).Deliveries} {
		slices.SortFunc(ds, func(a, b push.Delivery) int { return int(a.Device) - int(b.Device) })
		if len(ds) != 2 || ds[0].Confirmed || ds[0].Err != nil || !ds[1].Confirmed || ds[1].Device != 2 {
			t.Errorf("the deliveries are %+v", ds)
		}
	}
}

// Without acknowledgements the report comes at once, for all targets, also for an empty one; and done may be nil.
func TestGoTellsWhatIsKnownAtOnce(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{})
	got := make(chan *protocol.PushMessage, 10)
	srv.Client(t, "ann", receiver(got))
	for name, tc := range map[string]struct {
		to      push.Target
		o       *push.Options
		reached int
		errs    int
	}{
		"users":                 {push.ToUsers("ann", "bob"), nil, 1, 1},
		"confirmed and offline": {push.ToUsers("bob"), confirm, 0, 1},
		"everyone":              {push.ToEveryone(), nil, 1, 0},
		"a filter":              {push.ToSessions(usermgr.Filter{}), nil, 1, 0},
		"a filter for nobody":   {push.ToSessions(usermgr.Filter{Devices: []uint16{9}}), confirm, 0, 0},
	} {
		done, news := told(t)
		service.Go(tc.to, push.Text(name), tc.o, done)
		r := receive(t, "the news of "+name, news)
		if r.Pending != 0 || r.Sessions() != tc.reached || len(r.Deliveries) != tc.reached+tc.errs {
			t.Errorf("%s: %+v", name, r)
		}
		service.Go(tc.to, push.Text(name), tc.o, nil)
		for range 2 * tc.reached {
			receive(t, name, got)
		}
	}
}

// A function that Go tells may panic, end its goroutine, block, and push itself: it holds up what is told later, and neither
// messages nor the service's end.
func TestAFunctionThatGoTellsIsContained(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Engine: engine.Config{Loops: 1}}, quiet)
	got := make(chan *protocol.PushMessage, 10)
	srv.Client(t, "ann", receiver(got))
	to := push.ToUsers("ann")
	service.Go(to, push.Text("panics"), confirm, func(push.Result, error) { panic("done") })
	service.Go(to, push.Text("exits"), confirm, func(push.Result, error) { runtime.Goexit() })
	entered, release := make(chan struct{}), make(chan struct{})
	service.Go(to, push.Text("blocks"), confirm, func(push.Result, error) {
		close(entered)
		<-release
	})
	receive(t, "the function that blocks", entered)
	done, news := told(t)
	service.Go(to, push.Text("waits"), confirm, done)
	if r := mustPush(t, service, to, push.Text("at once"), confirm); r.Confirmed() != 1 {
		t.Errorf("while a function blocks: %+v", r)
	}
	if len(news) > 0 {
		t.Error("two functions run at a time")
	}
	close(release)
	if r := receive(t, "the news", news); r.Confirmed() != 1 {
		t.Errorf("%+v", r)
	}
	service.Go(to, push.Text("pushes"), confirm, func(push.Result, error) {
		if r, err := service.Push(context.Background(), to, push.Text("inside"), confirm); err != nil || r.Confirmed() != 1 {
			t.Errorf("inside: %+v, %v", r, err)
		}
		service.Go(to, push.Text("and on"), confirm, done)
	})
	receive(t, "the news of what was pushed inside", news)
	for range 7 {
		receive(t, "a message", got)
	}
	if n := service.Stats().Panics; n != 2 {
		t.Errorf("%d panics are counted", n)
	}
}

// Close tells what waits, and lets nothing new in.
func TestCloseTellsWhatWaits(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{})
	srv.Client(t, "deaf", client.Config{})
	done, news := told(t)
	for _, to := range []string{"deaf", "away"} {
		service.Go(push.ToUsers(to), push.Text("x"), &push.Options{Confirm: true, Keep: time.Hour}, done)
	}
	service.Go(push.ToUsers("deaf"), push.Text("x"), &push.Options{Confirm: true, Timeout: -1}, done)
	waiting := pushing(t, service, push.ToUsers("deaf"), push.Text("x"))
	rollcalltest.Eventually(t, func() bool { return service.Stats().Waiting == 4 }, "all wait")
	if err := service.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 { // Close has waited until they were told
		select {
		case r := <-news:
			if len(r.Deliveries) != 1 || !errors.Is(r.Deliveries[0].Err, protocol.ServerStopping) || r.Pending != 0 {
				t.Errorf("%+v", r)
			}
		default:
			t.Fatal("Close has not waited for the news")
		}
	}
	if r := receive(t, "the result", waiting); len(r.Deliveries) != 1 || !errors.Is(r.Deliveries[0].Err, protocol.ServerStopping) {
		t.Errorf("%+v", r)
	}
	if _, err := service.Push(t.Context(), push.ToUsers("deaf"), push.Text("x"), nil); !errors.Is(err, protocol.ServerStopping) {
		t.Errorf("a push to a closed service: %v", err)
	}
	late := make(chan error, 1)
	service.Go(push.ToUsers("deaf"), push.Text("x"), nil, func(_ push.Result, err error) { late <- err })
	if err := receive(t, "the news", late); !errors.Is(err, protocol.ServerStopping) {
		t.Errorf("Go on a closed service: %v", err)
	}
}

// Without Keep an acknowledgement is waited for until the time is over, or the session has ended for good.
func TestGoGivesUp(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{})
	deaf := srv.Client(t, "deaf", client.Config{Reconnect: client.Reconnect{Max: -1}})
	done, news := told(t)
	service.Go(push.ToUsers("deaf"), push.Text("x"), &push.Options{Confirm: true, Timeout: 20 * time.Millisecond}, done)
	if r := receive(t, "the end of the time", news); r.Pending != 0 || r.Confirmed() != 0 || r.Sessions() != 1 {
		t.Errorf("%+v", r)
	}
	service.Go(push.ToUsers("deaf"), push.Text("x"), &push.Options{Confirm: true, Timeout: -1}, done)
	rollcalltest.Eventually(t, func() bool { return service.Stats().Waiting == 1 }, "it waits")
	_ = deaf.Close()
	if r := receive(t, "the end of the session", news); r.Pending != 0 || r.Confirmed() != 0 || r.Sessions() != 1 {
		t.Errorf("%+v", r)
	}
	if st := service.Stats(); st.Unconfirmed != 2 || st.Confirmed != 0 {
		t.Errorf("%+v", st)
	}
	service.Go(push.ToUsers("deaf"), push.Text("x"), confirm, done)
	if r := receive(t, "that the user is offline", news); !errors.Is(r.Deliveries[0].Err, protocol.UserOffline) {
		t.Errorf("%+v", r)
	}
}

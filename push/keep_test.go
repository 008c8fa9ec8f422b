package push_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

var keep = &push.Options{Confirm: true, Keep: time.Hour}

// Rule 27: what is kept for a user who was never there goes out when the user comes, in order and before what is pushed by a
// Connected handler; Push does not wait for a user who is away.
func TestWhatIsKeptGoesOutFirst(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{})
	srv.Users.Subscribe(usermgr.Events{Connected: func(s usermgr.SessionInfo) {
		service.Go(push.ToUsers(s.UserID), push.Text("welcome"), nil, nil)
	}})
	done, news := told(t)
	for i := range 3 {
		service.Go(push.ToUsers("ann"), push.Text(fmt.Sprint(i)), keep, done)
	}
	began := time.Now()
	r := mustPush(t, service, push.ToUsers("ann"), push.Text("3"), keep)
	if d := r.Deliveries; len(d) != 1 || d[0] != (push.Delivery{UserID: "ann"}) || time.Since(began) > testkit.Patience {
		t.Errorf("to a user who is away, after %v: %+v", time.Since(began), r)
	}
	got := make(chan *protocol.PushMessage, 10)
	srv.Client(t, "ann", receiver(got))
	for _, want := range []string{"0", "1", "2", "3", "welcome"} {
		if p := receive(t, "the next message", got); string(p.Content) != want {
			t.Fatalf("ann got %q, want %q", p.Content, want)
		}
	}
	conn := sessionsOf(srv.Users, "ann")[0].Address.Conn
	for range 3 {
		if r := receive(t, "the news", news); len(r.Deliveries) != 1 || !r.Deliveries[0].Confirmed || r.Deliveries[0].Conn != conn {
			t.Errorf("%+v", r)
		}
	}
	rollcalltest.Eventually(t, func() bool { return service.Stats().Kept == 0 }, "all is acknowledged")
	if st := service.Stats(); st.Confirmed != 4 || st.Again != 4 || st.KeptBytes != 0 {
		t.Errorf("%+v", st)
	}
}

// Rule 27: a message that a session has got and not acknowledged waits for the next, however the session has ended.
func TestWhatWasNotAcknowledgedIsKeptHoweverTheSessionEnded(t *testing.T) {
	for name, end := range map[string]func(*rollcalltest.Server, *client.Client, *network){
		"reset":                func(_ *rollcalltest.Server, _ *client.Client, n *network) { n.reset() },
		"closed by the client": func(_ *rollcalltest.Server, c *client.Client, _ *network) { _ = c.Close() },
		"kicked": func(s *rollcalltest.Server, _ *client.Client, _ *network) {
			_, _ = s.Users.Kick("ann", nil)
		},
		"pushed out": func(s *rollcalltest.Server, _ *client.Client, _ *network) {},
	} {
		t.Run(name, func(t *testing.T) {
			srv, service := newServer(t, rollcall.Config{})
			var n network
			deaf := srv.Client(t, "ann", client.Config{DialContext: n.dial, Reconnect: client.Reconnect{Max: -1}})
			done, news := told(t)
			service.Go(push.ToUsers("ann"), push.Text("0"), keep, done)
			service.Go(push.ToEveryone(), push.Text("1"), keep, done)
			service.Go(push.ToSessions(usermgr.Filter{}), push.Text("2"), keep, done)
			if end(srv, deaf, &n); name != "pushed out" {
				rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline("ann") }, "the session is over")
			}
			service.Go(push.ToUsers("ann"), push.Text("3"), keep, done)
			got := make(chan *protocol.PushMessage, 10)
			srv.Client(t, "ann", receiver(got))
			for i := range 4 {
				if p := receive(t, "the next message", got); string(p.Content) != fmt.Sprint(i) {
					t.Fatalf("message %d is %q", i, p.Content)
				}
				if r := receive(t, "the news", news); r.Confirmed() != 1 || r.Pending != 0 {
					t.Errorf("message %d: %+v", i, r)
				}
			}
		})
	}
}

// What is kept for sessions goes to a session of the same device class alone.
func TestWhatIsKeptForSessionsGoesToTheirDevice(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}})
	var n network
	srv.Client(t, "ann", client.Config{Device: 1, DialContext: n.dial, Reconnect: client.Reconnect{Max: -1}})
	done, news := told(t)
	service.Go(push.ToSessions(usermgr.Filter{Devices: []uint16{1}}), push.Text("for the phone"), keep, done)
	n.reset()
	rollcalltest.Eventually(t, func() bool { return !srv.Users.IsOnline("ann") }, "the session is over")
	service.Go(push.ToUsers("ann"), push.Text("for all"), keep, done)
	receivesOn(t, srv, 2, "for all")
	if r := receive(t, "the news", news); r.Confirmed() != 1 || r.Deliveries[0].Device != 2 {
		t.Errorf("%+v", r)
	}
	receivesOn(t, srv, 1, "for the phone")
	if r := receive(t, "the news", news); r.Confirmed() != 1 || r.Deliveries[0].Device != 1 {
		t.Errorf("%+v", r)
	}
}

// between is a user manager in which something happens between two questions of the service's.
type between struct {
	*usermgr.Manager
	forgets atomic.Bool                                      // the device classes of sessions, as of those that have ended
	links   func(asked func() []usermgr.Link) []usermgr.Link // in the place of Links, when set
}

func (m *between) SessionAt(conn uint64) (usermgr.SessionInfo, bool) {
	if m.forgets.Load() {
		return usermgr.SessionInfo{}, false
	}
	return m.Manager.SessionAt(conn)
}

func (m *between) Links(userID string) []usermgr.Link {
	if m.links != nil {
		return m.links(func() []usermgr.Link { return m.Manager.Links(userID) })
	}
	return m.Manager.Links(userID)
}

// newServerBetween is newServer with such a user manager.
func newServerBetween(t *testing.T) (*between, *rollcalltest.Server, *push.Service) {
	users := &between{Manager: testkit.Must(usermgr.New(usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}, Logger: zap.NewNop()}))}
	e := testkit.Must(engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}, Logger: zap.NewNop()}))
	b := testkit.Must(bridge.Attach(e, users, nil, bridge.Config{Logger: zap.NewNop()}))
	service := push.New(b)
	srv := &rollcalltest.Server{Server: &rollcall.Server{Engine: e, Bridge: b, Users: users.Manager}}
	if err := e.Listen(); err != nil {
		t.Fatal(err)
	}
	srv.Addr = e.Addrs()[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- srv.Server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, "the end", ran); err != nil {
			t.Error(err)
		}
		if err := service.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return users, srv, service
}

// Rule 27: the device class is that of the session that was meant, also where the session ends while the message is on its way.
func TestWhatIsKeptForASessionThatEndsMeanwhileGoesToItsDevice(t *testing.T) {
	users, srv, service := newServerBetween(t)
	var n network
	srv.Client(t, "ann", client.Config{Device: 1, DialContext: n.dial, Reconnect: client.Reconnect{Max: -1}})
	done, news := told(t)
	users.forgets.Store(true)
	service.Go(push.ToSessions(usermgr.Filter{Devices: []uint16{1}}), push.Text("for the phone"), keep, done)
	users.forgets.Store(false)
	n.reset()
	rollcalltest.Eventually(t, func() bool { return !users.IsOnline("ann") }, "the session is over")
	receivesOn(t, srv, 2)
	receivesOn(t, srv, 1, "for the phone")
	if r := receive(t, "the news", news); r.Confirmed() != 1 || r.Deliveries[0].Device != 1 {
		t.Errorf("%+v", r)
	}
}

// Rule 27: a session that takes another's place while a message is handed out, since a third one has just closed, gets the message in
// the other's place. As a delivery of its own it would leave one behind that no session confirms.
func TestASessionThatTookAPlaceMeanwhileIsNoDeliveryOfItsOwn(t *testing.T) {
	users, srv, service := newServerBetween(t)
	var phone network
	srv.Client(t, "ann", client.Config{Device: 1, DialContext: phone.dial, Reconnect: client.Reconnect{Max: -1}}) // does not confirm
	srv.Client(t, "ann", client.Config{Device: 2, Reconnect: client.Reconnect{Max: -1}})
	sessions := users.Manager.Links("ann")
	for _, s := range sessionsOf(srv.Users, "ann") {
		if s.Device == 2 {
			srv.Engine.Conn(s.Address.Conn).Close(protocol.KickedOut)
		}
	}
	rollcalltest.Eventually(t, func() bool { return len(sessionsOf(srv.Users, "ann")) == 1 }, "device 2 has gone")
	got := make(chan *protocol.PushMessage, 10)
	asked := 0
	users.links = func(now func() []usermgr.Link) []usermgr.Link {
		switch asked++; asked {
		case 1: // device 2 still among them
			return sessions
		case 2:
			phone.reset()
			rollcalltest.Eventually(t, func() bool { return !users.IsOnline("ann") }, "the phone is offline")
			cfg := receiver(got)
			cfg.Device = 1
			srv.Client(t, "ann", cfg)
		}
		return now()
	}
	done, news := told(t)
	service.Go(push.ToUsers("ann"), push.Text("hello"), keep, done)
	receive(t, "the message", got)
	if r := receive(t, "the news", news); r.Confirmed() != 1 || len(r.Deliveries) != 1 {
		t.Errorf("%+v", r)
	}
	rollcalltest.Eventually(t, func() bool { s := service.Stats(); return s.Kept == 0 && s.Waiting == 0 }, "nothing is kept")
}

// Rule 27: a session that takes the place of one that has confirmed may be the same client: it confirms for no other session, also
// where the connection of the one before is still open, as with ManualClose.
func TestASessionInThePlaceOfOneThatHasConfirmedConfirmsForNoOther(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}, Bridge: bridge.Config{ManualClose: true}})
	var laptop network
	srv.Client(t, "ann", client.Config{Device: 2, DialContext: laptop.dial, Reconnect: client.Reconnect{Max: -1}}) // does not confirm
	got := make(chan *protocol.PushMessage, 10)
	phone := receiver(got)
	phone.Device, phone.Reconnect.Max = 1, -1
	srv.Client(t, "ann", phone)
	done, news := told(t)
	service.Go(push.ToUsers("ann"), push.Text("hello"), keep, done)
	receive(t, "the message", got)
	if r := receive(t, "the news", news); r.Confirmed() != 1 || r.Deliveries[0].Device != 1 {
		t.Errorf("%+v", r)
	}
	srv.Client(t, "ann", phone)
	receive(t, "the message in the first phone's place", got)
	laptop.reset()
	rollcalltest.Eventually(t, func() bool { return len(sessionsOf(srv.Users, "ann")) == 1 }, "the laptop is offline")
	receivesOn(t, srv, 2, "hello")
	if r := receive(t, "the news", news); r.Confirmed() != 1 || len(r.Deliveries) != 1 || r.Deliveries[0].Device != 2 {
		t.Errorf("%+v", r)
	}
}

// receivesOn logs ann on, and checks what comes, and that nothing else does.
func receivesOn(t *testing.T, srv *rollcalltest.Server, device uint16, wants ...string) {
	t.Helper()
	got := make(chan string, 10)
	c := srv.Client(t, "ann", client.Config{Device: device,
		OnPush:        func(_ *client.Client, p *protocol.PushMessage) { got <- string(p.Content) },
		HandleDefault: func(*client.Client, *protocol.Message) error { got <- "the end"; return nil }})
	rollcalltest.Eventually(t, func() bool {
		for _, s := range sessionsOf(srv.Users, "ann") {
			if s.Device == device {
				return srv.Engine.Conn(s.Address.Conn).Send(1, nil) == nil
			}
		}
		return false
	}, "%s is there", c.UserID())
	for _, want := range append(wants, "the end") {
		if g := receive(t, "what comes", got); g != want {
			t.Errorf("device %d got %q, want %q", device, g, want)
		}
	}
}

// The bounds in bytes hold for a user, and for all. A message over them still reaches users online, and is reported.
func TestTheBoundsInBytes(t *testing.T) {
	const size = 1000 + 256 + 28 // with a push's head
	for name, cfg := range map[string]push.Config{
		"a user": {MaxBytes: 3 * size},
		"all":    {MaxTotalBytes: 3 * size},
	} {
		t.Run(name, func(t *testing.T) {
			srv, service := newServer(t, rollcall.Config{}, cfg)
			content := make([]byte, 1000)
			done, news := told(t)
			for range 4 {
				service.Go(push.ToUsers("ann"), push.Binary(content), keep, done)
			}
			if r := receive(t, "the news", news); len(r.Deliveries) != 1 || !errors.Is(r.Deliveries[0].Err, protocol.Refused) {
				t.Errorf("what is too much has %+v", r)
			}
			if st := service.Stats(); st.Kept != 3 || st.KeptBytes != 3*size || st.Refused != 1 {
				t.Errorf("%+v", st)
			}
			got := make(chan *protocol.PushMessage, 10)
			srv.Client(t, "bob", receiver(got))
			if r := mustPush(t, service, push.ToUsers("bob"), push.Binary(content), keep); r.Confirmed() != 1 {
				t.Errorf("to a user who is there: %+v", r)
			}
			srv.Client(t, "ann", receiver(got))
			for range 3 {
				if r := receive(t, "the news", news); r.Confirmed() != 1 {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// Negative bounds are none, and a negative Keep keeps nothing.
func TestNegativeIsNone(t *testing.T) {
	_, service := newServer(t, rollcall.Config{}, push.Config{MaxMessages: -1, MaxBytes: -1, MaxTotalBytes: -1})
	for range 2000 {
		service.Go(push.ToUsers("ann"), push.Binary(make([]byte, 500)), keep, nil)
	}
	if st := service.Stats(); st.Kept != 2000 || st.Refused != 0 {
		t.Errorf("%+v", st)
	}
	r := mustPush(t, service, push.ToUsers("bob"), push.Text("x"), &push.Options{Keep: -1})
	if len(r.Deliveries) != 1 || r.Deliveries[0].Err == nil {
		t.Errorf("%+v", r)
	}
}

// Rule 27: what a push to a user with many sessions costs grows with their number, not with its square: twice the sessions are
// looked at twice as often.
func TestAPushToManySessionsCostsNoMoreThanTheirNumber(t *testing.T) {
	const n = 20
	srv, service := newServer(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{MaxSessions: 2 * n}}})
	looks := func(user string, sessions int) int {
		for range sessions {
			srv.Client(t, user, client.Config{}) // it takes no pushes, and acknowledges none
		}
		service.Go(push.ToUsers(user), push.Text("to all"), keep, nil)
		return service.Looks(user)
	}
	once, twice := looks("ann", n), looks("bob", 2*n)
	if once < n || 5*twice > 11*once {
		t.Errorf("%d looks for %d sessions, %d for twice as many", once, n, twice)
	}
}

package push_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// receive is testkit.Receive.
func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	return testkit.Receive(t, what, ch)
}

// newServer starts a server with a service, which is closed after it.
func newServer(t *testing.T, cfg rollcall.Config, pushes ...push.Config) (*rollcalltest.Server, *push.Service) {
	var service *push.Service
	srv := rollcalltest.NewServer(t, cfg, func(s *rollcall.Server) { service = push.New(s.Bridge, pushes...) })
	t.Cleanup(func() { closeService(t, srv, service) })
	return srv, service
}

// closeService stops the server and closes the service, of which nothing is left then.
func closeService(t *testing.T, srv *rollcalltest.Server, service *push.Service) {
	srv.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := service.Close(ctx); err != nil {
		t.Errorf("the service did not end: %v", err)
	}
	if st := service.Stats(); st.Waiting != 0 || st.Kept != 0 || st.KeptBytes != 0 || service.Outboxes() != 0 {
		t.Errorf("after the end there are %d outboxes, and %+v", service.Outboxes(), st)
	}
}

// receiver is a client's configuration that notes what is pushed.
func receiver(got chan<- *protocol.PushMessage) client.Config {
	return client.Config{OnPush: func(_ *client.Client, p *protocol.PushMessage) { got <- p }}
}

// outcome is what became of a message for a user.
type outcome struct {
	Sessions, Confirmed int
	Err                 error
}

// deliveries gathers those of the server's sessions by user.
func deliveries(t *testing.T, r push.Result, err error) map[string]outcome {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	byUser := make(map[string]outcome)
	for _, d := range r.Deliveries {
		if d.Pusher != "" {
			continue
		}
		o := byUser[d.UserID]
		if d.Conn != 0 && d.Err == nil {
			o.Sessions++
		}
		if d.Confirmed {
			o.Confirmed++
		}
		o.Err = errors.Join(o.Err, d.Err)
		byUser[d.UserID] = o
	}
	return byUser
}

// mustPush pushes, and returns the result.
func mustPush(t *testing.T, service *push.Service, to push.Target, m *push.Message, o *push.Options) push.Result {
	t.Helper()
	r, err := service.Push(t.Context(), to, m, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// quiet is for tests in which something is to be logged.
var quiet = push.Config{Logger: zap.NewNop()}

var confirm = &push.Options{Confirm: true}

// S4: a push goes to a user, to users, to everyone, to the sessions of a filter; each message has its kind, an ID, a time
// and metadata.
func TestPushReachesItsTarget(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Users: usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}})
	got := map[string]chan *protocol.PushMessage{}
	for _, c := range []struct {
		user   string
		device uint16
	}{{"ann", 1}, {"ann", 2}, {"bob", 1}} {
		ch := make(chan *protocol.PushMessage, 10)
		got[fmt.Sprint(c.user, c.device)] = ch
		cfg := receiver(ch)
		cfg.Device = c.device
		srv.Client(t, c.user, cfg)
	}
	custom := push.Custom("score", []byte("3:1"))
	custom.Metadata = map[string]string{"game": "7"}
	for _, tc := range []struct {
		name   string
		to     push.Target
		m      *push.Message
		reach  []string
		counts map[string]int // sessions by user; -1 for offline
	}{
		{"a user", push.ToUsers("ann"), push.Text("hello"), []string{"ann1", "ann2"}, map[string]int{"ann": 2}},
		{"users, one of them offline and one named twice", push.ToUsers("bob", "carol", "bob"), push.Binary([]byte{0xff}),
			[]string{"bob1"}, map[string]int{"bob": 1, "carol": -1}},
		{"everyone", push.ToEveryone(), push.Notification("lunch"), []string{"ann1", "ann2", "bob1"}, map[string]int{"ann": 2, "bob": 1}},
		{"a filter", push.ToSessions(usermgr.Filter{Devices: []uint16{1}}), custom, []string{"ann1", "bob1"}, map[string]int{"ann": 1, "bob": 1}},
	} {
		r, err := service.Push(t.Context(), tc.to, tc.m, nil)
		ds := deliveries(t, r, err)
		if len(ds) != len(tc.counts) {
			t.Errorf("%s: %d deliveries %+v", tc.name, len(ds), ds)
		}
		for user, n := range tc.counts {
			d := ds[user]
			if n < 0 && !errors.Is(d.Err, protocol.UserOffline) || n >= 0 && (d.Sessions != n || d.Err != nil) {
				t.Errorf("%s: %+v", tc.name, d)
			}
		}
		for _, who := range tc.reach {
			p := receive(t, "the push to "+who, got[who])
			if p.ID != r.ID || p.Kind != tc.m.Kind || string(p.Content) != string(tc.m.Content) || p.Name != tc.m.Name ||
				p.Metadata["game"] != tc.m.Metadata["game"] || time.Since(p.Time).Abs() > time.Minute {
				t.Errorf("%s: %s got %+v, want %+v", tc.name, who, p, tc.m)
			}
		}
	}
	for who, ch := range got {
		if len(ch) > 0 {
			t.Errorf("%s got too much: %+v", who, <-ch)
		}
	}
}

// countingCodec is the binary format, and counts the pushes that it encodes.
type countingCodec struct {
	protocol.Codec
	pushes atomic.Int64
}

func (c *countingCodec) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	if m.Type == protocol.TypePush {
		c.pushes.Add(1)
	}
	return c.Codec.Append(dst, m)
}

// A push to many is encoded once, not once for each of them.
func TestAPushToManyIsEncodedOnce(t *testing.T) {
	codec := &countingCodec{Codec: protocol.Binary}
	srv, service := newServer(t, rollcall.Config{Engine: engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0", Codec: codec}}}})
	const users = 20
	for i := range users {
		srv.Client(t, fmt.Sprint("user", i), client.Config{OnPush: func(*client.Client, *protocol.PushMessage) {}})
	}
	for name, to := range map[string]push.Target{"everyone": push.ToEveryone(), "a filter": push.ToSessions(usermgr.Filter{})} {
		codec.pushes.Store(0)
		r := mustPush(t, service, to, push.Text("all"), confirm)
		if n := codec.pushes.Load(); n != 1 || r.Sessions() != users || r.Confirmed() != users {
			t.Errorf("%s: encoded %d times for %d sessions, of which %d have confirmed", name, n, r.Sessions(), r.Confirmed())
		}
	}
}

type failing struct{ err error }

func (p failing) Push(context.Context, push.Target, *push.Message) ([]push.Delivery, error) {
	if p.err == nil {
		panic("pusher")
	}
	return nil, p.err
}

// S5: every registered pusher gets each message, in order, for each target, online or not, by Push and by Go; one that fails or
// panics stops nothing and is told; the pusher in memory records messages, and forgets the oldest.
func TestEveryPusherGetsEachMessage(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{}, quiet)
	broken := errors.New("broken")
	first, last := &push.Memory{Max: 2}, &push.Memory{}
	service.Register("first", first)
	service.Register("fails", failing{broken})
	service.Register("panics", failing{})
	unregister := service.Register("last", last)
	got := make(chan *protocol.PushMessage, 10)
	srv.Client(t, "ann", receiver(got))

	for i := range 4 {
		to, m := push.ToUsers("ann", "bob"), push.Text(fmt.Sprint(i))
		var r push.Result
		var err error
		if i%2 == 0 {
			r, err = service.Push(t.Context(), to, m, nil)
		} else {
			all := make(chan push.Result)
			service.Go(to, m, nil, func(part push.Result, partErr error) {
				r.Deliveries, err = append(r.Deliveries, part.Deliveries...), errors.Join(err, partErr)
				if part.Pending == 0 {
					close(all)
				}
			})
			receive(t, "the last news", all)
		}
		if err == nil || !errors.Is(err, broken) || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("the failures are told as %v", err)
		}
		var names []string
		for _, d := range r.Deliveries {
			names = append(names, d.Pusher)
		}
		if i%2 == 1 {
			slices.Sort(names) // with Go they do not wait for each other
		}
		if !slices.Equal(names, []string{"", "", "first", "first", "last", "last"}) {
			t.Errorf("the pushers have delivered in the order %q", names)
		}
		if ds := deliveries(t, r, nil); ds["ann"].Sessions != 1 || !errors.Is(ds["bob"].Err, protocol.UserOffline) {
			t.Errorf("the sessions' deliveries: %+v", ds)
		}
		if p := receive(t, "the push", got); string(p.Content) != fmt.Sprint(i) {
			t.Errorf("ann got %q", p.Content)
		}
	}
	unregister()
	_, _ = service.Push(t.Context(), push.ToEveryone(), push.Text("4"), nil)
	contents := func(ms []push.Kept) (out []string) {
		for _, m := range ms {
			out = append(out, string(m.Message.Content))
		}
		return out
	}
	if kept := contents(first.All()); !slices.Equal(kept, []string{"3", "4"}) {
		t.Errorf("a Memory of two has %q", kept)
	}
	if kept := contents(last.All()); !slices.Equal(kept, []string{"0", "1", "2", "3"}) {
		t.Errorf("the last pusher has %q", kept)
	}
}

// A Memory records as many messages as it is told, a thousand without a number, and forgets the oldest.
func TestAMemoryForgetsTheOldest(t *testing.T) {
	for most, want := range map[int]int{3: 3, 0: 1000, -1: 1200} {
		m := &push.Memory{Max: most}
		for i := range 1200 {
			if _, err := m.Push(t.Context(), push.ToEveryone(), push.Text(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		all := m.All()
		if len(all) != want || string(all[0].Message.Content) != fmt.Sprint(1200-want) || string(all[want-1].Message.Content) != "1199" {
			t.Errorf("with Max %d it has %d messages", most, len(all))
		}
	}
}

// Bad input gets an error that says what was wrong, and goes nowhere.
func TestPushRefusesWhatIsNoPush(t *testing.T) {
	_, service := newServer(t, rollcall.Config{})
	memory := &push.Memory{}
	service.Register("memory", memory)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		to push.Target
		m  *push.Message
	}{
		"no target":         {push.Target{}, push.Text("x")},
		"two targets":       {push.Target{Users: []string{"ann"}, Everyone: true}, push.Text("x")},
		"a blank user":      {push.ToUsers("ann", ""), push.Text("x")},
		"a text of bytes":   {push.ToEveryone(), push.Text("\xff")},
		"a custom nameless": {push.ToEveryone(), push.Custom("", nil)},
	} {
		if r, err := service.Push(t.Context(), tc.to, tc.m, nil); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
		told := make(chan error, 2)
		service.Go(tc.to, tc.m, nil, func(_ push.Result, err error) { told <- err })
		if err := receive(t, "the news of "+name, told); err == nil {
			t.Errorf("Go of %s: no error", name)
		}
	}
	if _, err := service.Push(ended, push.ToUsers("ann"), push.Text("x"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	if _, err := service.Kick(t.Context(), "", nil); !errors.Is(err, usermgr.ErrBlankID) {
		t.Errorf("a kick of a blank user: %v", err)
	}
	if kept := memory.All(); len(kept) > 0 {
		t.Errorf("the pusher got %+v", kept)
	}
}

// A service that could deliver nothing names the mistake.
func TestAServiceNeedsABridgeAndPushers(t *testing.T) {
	_, service := newServer(t, rollcall.Config{})
	for name, f := range map[string]func(){
		"needs a bridge":   func() { push.New(nil) },
		"needs a pusher":   func() { service.Register("none", nil) },
		"takes one Config": func() { push.New(new(bridge.Bridge), push.Config{}, push.Config{}) },
	} {
		func() {
			defer func() {
				if said := fmt.Sprint(recover()); !strings.Contains(said, name) {
					t.Errorf("it panics with %q, which does not say %q", said, name)
				}
			}()
			f()
		}()
	}
}

// A push's frame takes its place behind what was sent before, and nothing of the application's is needed to handle it.
func TestPushKeepsTheOrder(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Engine: engine.Config{Loops: 1}})
	order := make(chan string, 100)
	srv.Client(t, "ann", client.Config{
		HandleDefault: func(_ *client.Client, m *protocol.Message) error { order <- string(m.Body); return nil },
		OnPush:        func(_ *client.Client, p *protocol.PushMessage) { order <- string(p.Content) },
	})
	for i := range 50 {
		if err := srv.Bridge.Send("ann", 1, fmt.Append(nil, 2*i)); err != nil {
			t.Fatal(err)
		}
		to := push.ToUsers("ann")
		if i%2 == 1 {
			to = push.ToEveryone()
		}
		mustPush(t, service, to, push.Text(fmt.Sprint(2*i+1)), nil)
	}
	for i := range 100 {
		if got := receive(t, "the next message", order); got != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
}

// A message that is too large is reported as such for each user, and no acknowledgement is awaited.
func TestPushOfTooMuch(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{Engine: engine.Config{Limits: engine.Limits{MaxOutbound: 64 << 10}}})
	srv.Client(t, "ann", client.Config{})
	m := push.Binary(make([]byte, 128<<10))
	for name, to := range map[string]push.Target{"a user": push.ToUsers("ann"), "everyone": push.ToEveryone()} {
		r := mustPush(t, service, to, m, &push.Options{Confirm: true, Keep: time.Hour}) // nor is it kept
		if n := r.Sessions(); n != 0 {
			t.Errorf("%s: the result counts %d sessions", name, n)
		}
		if ds := r.Deliveries; len(ds) != 1 || !errors.Is(ds[0].Err, protocol.MessageTooLarge) {
			t.Errorf("%s: the deliveries are %+v", name, ds)
		}
	}
}

// A session is reached by a filter while its Connected handlers run: the message comes behind the answer to the logon.
func TestPushReachesWhoIsBeingLetIn(t *testing.T) {
	srv, service := newServer(t, rollcall.Config{})
	pushed := make(chan push.Result, 1)
	srv.Users.Subscribe(usermgr.Events{Connected: func(usermgr.SessionInfo) {
		r, _ := service.Push(context.Background(), push.ToSessions(usermgr.Filter{}), push.Text("welcome"), nil)
		pushed <- r
	}})
	got := make(chan *protocol.PushMessage, 1)
	srv.Client(t, "ann", receiver(got))
	if r := receive(t, "the result", pushed); r.Sessions() != 1 {
		t.Errorf("the result is %+v", r)
	}
	if p := receive(t, "the welcome", got); string(p.Content) != "welcome" {
		t.Errorf("ann got %q", p.Content)
	}
}

// What is recorded shares nothing with what was pushed.
func TestMemoryRecordsCopies(t *testing.T) {
	_, service := newServer(t, rollcall.Config{})
	memory := &push.Memory{}
	service.Register("memory", memory)
	users, devices := []string{"ann"}, []uint16{1}
	m := push.Binary([]byte("content"))
	m.Metadata = map[string]string{"room": "42"}
	filter := usermgr.Filter{Devices: devices, Tag: "vip"}
	filtered := push.Target{Sessions: &filter}
	mustPush(t, service, push.Target{Users: users}, m, nil)
	mustPush(t, service, filtered, m, nil)
	users[0], devices[0], filter.Tag, m.Content[0], m.Metadata["room"] = "eve", 2, "", 'X', "43"
	for i, k := range memory.All() {
		if string(k.Message.Content) != "content" || k.Message.Metadata["room"] != "42" {
			t.Errorf("message %d has become %+v", i, k.Message)
		}
	}
	if to := memory.All()[0].To; to.Users[0] != "ann" {
		t.Errorf("the users have become %q", to.Users)
	}
	if to := memory.All()[1].To; to.Sessions.Devices[0] != 1 || to.Sessions.Tag != "vip" {
		t.Errorf("the filter has become %+v", *to.Sessions)
	}
}

// A user manager of one's own may lack what only some pushes need; that is told before anything is sent, and the rest works.
func TestAManagerThatCanDoLess(t *testing.T) {
	all := testkit.Must(usermgr.New(usermgr.Config{}))
	defer func() { _ = all.Close(t.Context()) }()
	less := struct{ usermgr.UserManager }{all}
	service := push.New(testkit.Must(bridge.Attach(testkit.Must(engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}})), less, nil, bridge.Config{})))
	memory := &push.Memory{}
	service.Register("memory", memory)
	if _, err := service.Push(t.Context(), push.ToSessions(usermgr.Filter{}), push.Text("x"), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("by a filter: %v", err)
	}
	if _, err := service.Push(t.Context(), push.ToUsers("ann"), push.Text("x"), &push.Options{Keep: time.Hour}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("with Keep: %v", err)
	}
	if _, err := service.Kick(t.Context(), "ann", nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a kick: %v", err)
	}
	if kept := memory.All(); len(kept) > 0 { // a notice of a kick that will not happen among them
		t.Errorf("what is refused was pushed: %+v", kept)
	}
	if r := mustPush(t, service, push.ToUsers("ann"), push.Text("x"), nil); len(r.Deliveries) != 2 {
		t.Errorf("by name: %+v", r)
	}
}

// sessionsOf returns the user's sessions, the oldest first.
func sessionsOf(m *usermgr.Manager, userID string) []usermgr.SessionInfo {
	d, _ := m.User(userID)
	return d.Sessions
}

package push_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// receive returns what comes from ch.
func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(15 * time.Second):
		t.Fatalf("not in time: %s", what)
		panic("unreachable")
	}
}

// newServer starts a server whose engine is a pusher of the service.
func newServer(t *testing.T, cfg rollcalltest.Config) (*rollcalltest.Server, *push.Service) {
	service := push.New()
	cfg.Setup = func(s *rollcalltest.Server) { service.Register("engine", push.NewEngine(s.Bridge)) }
	return rollcalltest.NewServer(t, cfg), service
}

// receiver is a client's configuration that notes what is pushed.
func receiver(got chan<- *protocol.PushMessage) client.Config {
	return client.Config{OnPush: func(_ *client.Client, p *protocol.PushMessage) { got <- p }}
}

func deliveries(t *testing.T, r push.Result, pusher string) map[string]push.Delivery {
	t.Helper()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	for _, o := range r.Outcomes {
		if o.Pusher == pusher {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			byUser := make(map[string]push.Delivery)
			for _, d := range o.Deliveries {
				byUser[d.UserID] = d
			}
			return byUser
		}
	}
	t.Fatalf("nothing of %q in %+v", pusher, r)
	return nil
}

// S4: a push goes to a user, to users, to everyone, to the sessions of a filter; each message has its kind, an ID, a time
// and metadata.
func TestPushReachesItsTarget(t *testing.T) {
	srv, service := newServer(t, rollcalltest.Config{Users: usermgr.Config{Devices: usermgr.OnePerDevice()}})
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
		r := service.Push(t.Context(), tc.to, tc.m)
		ds := deliveries(t, r, "engine")
		if len(ds) != len(tc.counts) {
			t.Errorf("%s: %d deliveries %+v", tc.name, len(ds), ds)
		}
		for user, n := range tc.counts {
			d := ds[user]
			if n < 0 && !errors.Is(d.Err, bridge.ErrUserOffline) || n >= 0 && (d.Sessions != n || d.Err != nil) {
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
	if m.Type == protocol.Push {
		c.pushes.Add(1)
	}
	return c.Codec.Append(dst, m)
}

// A push to many is encoded once, not once for each of them.
func TestAPushToManyIsEncodedOnce(t *testing.T) {
	codec := &countingCodec{Codec: protocol.Binary}
	srv, service := newServer(t, rollcalltest.Config{Engine: engine.Config{Codec: codec}})
	const users = 20
	for i := range users {
		srv.Client(t, fmt.Sprint("user", i), client.Config{OnPush: func(*client.Client, *protocol.PushMessage) {}})
	}
	for name, to := range map[string]push.Target{"everyone": push.ToEveryone(), "a filter": push.ToSessions(usermgr.Filter{})} {
		codec.pushes.Store(0)
		r := service.Push(t.Context(), to, confirmed("all"))
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

// S5: every registered pusher gets each message, in order, for each target, online or not; one that fails or panics stops
// nothing; none registered is fine; the pusher in memory keeps messages, and forgets the oldest.
func TestEveryPusherGetsEachMessage(t *testing.T) {
	if r := push.New().Push(t.Context(), push.ToUsers("ann"), push.Text("to nobody")); r.Err != nil || len(r.Outcomes) != 0 {
		t.Errorf("without pushers: %+v", r)
	}
	srv, service := newServer(t, rollcalltest.Config{})
	broken := errors.New("broken")
	first, last := push.NewMemory(2), push.NewMemory(0)
	service.Register("first", first)
	service.Register("fails", failing{broken})
	service.Register("panics", failing{})
	unregister := service.Register("last", last)
	got := make(chan *protocol.PushMessage, 10)
	srv.Client(t, "ann", receiver(got))

	for i := range 3 {
		r := service.Push(t.Context(), push.ToUsers("ann", "bob"), push.Text(fmt.Sprint(i)))
		var names []string
		for _, o := range r.Outcomes {
			names = append(names, o.Pusher)
		}
		if !slices.Equal(names, []string{"engine", "first", "fails", "panics", "last"}) {
			t.Errorf("the pushers were asked in the order %q", names)
		}
		var panicked *push.PanicError
		if !errors.Is(r.Outcomes[2].Err, broken) || !errors.As(r.Outcomes[3].Err, &panicked) {
			t.Errorf("the failures are told as %v and %v", r.Outcomes[2].Err, r.Outcomes[3].Err)
		}
		if ds := deliveries(t, r, "engine"); ds["ann"].Sessions != 1 || ds["bob"].Err == nil {
			t.Errorf("the engine's deliveries: %+v", ds)
		}
		if p := receive(t, "the push", got); string(p.Content) != fmt.Sprint(i) {
			t.Errorf("ann got %q", p.Content)
		}
	}
	unregister()
	service.Push(t.Context(), push.ToEveryone(), push.Text("3"))
	contents := func(ms []push.Message) (out []string) {
		for _, m := range ms {
			out = append(out, string(m.Content))
		}
		return out
	}
	if kept := contents(first.For("bob")); !slices.Equal(kept, []string{"2", "3"}) {
		t.Errorf("a Memory of two keeps %q", kept)
	}
	if kept := contents(last.For("bob")); !slices.Equal(kept, []string{"0", "1", "2"}) {
		t.Errorf("the last pusher kept %q", kept)
	}
	if last.Clear(); len(last.All()) != 0 {
		t.Error("Clear leaves something")
	}
}

// Bad input gets an error that says what was wrong, and goes nowhere.
func TestPushRefusesWhatIsNoPush(t *testing.T) {
	memory := push.NewMemory(0)
	service := push.New()
	service.Register("memory", memory)
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
		if r := service.Push(t.Context(), tc.to, tc.m); r.Err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := service.Kick(t.Context(), "", usermgr.KickOptions{}); !errors.Is(err, usermgr.ErrBlankID) {
		t.Errorf("a kick of a blank user: %v", err)
	}
	if kept := memory.All(); len(kept) > 0 {
		t.Errorf("the pusher got %+v", kept)
	}
}

// A push's frame takes its place behind what was sent before, and nothing of the application's is needed to handle it.
func TestPushKeepsTheOrder(t *testing.T) {
	srv, service := newServer(t, rollcalltest.Config{Engine: engine.Config{Loops: 1}})
	order := make(chan string, 100)
	srv.Client(t, "ann", client.Config{
		HandleDefault: func(_ *client.Client, m *protocol.Message) { order <- string(m.Body) },
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
		service.Push(t.Context(), to, push.Text(fmt.Sprint(2*i+1)))
	}
	for i := range 100 {
		if got := receive(t, "the next message", order); got != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
}

// A message that is too large is told as that for each user, and nobody is waited for.
func TestPushOfTooMuch(t *testing.T) {
	srv, service := newServer(t, rollcalltest.Config{Engine: engine.Config{OutboundLimit: 64 << 10}})
	srv.Client(t, "ann", client.Config{})
	m := push.Binary(make([]byte, 128<<10))
	m.Confirm = true
	for name, to := range map[string]push.Target{"a user": push.ToUsers("ann"), "everyone": push.ToEveryone()} {
		r := service.Push(t.Context(), to, m)
		if n := r.Sessions(); n != 0 {
			t.Errorf("%s: the result counts %d sessions", name, n)
		}
		if ds := r.Outcomes[0].Deliveries; len(ds) != 1 || !errors.Is(ds[0].Err, engine.ErrTooLarge) {
			t.Errorf("%s: the deliveries are %+v", name, ds)
		}
	}
}

// A session is reached by a filter while its Connected handlers run: the message comes behind the answer to the logon.
func TestPushReachesWhoIsBeingLetIn(t *testing.T) {
	srv, service := newServer(t, rollcalltest.Config{})
	pushed := make(chan push.Result, 1)
	srv.Users.Subscribe(usermgr.Handlers{Connected: func(usermgr.SessionInfo) {
		pushed <- service.Push(context.Background(), push.ToSessions(usermgr.Filter{}), push.Text("welcome"))
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

// What is kept shares nothing with what was pushed.
func TestMemoryKeepsCopies(t *testing.T) {
	memory := push.NewMemory(0)
	service := push.New()
	service.Register("memory", memory)
	users, devices := []string{"ann"}, []uint16{1}
	m := push.Binary([]byte("content"))
	m.Metadata = map[string]string{"room": "42"}
	filter := usermgr.Filter{Devices: devices, Tag: "vip"}
	filtered := push.Target{Sessions: &filter}
	service.Push(t.Context(), push.Target{Users: users}, m)
	service.Push(t.Context(), filtered, m)
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

// A user manager of one's own may lack what only some pushes need; that is told, and the rest works.
func TestAManagerThatCanDoLess(t *testing.T) {
	all := usermgr.New(usermgr.Config{})
	defer func() { _ = all.Close(t.Context()) }()
	less := struct{ usermgr.UserManager }{all}
	service := push.New()
	service.Register("engine", push.NewEngine(bridge.Attach(engine.New(engine.Config{Addr: "127.0.0.1:0"}), less, bridge.Config{})))
	if r := service.Push(t.Context(), push.ToSessions(usermgr.Filter{}), push.Text("x")); !errors.Is(r.Outcomes[0].Err, push.ErrNoFilter) {
		t.Errorf("by a filter: %+v", r)
	}
	if r := service.Push(t.Context(), push.ToUsers("ann"), push.Text("x")); r.Outcomes[0].Err != nil || len(r.Outcomes[0].Deliveries) != 1 {
		t.Errorf("by name: %+v", r)
	}
	if _, err := service.Kick(t.Context(), "ann", usermgr.KickOptions{}); !errors.Is(err, push.ErrNoKick) {
		t.Errorf("a kick: %v", err)
	}
}

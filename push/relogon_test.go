package push_test

import (
	"context"
	"testing"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// interruptedManager is a Manager on which something happens between the look at a user's sessions and what follows it.
type interruptedManager struct {
	usermgr.UserManager
	meanwhile func() // once; nil for nothing
}

func (m *interruptedManager) Links(userID string) []usermgr.Link {
	links := m.UserManager.Links(userID)
	if f := m.meanwhile; f != nil {
		m.meanwhile = nil
		f()
	}
	return links
}

// Rule 6: a user who logs on again is never offline in between. What is sent to the user in that moment goes to the new session,
// where the old one does not take it any more; what the other sessions have is not sent to them again.
func TestWhoIsReplacedMeanwhileIsReached(t *testing.T) {
	for name, send := range map[string]func(*testing.T, *bridge.Bridge, *push.Service){
		"a message": func(t *testing.T, b *bridge.Bridge, _ *push.Service) {
			if err := b.Send("ann", 1, []byte("hello")); err != nil {
				t.Errorf("Send returned %v", err)
			}
		},
		"a push": func(t *testing.T, _ *bridge.Bridge, s *push.Service) {
			if d := deliveries(t, mustPush(t, s, push.ToUsers("ann"), push.Text("hello"), nil), nil)["ann"]; d.Sessions != 2 || d.Err != nil {
				t.Errorf("the delivery is %+v", d)
			}
		},
		"a push with confirmation": func(t *testing.T, _ *bridge.Bridge, s *push.Service) {
			if d := deliveries(t, mustPush(t, s, push.ToUsers("ann"), push.Text("hello"), confirm), nil)["ann"]; d.Sessions != 2 || d.Confirmed != 2 || d.Err != nil {
				t.Errorf("the delivery is %+v", d)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			users := testkit.Must(usermgr.New(usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}}))
			m := &interruptedManager{UserManager: users}
			e := testkit.Must(engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}, Loops: 2}))
			b := testkit.Must(bridge.Attach(e, m, nil, bridge.Config{}))
			service := push.New(b)
			if err := e.Listen(); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- e.Run(ctx) }()
			defer func() {
				stop()
				if err := receive(t, "the end", ended); err != nil {
					t.Error(err)
				}
				if err := users.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			logOn := func(device uint16) chan string {
				got := make(chan string, 10)
				c, err := client.Dial(t.Context(), e.Addrs()[0].String(), client.Config{UserID: "ann", Device: device, Reconnect: client.Reconnect{Max: -1},
					HandleDefault: func(_ *client.Client, m *protocol.Message) error { got <- string(m.Body); return nil },
					OnPush:        func(_ *client.Client, p *protocol.PushMessage) { got <- string(p.Content) },
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				return got
			}
			old, other := logOn(1), logOn(2)
			var next chan string
			m.meanwhile = func() { next = logOn(1) }
			send(t, b, service)
			if err := b.Send("ann", 1, []byte("the end")); err != nil { // nothing comes behind what was sent before
				t.Error(err)
			}
			for who, ch := range map[string]chan string{"the new session": next, "the other session": other} {
				for _, want := range []string{"hello", "the end"} {
					if got := receive(t, "a message for "+who, ch); got != want {
						t.Errorf("%s got %q, want %q", who, got, want)
					}
				}
			}
			if len(old) > 0 {
				t.Errorf("the old session got %q", <-old)
			}
		})
	}
}

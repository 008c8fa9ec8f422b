package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// failing is a pusher that fails.
type failing struct{}

// Push implements push.Pusher.
func (failing) Push(_ context.Context, _ push.Target, _ *push.Message) ([]push.Delivery, error) {
	return nil, errors.New("on purpose")
}

// S6 over nodes: a kick with notice tells the sessions that it selects, on whichever server they are, and ends them, even when a pusher failed. Others are
// neither told nor ended.
func TestAKickWithNoticeReachesTheSessionsOnAllServers(t *testing.T) {
	p := newPushing(t, 2, func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true })
	p.services[0].Register("fails", failing{})
	var clients []*client.Client
	for device := range uint16(4) {
		clients = append(clients, p.client(t, int(device%2), "bob", device))
	}
	ended := func(device int, text string) {
		t.Helper()
		testkit.Receive(t, "the end of a client", clients[device].Done())
		var ce *protocol.CloseError
		if err := clients[device].Err(); !errors.As(err, &ce) || ce.Code != protocol.KickedOut || ce.Text != text {
			t.Errorf("the client of device %d ended with %v", device, err)
		}
	}
	r, err := p.services[0].Kick(t.Context(), "bob", &usermgr.KickOptions{Text: "wrong devices", Devices: []uint16{2, 3}})
	if err == nil || len(r.Kicked) != 2 || r.Kicked[0].Outcome != protocol.OutcomeTold || r.Kicked[1].Outcome != protocol.OutcomeTold {
		t.Errorf("the kick of two devices: %+v, %v", r, err)
	}
	ended(2, "wrong devices")
	ended(3, "wrong devices")
	if got, want := fmt.Sprint(p.take()), "[bob/2: wrong devices bob/3: wrong devices]"; got != want {
		t.Errorf("the clients have got %s, want %s", got, want)
	}
	if r, err := p.services[1].Kick(t.Context(), "bob", &usermgr.KickOptions{Text: "for spam"}); err != nil || len(r.Kicked) != 2 {
		t.Errorf("the kick of the user: %+v, %v", r, err)
	}
	ended(0, "for spam")
	ended(1, "for spam")
	if got, want := fmt.Sprint(p.take()), "[bob/0: for spam bob/1: for spam]"; got != want {
		t.Errorf("the clients have got %s, want %s", got, want)
	}
	if _, err := p.services[1].Kick(t.Context(), "bob", nil); !errors.Is(err, usermgr.ErrUnknownID) {
		t.Errorf("a kick of a user who is gone: %v", err)
	}
	if _, err := p.services[1].Kick(t.Context(), "", nil); !errors.Is(err, usermgr.ErrBlankID) {
		t.Errorf("a kick of a blank ID: %v", err)
	}
}

// A kick with notice says that a node has not answered.
func TestAKickWithNoticeNamesTheNodesThatDoNotAnswer(t *testing.T) {
	p := newPushing(t, 2, nil)
	p.client(t, 0, "bob", 0)
	life := p.all[1].node.Incarnation()
	p.mesh.Lose(func(to cluster.Incarnation, _ []byte) bool { return to == life })
	r, err := p.services[0].Kick(t.Context(), "bob", &usermgr.KickOptions{Text: "for spam"})
	if !errors.Is(err, cluster.ErrMissing) || len(r.Kicked) != 1 {
		t.Errorf("the kick: %+v, %v", r, err)
	}
	p.mesh.Lose(nil)
}

// E4 and E5 over nodes: under IgnoreNew a client that comes to another server is told, and its event there has the user's ID and its address; nothing
// changes for the first one. Under ReplaceOld the first one is told, and its end does not remove the second.
func TestASecondLogonAtAnotherServer(t *testing.T) {
	for _, mode := range []usermgr.RelogonMode{usermgr.IgnoreNew, usermgr.ReplaceOld} {
		var mu sync.Mutex
		var ignored []string
		w := newServers(t, 2, func(c *rollcall.Config) { c.Users.RelogonMode = mode }, func(s *rollcall.Server) {
			s.Users.Subscribe(usermgr.Events{Ignored: func(user string, by usermgr.Address) {
				mu.Lock()
				defer mu.Unlock()
				ignored = append(ignored, user+" "+by.Remote.Addr().String())
			}})
		})
		first := w.all[0].Client(t, "ann", client.Config{Reconnect: client.Reconnect{Max: -1}})
		second, err := client.Dial(t.Context(), w.all[1].Addr, client.Config{UserID: "ann", Reconnect: client.Reconnect{Max: -1}})
		stays, at := first, 0
		if mode == usermgr.IgnoreNew {
			if !errors.Is(err, protocol.AlreadyLoggedOn) {
				t.Errorf("the second client was answered %v", err)
			}
		} else {
			if err != nil {
				t.Fatal(err)
			}
			defer second.Close()
			testkit.Receive(t, "the end of the first client", first.Done())
			if !errors.Is(first.Err(), protocol.PushedOut) {
				t.Errorf("the first client ended with %v", first.Err())
			}
			stays, at = second, 1
		}
		if _, err := stays.Ping(t.Context()); err != nil {
			t.Errorf("mode %v: the client that stays is answered %v", mode, err)
		}
		testkit.Eventually(t, "one server has the user", func() bool { return w.all[at].Users.IsOnline("ann") && !w.all[1-at].Users.IsOnline("ann") })
		if places, err := w.all[0].node.Where(t.Context(), "ann"); err != nil || len(places) != 1 || places[0].Node != fmt.Sprint("node-", at) {
			t.Errorf("mode %v: ann is at %+v, %v", mode, places, err)
		}
		mu.Lock()
		if want := mode == usermgr.IgnoreNew; want != (len(ignored) == 1 && ignored[0] == "ann 127.0.0.1") {
			t.Errorf("mode %v: ignored were %q", mode, ignored)
		}
		mu.Unlock()
	}
}

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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

// pushing are servers that push to the users of all.
type pushing struct {
	*servers
	services []*push.Service

	mu   sync.Mutex
	got  []string
	hold func() // returns when the nodes' pushers are to be called; nil for at once. Set it before the first push
}

func newPushing(t *testing.T, n int, change func(*rollcall.Config)) *pushing {
	p := new(pushing)
	p.servers = newServers(t, n, change, func(s *rollcall.Server) {
		service := push.New(s.Bridge)
		p.services = append(p.services, service)
		t.Cleanup(func() {
			if err := service.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	})
	for i, s := range p.services {
		s.Register("cluster", heldPusher{p.all[i].node.Pusher(s), p})
	}
	return p
}

// heldPusher is a pusher that comes late.
type heldPusher struct {
	push.Pusher
	p *pushing
}

func (h heldPusher) Push(ctx context.Context, to push.Target, m *push.Message) ([]push.Delivery, error) {
	if h.p.hold != nil {
		h.p.hold()
	}
	return h.Pusher.Push(ctx, to, m)
}

// client logs a user on, whose client notes and acknowledges pushes.
func (p *pushing) client(t *testing.T, server int, user string, device uint16) *client.Client {
	return p.all[server].Client(t, user, client.Config{Device: device, OnPush: func(_ *client.Client, m *protocol.PushMessage) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.got = append(p.got, fmt.Sprintf("%s/%d: %s", user, device, m.Content))
	}})
}

// take returns what the clients have got since the last call.
func (p *pushing) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	slices.Sort(got)
	return got
}

// elsewhere says what became of a push on other nodes.
func elsewhere(r push.Result) string {
	var all []string
	for _, d := range r.Deliveries {
		if d.Pusher != "cluster" {
			continue
		}
		what := "handed over"
		switch {
		case d.Err != nil && errors.Is(d.Err, cluster.ErrMissing):
			what = "missing"
		case d.Err != nil:
			what = "offline"
			if !errors.Is(d.Err, protocol.UserOffline) {
				what = d.Err.Error()
			}
		case d.Confirmed:
			what = "confirmed"
		}
		all = append(all, fmt.Sprintf("%s/%d %s", d.UserID, d.Device, what))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Rule 23: a push reaches the sessions on all nodes, each once, and tells whether their clients have confirmed it.
func TestAPushReachesTheSessionsOnAllNodes(t *testing.T) {
	p := newPushing(t, 3, func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true })
	p.client(t, 0, "ann", 1)
	p.client(t, 1, "bob", 1)
	p.client(t, 2, "bob", 2)
	p.client(t, 2, "eve", 3)
	for _, tc := range []struct {
		to          push.Target
		there, come string
	}{
		{push.ToUsers("ann", "bob", "dan"), "bob/1 confirmed, bob/2 confirmed, dan/0 offline", "[ann/1: hi bob/1: hi bob/2: hi]"},
		{push.ToUsers("ann"), "", "[ann/1: hi]"},
		{push.ToEveryone(), "bob/1 confirmed, bob/2 confirmed, eve/3 confirmed", "[ann/1: hi bob/1: hi bob/2: hi eve/3: hi]"},
		{push.ToSessions(usermgr.Filter{Devices: []uint16{2, 3}}), "bob/2 confirmed, eve/3 confirmed", "[bob/2: hi eve/3: hi]"},
	} {
		r, err := p.services[0].Push(t.Context(), tc.to, push.Text("hi"), &push.Options{Confirm: true})
		if got := elsewhere(r); err != nil || got != tc.there {
			t.Errorf("elsewhere: %s, %v; want %s", got, err, tc.there)
		}
		if got := fmt.Sprint(p.take()); got != tc.come {
			t.Errorf("the clients have got %s, want %s", got, tc.come)
		}
	}
	r, err := p.services[1].Push(t.Context(), push.ToUsers("ann"), push.Text("hi"), nil)
	if got := elsewhere(r); err != nil || got != "ann/1 handed over" {
		t.Errorf("without confirmation: %s, %v", got, err)
	}
}

// Rule 27 over nodes: a client that moves to another node with a push to everyone, or to chosen sessions, has the push once more by the late
// pusher. It confirms both with one acknowledgement, which counts once.
func TestAPushToManyCountsOnceForAClientThatMoves(t *testing.T) {
	for name, to := range map[string]push.Target{"everyone": push.ToEveryone(), "sessions": push.ToSessions(usermgr.Filter{Devices: []uint16{1}})} {
		t.Run(name, func(t *testing.T) {
			p := newPushing(t, 2, nil)
			entered, release := make(chan struct{}, 10), make(chan struct{})
			r := p.roamer(t, p.all[0], "bob", 1, func() { entered <- struct{}{}; <-release })
			p.hold = func() {
				testkit.Receive(t, "the handler runs", entered)
				r.leave(false)
				r.arrive(p.all[1])
				testkit.ComesTrue(testkit.Patience, func() bool {
					return len(slices.Collect(p.all[1].Engine.Conns())) == 1 && !online(p.all[0], "bob")
				})
			}
			result := make(chan push.Result, 1)
			go func() {
				r, err := p.services[0].Push(t.Context(), to, push.Text("hi"), &push.Options{Confirm: true})
				if err != nil {
					t.Error(err)
				}
				result <- r
			}()
			rollcalltest.Eventually(t, func() bool {
				u, _ := p.all[1].Users.User("bob")
				return len(u.Sessions) == 1 && u.Sessions[0].Out.Messages == 1
			}, "the pusher has come")
			close(release)
			isConfirmed(t, result)
			p.becomes(t, "bob/1: hi")
		})
	}
}

// Rule 23: a delivery to a node that does not answer says so.
func TestAPushNamesTheNodesThatDoNotAnswer(t *testing.T) {
	p := newPushing(t, 3, nil)
	p.client(t, 1, "bob", 0)
	p.client(t, 2, "eve", 0)
	life := p.all[1].node.Incarnation()
	p.mesh.Lose(func(to cluster.Incarnation, _ []byte) bool { return to == life })
	r, err := p.services[0].Push(t.Context(), push.ToUsers("bob", "eve"), push.Text("hi"), &push.Options{Confirm: true})
	if got := elsewhere(r); err != nil || got != "bob/0 missing, eve/0 confirmed" {
		t.Errorf("elsewhere: %s, %v", got, err)
	}
	r, err = p.services[0].Push(t.Context(), push.ToEveryone(), push.Text("hi"), &push.Options{Confirm: true})
	if got := elsewhere(r); !errors.Is(err, cluster.ErrMissing) || !strings.Contains(err.Error(), "node-1") || got != "eve/0 confirmed" {
		t.Errorf("elsewhere: %s, %v", got, err)
	}
}

// A client that does not confirm is waited for until the caller's time is over; what is known is told.
func TestAPushElsewhereThatIsNotConfirmedInTimeSaysSo(t *testing.T) {
	p := newPushing(t, 2, nil)
	p.all[1].Client(t, "bob", client.Config{}) // acknowledges nothing
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r, err := p.services[0].Push(ctx, push.ToUsers("bob"), push.Text("hi"), &push.Options{Confirm: true})
	if got := elsewhere(r); err != nil || got != "bob/0 handed over" {
		t.Errorf("elsewhere: %s, %v", got, err)
	}
}

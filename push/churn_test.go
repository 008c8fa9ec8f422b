package push_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// leave is the message upon which a client of this test closes, inside its handler: what it has handled before is
// acknowledged before it is gone, and what comes behind is not handled.
const leave = 1

// received notes which user has handled which push, and how often, and that no connection was sent one twice.
type received struct {
	t  *testing.T
	mu sync.Mutex
	by map[uuid.UUID]map[string]int
}

func newReceived(t *testing.T) *received {
	return &received{t: t, by: make(map[uuid.UUID]map[string]int)}
}

func (r *received) add(id uuid.UUID, user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by[id] == nil {
		r.by[id] = make(map[string]int)
	}
	r.by[id][user]++
}

// network returns one that watches what a user's connections bring. The client itself does not show what comes twice.
func (r *received) network(user string) *network {
	type sent struct {
		conn int
		id   uuid.UUID
	}
	var mu sync.Mutex
	all := make(map[sent]bool)
	return &network{seen: func(conn int, m *protocol.Message) {
		if m.Type != protocol.TypePush {
			return
		}
		p, err := protocol.ParsePush(m.Body)
		if err != nil {
			r.t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		s := sent{conn, p.ID}
		if all[s] {
			r.t.Errorf("%s was sent %q twice on one connection", user, p.Content)
		}
		all[s] = true
	}}
}

// lighter is by how much fewer users and messages TestPushUnderChurn has than in make full: a quarter with the race detector. TestModel has a third
// of its pushes then.
var lighter = 1

// Push under churn: users come and go while everyone is pushed confirmed messages, and the result's counts match what the
// clients have received, message by message, with nothing twice.
func TestPushUnderChurn(t *testing.T) {
	users, messages, pushers := 500/lighter, 1000/lighter, 4
	if testing.Short() {
		users, messages = 60, 120
	}
	srv, service := newServer(t, rollcall.Config{Engine: engine.Config{Accept: engine.Accept{MaxConnections: 2 * users}}})
	got := newReceived(t)
	ctx, stop := context.WithCancel(t.Context())
	var coming sync.WaitGroup
	for i := range users {
		coming.Go(func() {
			user := fmt.Sprintf("user-%d", i)
			for ctx.Err() == nil {
				comeAndGo(t, srv, user, got, 1+rand.IntN(40), false)
			}
		})
	}
	testkit.EventuallyIn(t, time.Minute, "half of the users are there", func() bool { return srv.Users.Count() > users/2 })

	results := make([]push.Result, messages)
	var next atomic.Int64
	var pushing sync.WaitGroup
	for range pushers {
		pushing.Go(func() {
			for i := int(next.Add(1)) - 1; i < messages; i = int(next.Add(1)) - 1 {
				results[i], _ = service.Push(t.Context(), push.ToEveryone(), push.Text(fmt.Sprint(i)),
					&push.Options{Confirm: true, Timeout: time.Minute})
			}
		})
	}
	pushing.Wait()
	stop()
	coming.Wait()

	got.mu.Lock()
	defer got.mu.Unlock()
	confirmed := 0
	for i, r := range results {
		by := got.by[r.ID]
		ds := deliveries(t, r, nil)
		for user, n := range by {
			if n != 1 {
				t.Errorf("%s got message %d %d times", user, i, n)
			}
			if ds[user].Confirmed != 1 {
				t.Errorf("%s got message %d, and the result is %+v", user, i, ds[user])
			}
		}
		for user, d := range ds {
			if d.Confirmed > 0 && by[user] == 0 {
				t.Errorf("%s has confirmed message %d without getting it", user, i)
			}
			confirmed += d.Confirmed
		}
		if r.Confirmed() != len(by) {
			t.Errorf("message %d: %d confirmed, %d received", i, r.Confirmed(), len(by))
		}
		if t.Failed() {
			return
		}
	}
	if least := messages * users / 20; confirmed < least {
		t.Errorf("only %d confirmations: the churn leaves nobody to push to, want %d", confirmed, least)
	}
	t.Logf("%d users, %d messages, %d confirmations", users, messages, confirmed)
}

// Push while connections are lost: users leave by a reset, and the service cannot know whether a push without an
// acknowledgement arrived. No push counts that was not handled, none comes twice, and nothing is remembered afterwards.
func TestPushWhileConnectionsAreLost(t *testing.T) {
	const users, messages, pushers = 60, 40, 4
	srv, service := newServer(t, rollcall.Config{Engine: engine.Config{Accept: engine.Accept{MaxConnections: 10 * users}}})
	got := newReceived(t)
	ctx, stop := context.WithCancel(t.Context())
	var coming sync.WaitGroup
	for i := range users {
		coming.Go(func() {
			user := fmt.Sprintf("user-%d", i)
			for visit := i; ctx.Err() == nil; visit++ {
				comeAndGo(t, srv, user, got, 1+rand.IntN(10), visit%2 == 0)
			}
		})
	}
	testkit.EventuallyIn(t, time.Minute, "half of the users are there", func() bool { return srv.Users.Count() > users/2 })

	results := make([]push.Result, messages)
	var pushing sync.WaitGroup
	for p := range pushers {
		pushing.Go(func() {
			for i := p; i < messages; i += pushers {
				results[i], _ = service.Push(t.Context(), push.ToEveryone(), push.Text(fmt.Sprint(i)),
					&push.Options{Confirm: true, Timeout: 200 * time.Millisecond})
			}
		})
	}
	pushing.Wait()
	stop()
	coming.Wait()

	if n := service.Outboxes(); n > 0 {
		t.Errorf("acknowledgements of %d users are still waited for", n)
	}
	total := 0
	for i, r := range results {
		for user, d := range deliveries(t, r, nil) {
			if d.Confirmed > d.Sessions || d.Confirmed > got.by[r.ID][user] {
				t.Errorf("%s got message %d %d times, and the result is %+v", user, i, got.by[r.ID][user], d)
			}
			total += d.Confirmed
		}
	}
	t.Logf("%d confirmations", total)
}

// comeAndGo is one visit of a user, who leaves after stay pushes, or a while: with reset by a reset of the connection,
// otherwise in good order.
func comeAndGo(t *testing.T, srv *rollcalltest.Server, user string, got *received, stay int, reset bool) {
	enough := make(chan struct{})
	n := 0
	network := got.network(user)
	c, err := client.Dial(t.Context(), srv.Addr, client.Config{
		UserID: user, DialContext: network.dial, Reconnect: client.Reconnect{Max: -1},
		OnPush: func(_ *client.Client, p *protocol.PushMessage) {
			got.add(p.ID, user)
			if n++; n == stay {
				close(enough)
			}
		},
		Handle: map[uint16]client.Handler{leave: func(c *client.Client, _ *protocol.Message) error { return c.Close() }},
	})
	if err != nil {
		t.Errorf("%s cannot log on: %v", user, err)
		return
	}
	defer c.Close()
	select {
	case <-enough:
	case <-time.After(time.Duration(stay) * 20 * time.Millisecond):
	}
	if reset {
		network.reset()
		<-c.Done()
		return
	}
	if err := srv.Bridge.Send(user, leave, nil); err != nil {
		t.Errorf("%s is online, and %v", user, err)
		return
	}
	<-c.Done()
}

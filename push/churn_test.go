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

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/rollcalltest"
)

// leave is the message upon which a client of this test closes, inside its handler: what it has handled before is
// acknowledged before it is gone, and what comes behind is not handled.
const leave = 1

// received notes which user has handled which push, and how often.
type received struct {
	mu sync.Mutex
	by map[uuid.UUID]map[string]int
}

func (r *received) add(id uuid.UUID, user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by[id] == nil {
		r.by[id] = make(map[string]int)
	}
	r.by[id][user]++
}

// Push under churn: users come and go while everyone is pushed confirmed messages, and the result's counts match what the
// clients have received, message by message, with nothing twice.
func TestPushUnderChurn(t *testing.T) {
	users, messages, pushers := 500, 1000, 4
	if testing.Short() {
		users, messages = 60, 120
	}
	srv, service := newServer(t, rollcalltest.Config{Engine: engine.Config{MaxConnections: 2 * users}})
	got := &received{by: make(map[uuid.UUID]map[string]int)}
	ctx, stop := context.WithCancel(t.Context())
	var coming sync.WaitGroup
	for i := range users {
		coming.Go(func() {
			user := fmt.Sprintf("user-%d", i)
			for ctx.Err() == nil {
				comeAndGo(t, srv, user, got, 1+rand.IntN(40))
			}
		})
	}
	rollcalltest.Eventually(t, func() bool { return srv.Users.Count() > users/2 }, "half of the users are there")

	results := make([]push.Result, messages)
	var next atomic.Int64
	var pushing sync.WaitGroup
	for range pushers {
		pushing.Go(func() {
			for i := int(next.Add(1)) - 1; i < messages; i = int(next.Add(1)) - 1 {
				m := push.Text(fmt.Sprint(i))
				m.Confirm = true
				within, cancel := context.WithTimeout(t.Context(), time.Minute)
				results[i] = service.Push(within, push.ToEveryone(), m)
				cancel()
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
		ds := deliveries(t, r, "engine")
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

// comeAndGo is one visit of a user, who leaves after so many pushes, or a while.
func comeAndGo(t *testing.T, srv *rollcalltest.Server, user string, got *received, stay int) {
	enough := make(chan struct{})
	n := 0
	c, err := client.Dial(t.Context(), srv.Addr, client.Config{
		UserID: user,
		OnPush: func(_ *client.Client, p *protocol.PushMessage) {
			got.add(p.ID, user)
			if n++; n == stay {
				close(enough)
			}
		},
		Handle: map[uint16]client.Handler{leave: func(c *client.Client, _ *protocol.Message) { _ = c.Close() }},
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
	if err := srv.Bridge.Send(user, leave, nil); err != nil {
		t.Errorf("%s is online, and %v", user, err)
		return
	}
	<-c.Done()
}
